"""Input of the agents suite: readings of one partition's racks, as ingest packs them."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from schemas import READINGS
from schemas.telemetry import FACILITY_ENERGY, IT_ENERGY

FIRST_MS = 1_767_225_600_000  # 2026-01-01 00:00 UTC, the start of a window
REGISTERS = (IT_ENERGY, FACILITY_ENERGY)
_SITES = 20
_MJ_PER_MS = (1_000, 15_000)  # 1 to 15 kW
_SEED = 7


@dataclass(frozen=True, slots=True)
class Racks:
    """`racks` racks of 20 sites, each with a reading every `period_ms` of each of its registers.

    They take turns: every rack's reading of one period comes before the next period's.
    """

    racks: int
    period_ms: int
    window_ms: int
    registers: int = 1

    def batch(self, number: int, rows: int) -> pa.RecordBatch:
        """The number-th so many rows."""
        row = np.arange(number * rows, (number + 1) * rows)
        period, place = np.divmod(row, self.racks * self.registers)
        rack, register = np.divmod(place, self.registers)
        start_ms = FIRST_MS + period * self.period_ms
        quantity = (
            np.random.default_rng([_SEED, number]).integers(*_MJ_PER_MS, rows) * self.period_ms
        )
        same = np.zeros(rows, np.int64)
        meters = [f"meter-{code:06d}" for code in range(self.racks)]
        return READINGS.batch(
            {
                "meter_id": _texts(rack, meters),
                "register": _texts(register, REGISTERS[: self.registers]),
                "kind": _texts(same, ["delta"]),
                "start_ms": start_ms,
                "end_ms": start_ms + self.period_ms,
                "quantity": quantity,
                "unit": _texts(same, ["mJ"]),
                "revision": same,
                "quality": _texts(same, ["ACTUAL"]),
                "epoch": same,
                "site_id": _texts(rack % _SITES, [f"site-{code:03d}" for code in range(_SITES)]),
                "rack_id": _texts(rack, [f"rack-{code:06d}" for code in range(self.racks)]),
                "hub_id": _texts(same, ["hub-0"]),
                "account_id": _texts(same, ["account"]),
                "source": _texts(same, ["gateway"]),
                "source_partition": same.astype(np.int32),
                "source_offset": row,
                "source_row": same.astype(np.int32),
                "received_ms": start_ms + self.period_ms + 1_000,
                "registry_offset": same - 1,
            }
        )


def _texts(codes: np.ndarray, names: list[str] | tuple[str, ...]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(list(names)))


SECONDS = Racks(racks=250, period_ms=1_000, window_ms=10_000)
QUARTERS = Racks(racks=1_000, period_ms=900_000, window_ms=900_000, registers=2)
