"""Windows: readings -> finished rack windows, and partials of site and hub windows."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernels.growth import Growth, pieces, recode
from kernels.refusal import Refusal
from kernels.rollup import reference, sketch
from kernels.rollup.layout import (
    LATENESS_MS,
    LEVELS,
    NEVER_MS,
    RACK,
    SAMPLE,
    SITE,
    TEXTS,
    UNITS,
    WINDOW_MS,
    Outcome,
)
from kernels.snapshot import Snapshot, pack, unpack
from kernels.symbols import UNLISTED, Symbols, fixed_array, fixed_codes
from schemas.telemetry import KINDS
from schemas.units import INT64_MAX, MS_PER_HOUR
from schemas.usage import ROLLUPS, ROLLUPS_PARTIAL

# Rows between two clean-outs at least: below this the dead rows are not worth the copy.
_CLEAN_ROWS = 65_536

Rows = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]


class _Ledger(Protocol):
    """What both twins do: reference.Ledger is the specification."""

    watermark_ms: int

    def __len__(self) -> int: ...
    def apply(
        self, rows: Rows, received_ms: Int64s
    ) -> tuple[npt.NDArray[np.uint8], Rows, list[bytes]]: ...
    def rows(self) -> Rows: ...


NewLedger = Callable[[Rows, Sequence[str], int, int], _Ledger]


def _ledger() -> NewLedger:
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return reference.Ledger
    from kernels.rollup._core import Ledger

    compiled: NewLedger = Ledger
    return compiled


@dataclass(frozen=True, slots=True)
class Applied:
    """What a batch brought: changed windows, refused rows, and the counts of the others.

    rows of the batch = accepted + duplicate + superseded + len(refused).
    """

    rollups: pa.RecordBatch
    partials: pa.RecordBatch
    refused: list[Refusal]
    accepted: int
    duplicate: int
    superseded: int


class Windows:
    """The open windows of one readings partition."""

    VERSION: ClassVar[int] = 2

    def __init__(
        self,
        window_ms: int = WINDOW_MS,
        lateness_ms: int = LATENESS_MS,
        ledger: NewLedger | None = None,
    ) -> None:
        self.window_ms = window_ms
        self.lateness_ms = lateness_ms
        self._new = ledger or _ledger()
        self.growth = Growth(SAMPLE)
        self._fill([], np.empty(0, SAMPLE), NEVER_MS)

    def apply(self, readings: pa.RecordBatch, partition: int) -> Applied:
        """Apply one batch of READINGS of a partition, in any order, with any duplicates.

        Refused with reason: late_revision, unknown_value, interval_reversed, negative, overflow,
        bad_input (a register that has another unit in the same window).
        """
        rows = self._rows(readings)
        received_ms = readings.column("received_ms").to_numpy(zero_copy_only=False)
        outcomes, changed, sketches = self._ledger.apply(rows, received_ms)
        if self.growth.has_base:
            self.growth.note(
                rows[(outcomes == Outcome.ACCEPTED) | (outcomes == Outcome.SUPERSEDED)]
            )
        refused = [
            self._refusal(int(index), Outcome(outcomes[index]), rows[index])
            for index in np.nonzero(outcomes >= Outcome.LATE)[0]
        ]
        accepted, duplicate, superseded = np.bincount(outcomes, minlength=3).tolist()[:3]
        assert readings.num_rows == accepted + duplicate + superseded + len(refused), (
            "a row vanished"
        )
        racks = changed["level"] == RACK
        parts = [part for part, rack in zip(sketches, racks.tolist(), strict=True) if not rack]
        applied = Applied(
            self._rollups(changed[racks]),
            self._partials(changed[~racks], parts, partition),
            refused,
            accepted,
            duplicate,
            superseded,
        )
        if len(self._ledger) > self._clean_at:
            self._clean()
        return applied

    def dump(self) -> bytes:
        """The state as bytes: a function of the open windows' readings in the order they came."""
        return pack(self.VERSION, self._snapshot())

    @classmethod
    def load(cls, dumped: bytes, ledger: NewLedger | None = None) -> Self:
        """The state that was dumped; DecodeError for another version."""
        (window_ms, lateness_ms, watermark_ms), names, rows = unpack(cls.VERSION, 3, SAMPLE, dumped)
        windows = cls(window_ms, lateness_ms, ledger)
        windows._fill(names, rows, watermark_ms)
        return windows

    def __len__(self) -> int:
        """Readings held."""
        return len(self._ledger)

    def base(self, rows: int) -> list[bytes]:
        """The whole state in pieces of so many readings; what comes after it is `added`."""
        snapshot = self._snapshot()
        self.growth.restart(True)
        return [pack(self.VERSION, piece) for piece in pieces(snapshot, rows, TEXTS)]

    def added(self) -> bytes:
        """What was taken in since the base or the last seal."""
        rows = self.growth.added()
        names = self._symbols.compact(rows, TEXTS)
        return pack(self.VERSION, Snapshot(self._parameters, names, rows))

    @classmethod
    def load_chain(
        cls, base: Sequence[bytes], added: Sequence[bytes], ledger: NewLedger | None = None
    ) -> Self:
        """The state of a base and of what was added since; the last piece is not sealed yet."""
        chain = [unpack(cls.VERSION, 3, SAMPLE, dumped) for dumped in (*base, *added)]
        symbols = Symbols()
        rows = [recode(piece, TEXTS, symbols) for piece in chain]
        window_ms, lateness_ms, watermark_ms = chain[-1].parameters
        windows = cls(window_ms, lateness_ms, ledger)
        windows._fill(symbols.names, np.concatenate(rows[: len(base)]), NEVER_MS)
        for more in rows[len(base) :]:
            # accepted once in this order: accepted again, if no window closes meanwhile
            windows._ledger.apply(more, np.full(len(more), NEVER_MS))
        windows._ledger.watermark_ms = watermark_ms
        windows._clean_at = max(_CLEAN_ROWS, 2 * len(windows._ledger))
        windows.growth.restart(True)
        windows.growth.note(rows[-1])  # the last piece may go on to grow
        return windows

    @property
    def _parameters(self) -> tuple[int, int, int]:
        return self.window_ms, self.lateness_ms, self._ledger.watermark_ms

    def _snapshot(self) -> Snapshot:
        rows = self._ledger.rows()
        return Snapshot(self._parameters, self._symbols.compact(rows, TEXTS), rows)

    def _fill(self, names: list[str], rows: Rows, watermark_ms: int) -> None:
        self._symbols = Symbols(names)
        open_ms = self.lateness_ms + self.window_ms
        self._ledger = self._new(rows, self._symbols.names, open_ms, watermark_ms)
        self._clean_at = max(_CLEAN_ROWS, 2 * len(self._ledger))
        self.growth.restart(False)

    def _clean(self) -> None:
        """Drop the readings of closed windows, once they are half; no result depends on it."""
        self._clean_at = 2 * len(self._ledger)
        if 2 * len(self._ledger.rows()) < len(self._ledger):
            _, names, rows = self._snapshot()
            self._fill(names, rows, self._ledger.watermark_ms)

    def _rows(self, readings: pa.RecordBatch) -> Rows:
        """The batch as samples, each with its window, its levels and what is wrong with it."""
        rows = np.zeros(readings.num_rows, SAMPLE)
        for name in ("start_ms", "end_ms", "revision"):
            rows[name] = readings.column(name).to_numpy(zero_copy_only=False)
        for name in TEXTS:
            rows[name] = self._symbols.encode(readings.column(name))
        kind = fixed_codes(readings.column("kind"), KINDS)
        unit = fixed_codes(readings.column("unit"), UNITS)
        quantity = readings.column("quantity").to_numpy(zero_copy_only=False)
        start_ms, end_ms = rows["start_ms"], rows["end_ms"]
        counter = kind == KINDS.index("register")
        # a counter's reading is of an instant, and its start may be the day it was built
        rows["window_ms"] = np.where(counter, end_ms, start_ms) // self.window_ms * self.window_ms
        energy = (kind == KINDS.index("delta")) & (unit == UNITS.index("mJ"))
        reversed_ = end_ms <= start_ms
        power_mw, overflow = mean_power_mw(quantity, np.where(reversed_, 1, end_ms - start_ms))
        rows["sample"] = np.where(energy, power_mw, quantity)
        rows["energy_mj"] = np.where(energy, quantity, 0)
        rows["bucket"] = sketch.buckets(rows["sample"])
        rows["kind"] = kind
        rows["unit"] = np.where(energy, UNITS.index("mW"), unit)
        none = self._symbols.code("")
        for level, place in enumerate(("rack_id", "site_id", "hub_id")):
            rows["levels"] |= np.where(counter | (rows[place] == none), 0, 1 << level).astype("u1")
        for faulty, outcome in (
            (energy & overflow, Outcome.OVERFLOW),
            (quantity < 0, Outcome.NEGATIVE),
            (reversed_, Outcome.REVERSED),
            ((kind == UNLISTED) | (unit == UNLISTED), Outcome.UNLISTED),
        ):
            rows["fault"][faulty] = outcome
        return rows

    def _rollups(self, racks: Rows) -> pa.RecordBatch:
        columns = self._columns(racks)
        sums, counts = racks["sum"].tolist(), racks["count"].tolist()
        columns["mean"] = [
            total / count if count else 0.0 for total, count in zip(sums, counts, strict=True)
        ]
        columns["p95"] = sketch.p95(racks["p95_bucket"], racks["min"], racks["max"])
        return ROLLUPS.batch(columns)

    def _partials(self, rows: Rows, sketches: list[bytes], partition: int) -> pa.RecordBatch:
        columns = self._columns(rows)
        columns["partition"] = np.full(len(rows), partition, np.int32)
        columns["sketch"] = sketches
        return ROLLUPS_PARTIAL.batch(columns)

    def _columns(self, rows: Rows) -> dict[str, object]:
        names = self._symbols.names
        keys = zip(*(rows[name].tolist() for name in ("level", *TEXTS[3:])), strict=True)
        ids = [
            f"{names[site]}/{names[rack]}" if level == RACK else names[site if level == SITE else h]
            for level, site, rack, h in keys
        ]
        columns: dict[str, object] = {
            "id": ids,
            "level": fixed_array(rows["level"], LEVELS),
            "unit": fixed_array(rows["unit"], UNITS),
            "hub_id": self._symbols.array(rows["hub_id"]),
            "register": self._symbols.array(rows["register"]),
            "end_ms": rows["start_ms"] + self.window_ms,
        }
        for name in ("start_ms", "revision", "count", "sum", "min", "max", "energy_mj"):
            columns[name] = np.ascontiguousarray(rows[name])
        return columns

    def _refusal(self, index: int, outcome: Outcome, row: Rows) -> Refusal:
        names = self._symbols.names
        reason, field, text = _REFUSALS[outcome]
        closed = f"{self.lateness_ms / MS_PER_HOUR:g} h"
        return Refusal(
            index,
            reason,
            field,
            f"meter {names[row['meter_id']]} register {names[row['register']]} "
            f"[{row['start_ms']}, {row['end_ms']}) revision {row['revision']} "
            f"of {names[row['source']]}: {text.format(closed=closed)}",
        )


