"""The plain twin of the merge: dicts of parts, to be read beside _merge.pyx.

A part is known by its window (level, id, register, start) and its readings partition. A window
closes for good with the row that brings the slowest partition RETENTION_MS past its start; one
that lags by more than MAX_LAG_MS holds nobody back. By its start, since all its parts share that:
so it is open or closed as a whole, wherever the log was cut, and no partition reopens it.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.rollup import sketch
from kernels.rollup.layout import (
    LATENESS_MS,
    MERGED,
    NEVER_MS,
    PART,
    WINDOW_MS,
    PartOutcome,
)
from schemas.units import INT64_MAX, MS_PER_HOUR, half_even

# A partition's window stops changing LATENESS_MS after its end on the watermark, which may be the
# time that meters may be ahead behind the start of the latest window that the partition has sent.
RETENTION_MS = LATENESS_MS + WINDOW_MS + MS_PER_HOUR

# A partition that has fallen back further than this no longer keeps the others' windows open.
MAX_LAG_MS = 7 * 24 * MS_PER_HOUR

PPM = 1_000_000
INT64_MIN = -INT64_MAX - 1

Rows = npt.NDArray[Any]
WindowKey = tuple[int, int, int, int]  # level, id, register, start


class Quotients(NamedTuple):
    """Codes of the registers that PUE is the quotient of, of its own, and of its unit."""

    facility: int
    it: int
    pue: int
    ppm: int


class Parts(NamedTuple):
    """Rows of layout.PART; the sketch of row i is sketches[ends[i]:ends[i + 1]]."""

    rows: Rows
    ends: npt.NDArray[np.int32]
    sketches: npt.NDArray[np.uint8]

    def sketch(self, index: int) -> bytes:
        """The sketch of a row."""
        return self.sketches[self.ends[index] : self.ends[index + 1]].tobytes()


class Part(NamedTuple):
    """One row of layout.PART, and its sketch."""

    start_ms: int
    end_ms: int
    revision: int
    count: int  # type: ignore[assignment]  # a tuple's own methods are not asked for
    sum: int
    min: int
    max: int
    energy_mj: int
    level: int
    id: int
    hub_id: int
    register: int
    unit: int
    partition: int
    sketch: bytes

    @property
    def key(self) -> WindowKey:
        return self.level, self.id, self.register, self.start_ms


_SUMS = {
    "sum": PartOutcome.SUM,
    "energy_mj": PartOutcome.ENERGY,
    "count": PartOutcome.COUNT,
    "revision": PartOutcome.REVISION,
}
_MOST = {"count": sketch.SAMPLES_MAX, "revision": INT64_MAX // 2}  # PUE has that of two windows


class Ledger:
    """Parts of open windows, in order of acceptance."""

    def __init__(self, quotients: Quotients) -> None:
        self.marks: dict[int, int] = {}  # readings partition -> latest window start that it sent
        self.horizon_ms = NEVER_MS  # windows that start here or before are closed; it never falls
        self._registers = quotients
        self._accepted: list[Part] = []
        self._windows: dict[WindowKey, dict[int, Part]] = {}

    def __len__(self) -> int:
        return len(self._accepted)

    def apply(self, parts: Parts) -> tuple[npt.NDArray[np.uint8], Rows, int]:
        """Outcome of each row; rows of layout.MERGED: changed windows, then so many quotients."""
        outcomes = np.zeros(len(parts.rows), np.uint8)
        changed: dict[WindowKey, None] = {}
        for index, part in enumerate(_listed(parts)):
            outcomes[index] = self._take(part)
            if outcomes[index] == PartOutcome.ACCEPTED:
                changed[part.key] = None
        windows = [_together(self._parts_of(key)) for key in changed]
        quotients = self._quotients(changed)
        self.close(self.horizon_ms)
        return outcomes, np.array([*windows, *quotients], MERGED), len(quotients)

    def fill(self, parts: Parts) -> None:
        """Take these parts in, as they were accepted before."""
        for part in _listed(parts):
            self._put(part)

    def close(self, until_ms: int) -> None:
        """Close the windows that start by then."""
        self.horizon_ms = max(self.horizon_ms, until_ms)
        for key in [key for key in self._windows if key[-1] <= self.horizon_ms]:
            del self._windows[key]

    def newest(self, size: int) -> Parts:
        """Of the last so many parts accepted those that are neither replaced nor closed."""
        return _parts([part for part in self._accepted[len(self) - size :] if self._is_live(part)])

    def rows(self) -> Parts:
        """All such parts."""
        return self.newest(len(self))

    def live(self) -> int:
        """How many `rows` there are."""
        return sum(map(self._is_live, self._accepted))

    def _is_live(self, part: Part) -> bool:
        return self._windows.get(part.key, {}).get(part.partition) is part

    def _parts_of(self, key: WindowKey) -> list[Part]:
        """A window's parts by partition."""
        parts = self._windows.get(key, {})
        return [parts[number] for number in sorted(parts)]

    def _put(self, part: Part) -> None:
        self._accepted.append(part)
        self._windows.setdefault(part.key, {})[part.partition] = part

    def _take(self, part: Part) -> PartOutcome:
        self._mark(part.partition, part.start_ms)
        if part.start_ms <= self.horizon_ms:
            return PartOutcome.LATE
        there = self._parts_of(part.key)
        others = [other for other in there if other.partition != part.partition]
        for known in there:
            if known.partition == part.partition and part.revision <= known.revision:
                same = part.revision == known.revision
                return PartOutcome.DUPLICATE if same else PartOutcome.SUPERSEDED
        if fault := _misfit(part, others):
            return fault
        self._put(part)
        return PartOutcome.ACCEPTED

    def _mark(self, partition: int, start_ms: int) -> None:
        """A readings partition has come so far; whoever is new holds the horizon where it is."""
        self.marks[partition] = max(self.marks.get(partition, start_ms), start_ms)
        latest = self.marks.values()
        slowest_ms = max(min(latest), _before(max(latest), MAX_LAG_MS))
        self.horizon_ms = max(self.horizon_ms, _before(slowest_ms, RETENTION_MS))

    def _quotients(self, changed: Iterable[WindowKey]) -> list[tuple[int, ...]]:
        """PUE of the changed windows, where both registers are known."""
        facility_code, it_code, pue, ppm = self._registers
        places = dict.fromkeys(
            (level, place, start_ms)
            for level, place, register, start_ms in changed
            if register in (facility_code, it_code)
        )
        rows = []
        for level, place, start_ms in places:
            facility = self._parts_of((level, place, facility_code, start_ms))
            it = self._parts_of((level, place, it_code, start_ms))
            if facility and it:
                rows.append(_quotient(_together(facility), _together(it), pue, ppm))
        return rows


