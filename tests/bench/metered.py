"""Input of the exact suite: quarter-hours of racks with two registers, as ingest packs them."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from schemas import READINGS
from schemas.telemetry import FACILITY_ENERGY, IT_ENERGY

QUARTER_MS = 900_000
FIRST_MS = 1_767_225_600_000  # 2026-01-01 00:00 UTC
BATCH_ROWS = 2_000
_SITES = 20
_SEED = 7


@dataclass(frozen=True, slots=True)
class Quarters:
    """`meters` meters that send a quarter-hour of each of `registers` registers, again and again.

    accounts: how many tenants share them; one is a site of its own, many reach every partition of
    usage. rows: of a batch.
    """

    meters: int
    accounts: int
    registers: tuple[str, ...] = (IT_ENERGY, FACILITY_ENERGY)
    rows: int = BATCH_ROWS

    def batch(self, number: int) -> pa.RecordBatch:
        """The number-th batch; all meters of a quarter-hour come before the next one."""
        row = np.arange(number * self.rows, (number + 1) * self.rows)
        quarter, place = np.divmod(row, self.meters * len(self.registers))
        meter, register = np.divmod(place, len(self.registers))
        start_ms = FIRST_MS + quarter * QUARTER_MS
        quantity = np.random.default_rng([_SEED, number]).integers(10**9, 10**10, self.rows)
        same = np.zeros(self.rows, np.int64)
        return READINGS.batch(
            {
                "meter_id": _texts("meter-{:06d}", meter),
                "register": _texts("{}", register, self.registers),
                "kind": _texts("delta", same),
                "start_ms": start_ms,
                "end_ms": start_ms + QUARTER_MS,
                "quantity": quantity,
                "unit": _texts("mJ", same),
                "revision": same,
                "quality": _texts("ACTUAL", same),
                "epoch": same,
                "site_id": _texts("site-{:03d}", meter % _SITES),
                "rack_id": _texts("rack-{:06d}", meter),
                "hub_id": _texts("hub-0", same),
                "account_id": _texts("account-{:03d}", meter % self.accounts),
                "source": _texts("gateway", same),
                "source_partition": same.astype(np.int32),
                "source_offset": row,
                "source_row": same.astype(np.int32),
                "received_ms": start_ms + QUARTER_MS + 1_000,
                "registry_offset": same - 1,
            }
        )


def _texts(form: str, codes: np.ndarray, names: tuple[str, ...] = ()) -> pa.DictionaryArray:
    used, indices = np.unique(codes, return_inverse=True)
    texts = [form.format(names[code] if names else code) for code in used.tolist()]
    return pa.DictionaryArray.from_arrays(pa.array(indices.astype(np.int32)), pa.array(texts))
