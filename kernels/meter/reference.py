"""The plain twin of the meter: dicts and sorted lists, to be read beside _core.pyx.

A slot is (meter, register, kind, end). Of its readings the highest revision decides; between equal
revisions the smallest source text, then the earliest start. Nothing of this looks at order.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.meter.layout import (
    CONTENT,
    MJ,
    NEVER_MS,
    QUESTIONABLE,
    READING,
    REGISTER,
    RESET,
    UNITS,
    USAGE_QUALITIES,
    Outcome,
)
from schemas.telemetry import KINDS

Rows = npt.NDArray[Any]
SlotKey = tuple[int, int, int, int]


class Reading(NamedTuple):
    """One row of layout.READING."""

    start_ms: int
    end_ms: int
    revision: int
    quantity: int
    epoch: int
    received_ms: int
    rating_w: int
    register_modulus: int
    meter_id: int
    register: int
    source: int
    site_id: int
    hub_id: int
    account_id: int
    slot_revision: int
    kind: int
    unit: int
    quality: int
    spare: int

    @property
    def id(self) -> tuple[int, ...]:
        return (
            self.source,
            self.meter_id,
            self.register,
            self.start_ms,
            self.end_ms,
            self.revision,
        )

    @property
    def slot(self) -> SlotKey:
        return self.meter_id, self.register, self.kind, self.end_ms


@dataclass(slots=True)
class Slot:
    """The reading that decides, and how often the slot's usage may have changed."""

    winner: Reading
    revision: int = 0


def difference(previous: Reading, reading: Reading) -> tuple[int, int]:
    """(quantity, quality) of a counter between two neighbouring readings; never negative.

    The difference modulo the counter's size, if the meter's rating allows it (W x ms = mJ); else
    the counter began again at 0 (RESET), if the rating allows that; else the two contradict each
    other and the later one is a new beginning: quantity 0, QUESTIONABLE.
    """
    allowed_mj = reading.rating_w * (reading.end_ms - previous.end_ms)
    unbounded = reading.rating_w == 0 or reading.unit != MJ
    if reading.unit == previous.unit and reading.epoch >= previous.epoch:
        if reading.epoch == previous.epoch:
            counted = reading.quantity - previous.quantity
            if reading.register_modulus > 0:
                counted %= reading.register_modulus
            if counted >= 0 and (unbounded or counted <= allowed_mj):
                return counted, max(previous.quality, reading.quality)
        if unbounded or reading.quantity <= allowed_mj:
            return reading.quantity, RESET
    return 0, QUESTIONABLE