def kept(parts: Parts, which: range) -> Parts:
    """These parts alone, in a row of their own."""
    ends = parts.ends[which.start : which.stop + 1]
    return Parts(
        parts.rows[which.start : which.stop].copy(),
        ends - ends[0],
        parts.sketches[ends[0] : ends[-1]],
    )


def _before(at_ms: int, span_ms: int) -> int:
    return max(at_ms - span_ms, INT64_MIN)


def _misfit(part: Part, others: Sequence[Part]) -> PartOutcome | None:
    """Why a part cannot be added to those of the other partitions."""
    if any(other.unit != part.unit for other in others):
        return PartOutcome.OTHER_UNIT
    try:
        if sketch.counted([part.sketch])[0] != part.count:
            return PartOutcome.BAD_SKETCH
    except ValueError:
        return PartOutcome.BAD_SKETCH
    if part.revision < 1:
        return PartOutcome.UNCOUNTED
    for name, fault in _SUMS.items():
        total = sum(getattr(other, name) for other in (*others, part))
        if not INT64_MIN <= total <= _MOST.get(name, INT64_MAX):
            return fault
    return None


def _together(parts: Sequence[Part]) -> tuple[int, ...]:
    """The parts of a window as one row of layout.MERGED; what they share is the first one's."""
    first = parts[0]
    sampled = [part for part in parts if part.count]
    return (
        first.start_ms,
        first.end_ms,
        sum(part.revision for part in parts),
        sum(part.count for part in parts),
        sum(part.sum for part in parts),
        min((part.min for part in sampled), default=0),
        max((part.max for part in sampled), default=0),
        sum(part.energy_mj for part in parts),
        first.level,
        first.id,
        first.hub_id,
        first.register,
        first.unit,
        sketch.counted([part.sketch for part in parts])[1],
    )


def _quotient(
    facility: tuple[int, ...], it: tuple[int, ...], pue: int, ppm: int
) -> tuple[int, ...]:
    """The row of register pue; count 0 and no quotient where either energy is 0."""
    start_ms, end_ms, revision, _, _, _, _, facility_mj, level, place, hub_id, *_ = facility
    it_mj = it[7]
    quotient = half_even(facility_mj * PPM, it_mj) if facility_mj and it_mj else 0
    known = 0 < quotient <= INT64_MAX
    shown = quotient if known else 0
    same = (shown, shown, shown)
    ids = (level, place, hub_id)
    return (start_ms, end_ms, revision + it[2], int(known), *same, 0, *ids, pue, ppm, 0)


def _listed(parts: Parts) -> list[Part]:
    return [
        Part(*row, parts.sketch(index))  # type: ignore[call-arg]
        for index, row in enumerate(parts.rows.tolist())
    ]


def _parts(listed: Sequence[Part]) -> Parts:
    rows = np.array([part[:-1] for part in listed], PART)
    ends = np.cumsum([0, *(len(part.sketch) for part in listed)], dtype=np.int32)
    return Parts(rows, ends, np.frombuffer(b"".join(part.sketch for part in listed), np.uint8))
