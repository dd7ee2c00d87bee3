"""The plain twin of the windows: dicts of samples, to be read beside _core.pyx.

A slot is (meter, register, kind, start, end). Of its readings the highest revision is sampled;
between equal revisions the one of the smallest source text. A window's revision counts the readings
of all slots that ever had one in it: also one that moved the meter elsewhere, for it changed both.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.rollup import sketch
from kernels.rollup.layout import HUB, NEVER_MS, RACK, SITE, UNITS, WINDOW, Outcome
from schemas.units import INT64_MAX

Rows = npt.NDArray[Any]
# the bytes of all sketches, one after the other: where each ends (the first is 0), and the bytes
Sketches = tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]
SlotKey = tuple[int, int, int, int, int]
WindowKey = tuple[int, int, int, int, int]
_MJ = UNITS.index("mJ")


class Sample(NamedTuple):
    """One row of layout.SAMPLE."""

    start_ms: int
    end_ms: int
    window_ms: int
    revision: int
    sample: int
    energy_mj: int
    meter_id: int
    register: int
    source: int
    site_id: int
    rack_id: int
    hub_id: int
    bucket: int
    kind: int
    unit: int
    levels: int
    fault: int

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
    def saved(self) -> tuple[int, ...]:
        """As a row of layout.SAVED."""
        quantity = self.energy_mj or self.sample
        unit = _MJ if self.energy_mj else self.unit
        return (
            self.start_ms,
            self.end_ms,
            self.revision,
            quantity,
            self.meter_id,
            self.register,
            self.source,
            self.site_id,
            self.rack_id,
            self.hub_id,
            self.kind,
            unit,
        )

    @property
    def slot(self) -> SlotKey:
        return self.meter_id, self.register, self.kind, self.start_ms, self.end_ms

    @property
    def windows(self) -> list[WindowKey]:
        """(level, place, place within it, register, start) of each window the reading is in."""
        places = ((self.site_id, self.rack_id), (self.site_id, -1), (self.hub_id, -1))
        return [
            (level, *places[level], self.register, self.window_ms)
            for level in (RACK, SITE, HUB)
            if self.levels >> level & 1
        ]


@dataclass(slots=True)
class Slot:
    """The reading that is sampled, and all that were accepted."""

    winner: Sample
    readings: list[Sample]


@dataclass(slots=True)
class Window:
    """What the first reading says of the window, its samples by slot, and their exact sums."""

    first: Sample
    samples: dict[SlotKey, Sample] = field(default_factory=dict)
    revision: int = 0
    sum: int = 0
    energy_mj: int = 0

    def add(self, sample: Sample) -> None:
        self.samples[sample.slot] = sample
        self.sum += sample.sample
        self.energy_mj += sample.energy_mj

    def remove(self, sample: Sample) -> None:
        del self.samples[sample.slot]
        self.sum -= sample.sample
        self.energy_mj -= sample.energy_mj


class Ledger:
    """Readings of one partition's open windows, in order of acceptance."""

    def __init__(
        self, rows: Rows, names: Sequence[str], open_ms: int, watermark_ms: int = NEVER_MS
    ) -> None:
        self.names = names  # texts by code: only a tie between sources looks at them
        self.open_ms = open_ms  # how far behind the watermark the oldest open window starts
        self.watermark_ms = watermark_ms
        self._fill([Sample(*row) for row in rows.tolist()])

    def _fill(self, samples: Sequence[Sample]) -> None:
        self._readings: dict[tuple[int, ...], Sample] = {}
        self._slots: dict[SlotKey, Slot] = {}
        self._windows: dict[WindowKey, Window] = {}
        for sample in samples:
            self._put(sample)

    def __len__(self) -> int:
        return len(self._readings)

    def apply(
        self, rows: Rows, received_ms: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.uint8], Rows, Sketches]:
        """Outcome of each row; the changed windows, those of racks first; the others' sketches."""
        outcomes = np.zeros(len(rows), np.uint8)
        changed: dict[WindowKey, None] = {}
        for index, row in enumerate(rows.tolist()):
            outcomes[index] = self._take(Sample(*row), int(received_ms[index]), changed)
        racks = [key for key in changed if key[0] == RACK]
        others = [key for key in changed if key[0] != RACK]
        windows = np.array([self._window(key) for key in racks + others], WINDOW)
        sketches = [sketch.encode(self._counts(self._windows[key])) for key in others]
        ends = np.cumsum([0, *map(len, sketches)], dtype=np.int32)
        return outcomes, windows, (ends, np.frombuffer(b"".join(sketches), np.uint8))

    def piece(self, at: int, out: Rows) -> tuple[int, int]:
        """Write the next readings that a row of an open window may still repeat or revise.

        Returns (how many, where those after them begin). By end, which is never before the window:
        a counter's reading of the same id is in the window of its end, so what it repeats has to
        be known until that one closes.
        """
        held = list(self._readings.values())
        live = [place for place in range(at, len(held)) if self._is_live(held[place])]
        found = live[: len(out)]
        out[: len(found)] = [held[place].saved for place in found]
        return len(found), live[len(out)] if len(live) > len(out) else len(held)

    def newest(self, out: Rows) -> None:
        """Write the last len(out) readings that were accepted."""
        held = list(self._readings.values())
        out[:] = [sample.saved for sample in held[len(held) - len(out) :]]

    def live(self) -> int:
        """How many there are that a row of an open window may still repeat or revise."""
        return sum(map(self._is_live, self._readings.values()))

    def compact(self) -> None:
        """Drop the readings that no row of an open window may repeat or revise."""
        self._fill(list(filter(self._is_live, self._readings.values())))

    def _is_live(self, sample: Sample) -> bool:
        return sample.end_ms > self.watermark_ms - self.open_ms

    def _is_closed(self, window_ms: int) -> bool:
        return window_ms <= self.watermark_ms - self.open_ms

    def _take(self, row: Sample, received_ms: int, changed: dict[WindowKey, None]) -> Outcome:
        self.watermark_ms = max(self.watermark_ms, received_ms)
        if row.fault:
            return Outcome(row.fault)
        if self._is_closed(row.window_ms):
            return Outcome.LATE
        if row.id in self._readings:
            return Outcome.DUPLICATE
        if fault := self._misfit(row):
            return fault
        touched, decides = self._put(row)
        changed.update(touched)
        return Outcome.ACCEPTED if decides else Outcome.SUPERSEDED

    def _misfit(self, row: Sample) -> Outcome | None:
        """A sample that cannot be added to its windows: another unit, or past 64 bits."""
        slot = self._slots.get(row.slot)
        for key in row.windows:
            window = self._windows.get(key)
            if window is None:
                continue
            if window.first.unit != row.unit:
                return Outcome.OTHER_UNIT
            if slot is None or self._decides(row, slot):
                replaced = window.samples.get(row.slot)
                out, out_mj = (replaced.sample, replaced.energy_mj) if replaced else (0, 0)
                largest = max(
                    window.sum - out + row.sample, window.energy_mj - out_mj + row.energy_mj
                )
                if largest > INT64_MAX:
                    return Outcome.OVERFLOW
        return None

    def _decides(self, row: Sample, slot: Slot) -> bool:
        known = slot.winner
        return (-row.revision, self.names[row.source]) < (-known.revision, self.names[known.source])

    def _put(self, row: Sample) -> tuple[dict[WindowKey, None], bool]:
        """Add the reading to its slot and windows: which windows it touched, and is it sampled?"""
        self._readings[row.id] = row
        for key in row.windows:
            self._windows.setdefault(key, Window(row))
        slot = self._slots.get(row.slot)
        if slot is None:
            self._slots[row.slot] = Slot(row, [row])
            for key in row.windows:
                self._windows[key].revision += 1
                self._windows[key].add(row)
            return dict.fromkeys(row.windows), True
        touched = dict.fromkeys(key for known in slot.readings for key in known.windows)
        for key in touched:
            self._windows[key].revision += 1
        slot.readings.append(row)
        for key in row.windows:
            if key not in touched:
                self._windows[key].revision += len(slot.readings)
                touched[key] = None
        decides = self._decides(row, slot)
        if decides:
            for key in slot.winner.windows:
                self._windows[key].remove(slot.winner)
            for key in row.windows:
                self._windows[key].add(row)
            slot.winner = row
        return touched, decides

    def _window(self, key: WindowKey) -> tuple[int, ...]:
        level, _, _, register, start_ms = key
        window = self._windows[key]
        first = window.first
        samples = [s.sample for s in window.samples.values()]
        return (
            start_ms,
            window.revision,
            len(samples),
            window.sum,
            min(samples, default=0),
            max(samples, default=0),
            window.energy_mj,
            first.site_id,
            first.rack_id,
            first.hub_id,
            register,
            sketch.bucket_p95(self._counts(window)),
            level,
            first.unit,
            0,
        )

    def _counts(self, window: Window) -> Counter[int]:
        return Counter(s.bucket for s in window.samples.values())
