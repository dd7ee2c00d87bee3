"""A worker whose step raises on one reading, half applied: run as a process by test_runtime.py."""

from typing import ClassVar, Self

import msgspec

from schemas import READINGS, ROLLUPS_PARTIAL
from streams.agent import Batch, Emit, agent
from streams.settings import settings
from streams.worker import run_agent

POISON_MJ = 13


class Sum(msgspec.Struct):
    """Energy so far."""

    VERSION: ClassVar[int] = 1

    energy_mj: int = 0

    def dump(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def load(cls, dumped: bytes) -> Self:
        return msgspec.msgpack.decode(dumped, type=cls)


@agent("poisoned", source=READINGS, outputs=(ROLLUPS_PARTIAL,), state=Sum)
def step(total: Sum, batch: Batch) -> Emit:
    """Adds up, and raises after it has changed its state."""
    for quantity in batch.rows["quantity"].to_pylist():
        total.energy_mj += quantity
        if quantity == POISON_MJ:
            raise RuntimeError("poison")
    return Emit(accepted=batch.rows.num_rows)


if __name__ == "__main__":
    run_agent("poisoned", settings())
