"""Windows: readings -> finished rack windows, and partials of site and hub windows."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernels.growth import Growth
from kernels.refusal import Refusal
from kernels.rollup import reference
from kernels.rollup.changed import Changed
from kernels.rollup.layout import LATENESS_MS, NEVER_MS, SAVED, TEXTS, UNITS, WINDOW_MS, Outcome
from kernels.rollup.packing import newest_of
from kernels.rollup.samples import reader, refilled
from kernels.snapshot import (
    Block,
    Packed,
    pack_block,
    pack_columns,
    refusing_damage,
    unpack_block,
)
from kernels.symbols import Symbols
from schemas.telemetry import KINDS
from schemas.units import MS_PER_HOUR

# Rows between two clean-outs at least: below this the dead rows are not worth the walk. Texts too.
_CLEAN_ROWS = 65_536

# What of a saved reading is a place in a list: in the texts, or in one that is fixed.
_PLACES = {**dict.fromkeys(TEXTS), "kind": len(KINDS), "unit": len(UNITS)}

Rows = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]


class _Ledger(Protocol):
    """What both twins do: reference.Ledger is the specification."""

    watermark_ms: int

    def __len__(self) -> int: ...
    def apply(
        self, rows: Rows, received_ms: Int64s
    ) -> tuple[npt.NDArray[np.uint8], Rows, reference.Sketches]: ...
    def piece(self, at: int, out: Rows) -> tuple[int, int]: ...
    def live(self) -> int: ...
    def compact(self) -> None: ...


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

    VERSION: ClassVar[int] = 3

    def __init__(
        self,
        window_ms: int = WINDOW_MS,
        lateness_ms: int = LATENESS_MS,
        ledger: NewLedger | None = None,
    ) -> None:
        if window_ms <= 0:
            raise ValueError(f"windows of {window_ms} ms; give 1 or more")
        self.window_ms = window_ms
        self.lateness_ms = lateness_ms
        self._new = ledger or _ledger()
        self.growth = Growth()
        # It stays: fresh memory for every save would cost more than what is written there.
        self._rows = np.empty(0, SAVED)
        self._fill(Symbols(), self._rows, NEVER_MS)

    def apply(self, readings: pa.RecordBatch, partition: int) -> Applied:
        """Apply one batch of READINGS of a partition, in any order, with any duplicates.

        Refused with reason: late_revision, unknown_value, interval_reversed, negative, overflow,
        bad_input (a register that has another unit in the same window).
        """
        rows, received_ms = self._reader.read(readings)
        outcomes, windows, sketches = self._ledger.apply(rows, received_ms)
        accepted, duplicate, superseded, *others = np.bincount(outcomes, minlength=3).tolist()
        refused = [
            self._refusal(int(index), Outcome(outcomes[index]), rows[index])
            for index in (np.nonzero(outcomes >= Outcome.LATE)[0] if others else ())
        ]
        if self.growth.has_base:
            self.growth.rows += accepted + superseded
        assert readings.num_rows == accepted + duplicate + superseded + len(refused), (
            "a row vanished"
        )
        batches = self._changed.batches(windows, sketches, partition)
        applied = Applied(*batches, refused, accepted, duplicate, superseded)
        if len(self._ledger) > self._clean_at:
            self._clean()
        return applied

    def dump(self) -> bytes:
        """The state as bytes: a function of the open windows' readings in the order they came."""
        return self._packed(self._live())

    @classmethod
    @refusing_damage
    def load(cls, dumped: bytes, ledger: NewLedger | None = None) -> Self:
        """The state that was dumped; DecodeError for another version."""
        parameters, texts, rows = unpack_block(cls.VERSION, 3, SAVED, dumped, _PLACES)
        window_ms, lateness_ms, watermark_ms = parameters
        windows = cls(window_ms, lateness_ms, ledger)
        windows._fill(Symbols(texts.names()), rows, watermark_ms)
        return windows

    def __len__(self) -> int:
        """Readings held."""
        return len(self._ledger)

    def base(self, rows: int) -> Iterator[bytes]:
        """The whole state in pieces of so many readings; what comes after it is `added`.

        Each piece is made when it is asked for; nothing may be applied before the last one was.
        """
        held, at = len(self._ledger), -1
        while at < held:
            size, at = self._ledger.piece(max(at, 0), self._room(rows))
            if at == held:
                self.growth.restart(True)
            yield self._packed(self._rows[:size])

    def added(self) -> bytes:
        """What was taken in since the base or the last seal."""
        texts, rows = self._symbols.texts, self.growth.rows
        used, narrow = self._newest(self._ledger, texts, rows)
        return pack_columns(self.VERSION, self._parameters, Block(*texts.texts(used)), rows, narrow)

    @classmethod
    @refusing_damage
    def load_chain(
        cls, base: Sequence[bytes], added: Sequence[bytes], ledger: NewLedger | None = None
    ) -> Self:
        """The state of a base and of what was added since; the last piece is not sealed yet."""
        chain = [unpack_block(cls.VERSION, 3, SAVED, dumped, _PLACES) for dumped in (*base, *added)]
        symbols = Symbols()
        for _, texts, rows in chain:
            symbols.recode(rows, TEXTS, texts)
        window_ms, lateness_ms, watermark_ms = chain[-1].parameters
        windows = cls(window_ms, lateness_ms, ledger)
        windows._fill(
            symbols, np.concatenate([piece.rows for piece in chain[: len(base)]]), NEVER_MS
        )
        for _, _, rows in chain[len(base) :]:
            # accepted once in this order: accepted again, if no window closes meanwhile
            more = refilled(rows, window_ms, symbols)
            windows._ledger.apply(more, np.full(len(more), NEVER_MS))
        windows._ledger.watermark_ms = watermark_ms
        windows._clean_at = max(_CLEAN_ROWS, 2 * len(windows._ledger))
        windows._texts_at = max(_CLEAN_ROWS, 2 * len(symbols.names))
        windows.growth.restart(True)
        windows.growth.rows = len(chain[-1].rows)  # the last piece may go on to grow
        return windows

    @property
    def _parameters(self) -> tuple[int, int, int]:
        return self.window_ms, self.lateness_ms, self._ledger.watermark_ms

    def _room(self, rows: int) -> Rows:
        if rows > len(self._rows):
            self._rows = np.empty(2 * rows, SAVED)
        return self._rows[:rows]

    def _live(self) -> Rows:
        """All readings that a row of an open window may still repeat or revise."""
        rows = self._room(len(self._ledger))
        return rows[: self._ledger.piece(0, rows)[0]]

    def _packed(self, rows: Rows) -> bytes:
        texts = self._symbols.compact_block(rows, TEXTS)
        return pack_block(self.VERSION, Packed(self._parameters, texts, rows))

    def _fill(self, symbols: Symbols, rows: Rows, watermark_ms: int) -> None:
        self._symbols = symbols
        self._reader = reader(self._symbols, self.window_ms)
        self._changed = Changed(self._symbols, self.window_ms)
        open_ms = self.lateness_ms + self.window_ms
        samples = refilled(rows, self.window_ms, symbols)
        self._ledger = self._new(samples, self._symbols.names, open_ms, watermark_ms)
        self._newest = newest_of(self._ledger)
        self._clean_at = max(_CLEAN_ROWS, 2 * len(self._ledger))
        self._texts_at = max(_CLEAN_ROWS, 2 * len(self._symbols.names))
        self.growth.restart(False)

    def _clean(self) -> None:
        """Drop the readings of closed windows, once they are half; no result depends on it."""
        if 2 * self._ledger.live() < len(self._ledger):
            if len(self._symbols.names) > self._texts_at:
                self._renew()
                return
            self._ledger.compact()
            self.growth.restart(False)
        self._clean_at = max(_CLEAN_ROWS, 2 * len(self._ledger))

    def _renew(self) -> None:
        """Drop them with their texts."""
        rows = self._live()
        names = self._symbols.compact_block(rows, TEXTS).names()
        self._fill(Symbols(names), rows, self._ledger.watermark_ms)
        self._rows = np.empty(0, SAVED)  # as large as the state

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