def mean_power_mw(quantity_mj: Int64s, duration_ms: Int64s) -> tuple[Int64s, npt.NDArray[np.bool_]]:
    """Mean power of an interval, mJ x 1000 / ms, half to even; and where that passes 64 bits.

    By parts, because quantity x 1000 passes 64 bits at 2.6 GWh: q = whole x ms + rest.
    """
    whole, rest = np.divmod(quantity_mj, duration_ms)
    overflow = whole >= INT64_MAX // 1000 - 1
    milli, left = np.divmod(rest * 1000, duration_ms)
    power = np.where(overflow, 0, whole) * 1000 + milli
    # left is compared with what is missing to the next integer: twice left could pass 64 bits
    missing = duration_ms - left
    power += (left > missing) | ((left == missing) & (power % 2 == 1))
    return power, overflow


_REFUSALS = {
    Outcome.LATE: (
        "late_revision",
        "start_ms",
        "its window was closed {closed} after its end; correct it in settlement",
    ),
    Outcome.OTHER_UNIT: (
        "bad_input",
        "unit",
        "its window has another unit; give the two dimensions registers of their own",
    ),
    Outcome.OVERFLOW: (
        "overflow",
        "quantity",
        "its window's sum would not fit 64 bits; check the unit of the quantity",
    ),
    Outcome.UNLISTED: (
        "unknown_value",
        "kind",
        f"kind or unit is not one of {', '.join(KINDS)}; {', '.join(UNITS)}",
    ),
    Outcome.REVERSED: (
        "interval_reversed",
        "end_ms",
        "the interval ends at or before its start; send start before end",
    ),
    Outcome.NEGATIVE: (
        "negative",
        "quantity",
        "quantity is below zero; send an amount of 0 or more",
    ),
}