class Ledger:
    """Readings of one partition, in order of acceptance, and the slots that they decide."""

    def __init__(
        self,
        rows: Rows,
        names: Sequence[str],
        retention_ms: int,
        watermark_ms: int = NEVER_MS,
    ) -> None:
        self.names = names  # texts by code: only a tie between sources looks at them
        self.retention_ms = retention_ms
        self.watermark_ms = watermark_ms
        self._renew(rows)

    def _renew(self, rows: Rows) -> None:
        self._readings: dict[tuple[int, ...], Reading] = {}
        self._slots: dict[SlotKey, Slot] = {}
        self._ends: dict[tuple[int, int], list[int]] = {}  # (meter, register) -> ends of a counter
        self.fill(rows)

    def reserve(self, count: int) -> None:
        """Room for so many readings: dicts make their own."""

    def fill(self, rows: Rows) -> None:
        """Take in readings that rows() or piece() gave, in their order."""
        for row in rows.tolist():
            reading = Reading(*row)
            self._put(reading)
            self._slots[reading.slot].revision = reading.slot_revision

    def __len__(self) -> int:
        return len(self._readings)

    def apply(self, rows: Rows) -> tuple[npt.NDArray[np.uint8], Rows, list[tuple[int, Rows]]]:
        """Outcome of each row, usage of each changed slot, and (row, reading kept) of conflicts."""
        outcomes = np.zeros(len(rows), np.uint8)
        changed: dict[SlotKey, None] = {}
        conflicts = []
        for index, row in enumerate(rows.tolist()):
            reading = Reading(*row)
            outcome = outcomes[index] = self._take(reading, changed)
            if outcome == Outcome.CONFLICT:
                conflicts.append((index, np.array([self._readings[reading.id]], READING)))
        usage = [row for slot in changed if (row := self._usage(slot)) is not None]
        return outcomes, np.array(usage, READING), conflicts

    def rows(self) -> Rows:
        """The readings of open slots, and of each counter the last closed one it counts from."""
        live = [
            reading._replace(slot_revision=self._slots[reading.slot].revision)
            for reading in self._readings.values()
            if self._is_live(reading)
        ]
        return np.array(live, READING)

    def piece(self, first: int, limit: int) -> tuple[Rows, int]:
        """(at most `limit` of rows(), from the first-th reading on; where the next one begins)."""
        live: list[Reading] = []
        for reading in islice(self._readings.values(), first, None):
            if len(live) == limit:
                break
            first += 1
            if self._is_live(reading):
                live.append(reading._replace(slot_revision=self._slots[reading.slot].revision))
        return np.array(live, READING), first

    def newest(self, count: int) -> Rows:
        """The last `count` readings accepted, of slot revision 0."""
        newest = islice(self._readings.values(), len(self) - count, None)
        return np.array([reading._replace(slot_revision=0) for reading in newest], READING)

    def live(self) -> int:
        """How many readings rows() would give."""
        return len(self.rows())

    def compact(self) -> None:
        """Drop the readings that rows() leaves out, and their slots; order and answers stay."""
        self._renew(self.rows())

    def _take(self, reading: Reading, changed: dict[SlotKey, None]) -> Outcome:
        self.watermark_ms = max(self.watermark_ms, reading.received_ms)
        if fault := _fault(reading):
            return fault
        if reading.end_ms <= self.watermark_ms - self.retention_ms:
            return Outcome.LATE
        known = self._readings.get(reading.id)
        if known is not None:
            same = all(getattr(known, name) == getattr(reading, name) for name in CONTENT)
            return Outcome.DUPLICATE if same else Outcome.CONFLICT
        decides = self._put(reading)
        touched = [reading.slot]
        if decides and (following := self._neighbour(reading.slot, 1)) is not None:
            touched.append(following)
        for slot in touched:
            self._slots[slot].revision += 1
            changed[slot] = None
        return Outcome.ACCEPTED if decides else Outcome.SUPERSEDED

    def _put(self, reading: Reading) -> bool:
        """Add the reading to its slot; does it decide there?"""
        self._readings[reading.id] = reading
        slot = self._slots.get(reading.slot)
        if slot is None:
            self._slots[reading.slot] = Slot(reading)
            if reading.kind == REGISTER:
                insort(self._ends.setdefault(reading.slot[:2], []), reading.end_ms)
            return True
        if self._rank(reading) < self._rank(slot.winner):
            slot.winner = reading
            return True
        return False

    def _rank(self, reading: Reading) -> tuple[int, str, int]:
        return -reading.revision, self.names[reading.source], reading.start_ms

    def _neighbour(self, slot: SlotKey, step: int) -> SlotKey | None:
        """The slot of the counter's reading before (-1) or after (1) this one."""
        meter, register, kind, end_ms = slot
        if kind != REGISTER:
            return None
        ends = self._ends[meter, register]
        place = bisect_left(ends, end_ms) + step
        return (meter, register, kind, ends[place]) if 0 <= place < len(ends) else None

    def _usage(self, key: SlotKey) -> Reading | None:
        """The slot's usage as a row: start, quantity, quality and revision are the interval's."""
        slot = self._slots[key]
        row = slot.winner._replace(slot_revision=slot.revision)
        if row.kind != REGISTER:
            return row
        before = self._neighbour(key, -1)
        if before is None:
            return None  # a counter's first reading is where counting starts
        previous = self._slots[before].winner
        quantity, quality = difference(previous, row)
        return row._replace(start_ms=previous.end_ms, quantity=quantity, quality=quality)

    def _is_live(self, reading: Reading) -> bool:
        horizon_ms = self.watermark_ms - self.retention_ms
        if reading.end_ms > horizon_ms:
            return True
        following = self._neighbour(reading.slot, 1)
        last = following is None or following[3] > horizon_ms
        return reading.kind == REGISTER and last


def _fault(reading: Reading) -> Outcome | None:
    listed = reading.kind < len(KINDS) and reading.unit < len(UNITS)
    if not (listed and reading.quality < len(USAGE_QUALITIES)):
        return Outcome.UNLISTED
    if reading.end_ms <= reading.start_ms:
        return Outcome.REVERSED
    return Outcome.NEGATIVE if reading.quantity < 0 else None
