"""Meter: readings -> usage. Interval energy that no duplicate, reorder or replay can change.

State is a pure function of the set of accepted readings:

    id    = (source, meter, register, start, end, revision)
    slot  = (meter, register, kind, end)         the usage row's key
    usage = the slot's reading of the highest revision (delta, gauge), or the difference between the
            deciding readings of two neighbouring slots of a counter (kind register)

Same id, same content: duplicate. Same id, other content: conflict, the first of the log stays.
See README.md for the counter's rules, for the revision of a usage row and for what is kept.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernels.growth import Growth
from kernels.meter import columns, reference
from kernels.meter.columns import Rates, Taken
from kernels.meter.layout import (
    CONTENT,
    NEVER_MS,
    READING,
    TEXTS,
    UNITS,
    USAGE_QUALITIES,
    Outcome,
)
from kernels.meter.rates import Facts, rates_of
from kernels.refusal import Refusal
from kernels.snapshot import (
    Block,
    Column,
    Packed,
    Snapshot,
    pack,
    pack_block,
    pack_columns,
    rows_in,
    unpack,
    unpack_block,
)
from kernels.symbols import Symbols, Texts
from schemas.telemetry import KINDS, QUALITIES, READINGS
from schemas.units import MS_PER_HOUR

# Ingest accepts a row that ended up to 48 h before its receipt; an hour more for rows of other
# inputs that overtook it on the way into the partition.
RETENTION_MS = 49 * MS_PER_HOUR

# Rows between two clean-outs at least: below this the dead rows are not worth the copy.
_CLEAN_ROWS = 65_536

# What of a saved reading is a place in a list: in the texts, or in one that is fixed.
_PLACES = {
    **dict.fromkeys(TEXTS),
    "kind": len(KINDS),
    "unit": len(UNITS),
    "quality": len(USAGE_QUALITIES),
}

Rows = npt.NDArray[Any]


class _Ledger(Protocol):
    """What both twins do: reference.Ledger is the specification."""

    watermark_ms: int

    def __len__(self) -> int: ...
    def apply(self, rows: Rows) -> tuple[npt.NDArray[np.uint8], Rows, list[tuple[int, Rows]]]: ...
    def reserve(self, count: int) -> None: ...
    def fill(self, rows: Rows) -> None: ...
    def rows(self) -> Rows: ...
    def newest(self, count: int) -> Rows: ...
    def piece(self, first: int, limit: int) -> tuple[Rows, int]: ...
    def live(self) -> int: ...
    def compact(self) -> None: ...


NewLedger = Callable[[Rows, Sequence[str], int, int], _Ledger]


def _ledger() -> NewLedger:
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return reference.Ledger
    from kernels.meter._core import Ledger

    compiled: NewLedger = Ledger
    return compiled


class _Intake(Protocol):
    """What both twins do: columns.Intake is the specification."""

    def take(self, readings: pa.RecordBatch, rates: Rates | None, /) -> Taken: ...


def _intake_of(ledger: _Ledger, symbols: Symbols) -> _Intake:
    if isinstance(ledger, reference.Ledger) or os.environ.get("GRIDLOOM_PURE") == "1":
        return columns.Intake(ledger, symbols)
    compiled: _Intake = import_module("kernels.meter._intake").Intake(ledger, symbols.texts)
    return compiled


Newest = Callable[[_Ledger, Texts, int], tuple[Rows, Sequence[Column]]]


def _newest_of(ledger: _Ledger) -> Newest:
    if isinstance(ledger, reference.Ledger) or os.environ.get("GRIDLOOM_PURE") == "1":
        return columns.newest
    compiled: Newest = import_module("kernels.meter._packing").newest
    return compiled


@dataclass(frozen=True, slots=True)
class Applied:
    """What a batch brought: usage rows that changed, refused rows, and the counts of the others.

    rows of the batch = accepted + duplicate + superseded + len(refused).
    """

    changed: pa.RecordBatch
    refused: list[Refusal]
    accepted: int
    duplicate: int
    superseded: int


class Slots:
    """The slots of one readings partition."""

    VERSION: ClassVar[int] = 2

    def __init__(self, retention_ms: int = RETENTION_MS, ledger: NewLedger | None = None) -> None:
        self.retention_ms = retention_ms
        self._new = ledger or _ledger()
        self.growth = Growth()
        self._fill(Snapshot((retention_ms, NEVER_MS), [], np.empty(0, READING)))

    def apply(self, readings: pa.RecordBatch, facts: Facts | None = None) -> Applied:
        """Apply one batch of READINGS, in any order, with any duplicates.

        facts: what the registry says of a meter at a reading's end; only counters (kind register)
        are asked for. Without it counters are unbounded and never roll over.
        Refused with reason: conflict, late_revision, unknown_value, interval_reversed, negative.
        """
        assert readings.schema.equals(READINGS.schema), "a batch of READINGS has its columns"
        rates = None if facts is None else rates_of(readings, facts)
        taken = self._intake.take(readings, rates)
        if self.growth.has_base:
            self.growth.rows += taken.accepted + taken.superseded
        refused = [
            self._refusal(index, Outcome(outcome), row[0], kept)
            for index, outcome, row, kept in taken.refused
        ]
        applied = Applied(taken.changed, refused, taken.accepted, taken.duplicate, taken.superseded)
        counted = applied.accepted + applied.duplicate + applied.superseded + len(refused)
        assert readings.num_rows == counted, "a row vanished"
        if len(self._ledger) > self._clean_at:
            self._clean()
        return applied

    def dump(self) -> bytes:
        """The state as bytes: a function of the open slots in the order they came."""
        return pack(self.VERSION, self._snapshot())

    @classmethod
    def load(cls, dumped: bytes, ledger: NewLedger | None = None) -> Self:
        """The state that was dumped; DecodeError for another version."""
        snapshot = unpack(cls.VERSION, 2, READING, dumped, _PLACES)
        slots = cls(snapshot.parameters[0], ledger)
        slots._fill(snapshot)
        return slots

    def __len__(self) -> int:
        """Readings held."""
        return len(self._ledger)

    def base(self, rows: int) -> Iterator[bytes]:
        """The whole state in pieces of so many readings; what comes after it is `added`.

        Each piece is made when it is asked for; nothing may be applied before the last one was.
        """
        held, at = len(self._ledger), 0
        while True:
            piece, at = self._ledger.piece(at, rows)
            if at == held:
                self.growth.restart(True)
            yield self._packed(piece)
            if at == held:
                return

    def added(self) -> bytes:
        """What was taken in since the base or the last seal."""
        texts, rows = self._symbols.texts, self.growth.rows
        used, narrow = self._newest(self._ledger, texts, rows)
        return pack_columns(self.VERSION, self._parameters, Block(*texts.texts(used)), rows, narrow)

    def _packed(self, rows: Rows) -> bytes:
        texts = self._symbols.compact_block(rows, TEXTS)
        return pack_block(self.VERSION, Packed(self._parameters, texts, rows))

    @classmethod
    def load_chain(
        cls, base: Sequence[bytes], added: Sequence[bytes], ledger: NewLedger | None = None
    ) -> Self:
        """The state of a base and of what was added since; the last piece is not sealed yet."""
        last = unpack_block(cls.VERSION, 2, READING, added[-1], _PLACES)
        retention_ms, watermark_ms = last.parameters
        slots = cls(retention_ms, ledger)
        slots._ledger.reserve(sum(rows_in(2, dumped) for dumped in (*base, *added)))
        for dumped in base:
            slots._ledger.fill(slots._unpacked(dumped))
        for dumped in added:
            rows = slots._unpacked(dumped)
            slots._ledger.apply(rows)  # accepted once in this order: accepted again
        slots._ledger.watermark_ms = watermark_ms
        slots._clean_at = max(_CLEAN_ROWS, 2 * len(slots._ledger))
        slots._texts_at = max(_CLEAN_ROWS, 2 * len(slots._symbols.names))
        slots.growth.restart(True)
        slots.growth.rows = len(rows)  # the last piece may go on to grow
        return slots

    def _unpacked(self, dumped: bytes) -> Rows:
        _, texts, rows = unpack_block(self.VERSION, 2, READING, dumped, _PLACES)
        self._symbols.recode(rows, TEXTS, texts)
        return rows

    @property
    def _parameters(self) -> tuple[int, int]:
        return self.retention_ms, self._ledger.watermark_ms

    def _snapshot(self) -> Snapshot:
        rows = self._ledger.rows()
        return Snapshot(self._parameters, self._symbols.compact(rows, TEXTS), rows)

    def _fill(self, snapshot: Snapshot) -> None:
        _, watermark_ms = snapshot.parameters
        self._symbols = Symbols(snapshot.names)
        self._ledger = self._new(
            snapshot.rows, self._symbols.names, self.retention_ms, watermark_ms
        )
        self._intake = _intake_of(self._ledger, self._symbols)
        self._newest = _newest_of(self._ledger)
        self._clean_at = max(_CLEAN_ROWS, 2 * len(self._ledger))
        self._texts_at = max(_CLEAN_ROWS, 2 * len(self._symbols.names))
        self.growth.restart(False)

    def _clean(self) -> None:
        """Drop the readings of closed slots, once they are half of all; no result depends on it."""
        if 2 * self._ledger.live() < len(self._ledger):
            if len(self._symbols.names) > self._texts_at:
                self._fill(self._snapshot())  # the texts of readings that are gone go as well
                return
            self._ledger.compact()
            self.growth.restart(False)
        self._clean_at = max(_CLEAN_ROWS, 2 * len(self._ledger))

    def _refusal(self, index: int, outcome: Outcome, row: Rows, kept: Rows | None) -> Refusal:
        names = self._symbols.names
        shown = (
            f"meter {names[row['meter_id']]} register {names[row['register']]} "
            f"[{row['start_ms']}, {row['end_ms']}) revision {row['revision']} "
            f"of {names[row['source']]}"
        )
        if outcome == Outcome.CONFLICT:
            assert kept is not None
            field = next(name for name in CONTENT if row[name] != kept[0][name])
            text = f"{_content(kept[0])} came first, then {_content(row)}"
            step = "the first one counts; correct it with a higher revision"
            return Refusal(index, "conflict", field, f"{shown}: {text}; {step}")
        if outcome == Outcome.LATE:
            hours = self.retention_ms / MS_PER_HOUR
            text = f"its slot was closed {hours:g} h after its end; correct it in settlement"
            return Refusal(index, "late_revision", "end_ms", f"{shown}: {text}")
        if outcome == Outcome.REVERSED:
            text = "the interval ends at or before its start; send start before end"
            return Refusal(index, "interval_reversed", "end_ms", f"{shown}: {text}")
        if outcome == Outcome.NEGATIVE:
            text = f"quantity {row['quantity']} is below zero; send an amount of 0 or more"
            return Refusal(index, "negative", "quantity", f"{shown}: {text}")
        lists = {"kind": KINDS, "unit": UNITS, "quality": QUALITIES}
        field = next(name for name, listed in lists.items() if row[name] >= len(listed))
        text = f"{field} is not one of {', '.join(lists[field])}"
        return Refusal(index, "unknown_value", field, f"{shown}: {text}")


def _content(row: Rows) -> str:
    return (
        f"{KINDS[row['kind']]} {row['quantity']} {UNITS[row['unit']]} "
        f"{USAGE_QUALITIES[row['quality']]} epoch {row['epoch']}"
    )


__all__ = ["RETENTION_MS", "Applied", "Facts", "NewLedger", "Slots"]
