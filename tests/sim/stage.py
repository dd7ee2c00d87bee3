"""The stage that is simulated: totals by key, so that a row too many or too few shows for ever."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import orjson

from kernels.growth import Growth
from schemas import READINGS, USAGE
from streams.agent import Stage

# One message: rows of (key, amount). A step raises at POISON, with its state half changed; what has
# UNREADABLE in it is no batch.
Rows = list[tuple[int, int]]
POISON, UNREADABLE = 13, 17
BAD = {POISON, UNREADABLE}


class Totals:
    """Every row taken in, by source offset; the totals follow from them."""

    VERSION: ClassVar[int] = 1

    def __init__(self, rows: Sequence[tuple[int, int, int]] = ()) -> None:
        self.rows = list(rows)
        self.growth = Growth()
        self.totals: dict[int, int] = {}
        for _, key, amount in self.rows:
            self.totals[key] = self.totals.get(key, 0) + amount

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, offset: int, key: int, amount: int) -> int:
        self.rows.append((offset, key, amount))
        self.totals[key] = self.totals.get(key, 0) + amount
        if self.growth.has_base:
            self.growth.rows += 1
        return self.totals[key]

    def dump(self) -> bytes:
        return orjson.dumps(self.rows)

    @classmethod
    def load(cls, dumped: bytes) -> Self:
        return cls([tuple(row) for row in orjson.loads(dumped)])

    def base(self, rows: int) -> list[bytes]:
        self.growth.restart(True)
        ends = range(0, max(1, len(self.rows)), rows)
        return [orjson.dumps(self.rows[at : at + rows]) for at in ends]

    def added(self) -> bytes:
        return orjson.dumps(self.rows[len(self.rows) - self.growth.rows :])

    @classmethod
    def load_chain(cls, base: Sequence[bytes], added: Sequence[bytes]) -> Self:
        parts = [orjson.loads(part) for part in (*base, *added)]
        totals = cls([tuple(row) for part in parts for row in part])
        totals.growth.restart(True)
        totals.growth.rows = len(parts[-1])
        return totals


def step(totals: Totals, rows: Sequence[tuple[int, int, int]]) -> dict[int, int]:
    """Add the rows (offset, key, amount); key -> its new total."""
    changed = {}
    for offset, key, amount in rows:
        changed[key] = totals.add(offset, key, amount)
        if amount == POISON:
            raise RuntimeError("poison")
    return changed


STAGE: Any = Stage("sim", READINGS, (USAGE,), Totals, step, gathers=True)
