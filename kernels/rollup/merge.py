"""Merge: rollups.partial -> finished site and hub windows, and their PUE.

A partial says all that one readings partition knows of a window, so the highest revision of a
(window, partition) is all that counts, and a window is the sum of its parts: counts, sums,
energies, sketches and revisions add, extremes compare. PUE = facility / IT energy of one window.
"""

import os
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import pyarrow as pa

from kernels.columns import numbers
from kernels.refusal import Refusal
from kernels.rollup import sketch
from kernels.rollup.layout import LATENESS_MS, NEVER_MS, WINDOW_MS
from schemas.codec import decode, encode
from schemas.errors import DecodeError
from schemas.telemetry import FACILITY_ENERGY, IT_ENERGY
from schemas.units import INT64_MAX, MS_PER_HOUR, half_even
from schemas.usage import ROLLUPS, ROLLUPS_PARTIAL

# A partition's window stops changing LATENESS_MS after the watermark, which may be a window and
# the time that meters may be ahead behind the latest window that the partition has sent.
RETENTION_MS = LATENESS_MS + WINDOW_MS + MS_PER_HOUR

# A partition that has fallen back further than this no longer keeps the others' windows open.
MAX_LAG_MS = 7 * 24 * MS_PER_HOUR

PUE = "pue"
_PPM = 1_000_000
_MARK = struct.Struct("<iq")

WindowKey = tuple[str, str, str, int]  # level, id, register, start
Changed = dict[WindowKey, int]  # windows of a batch, and the p95 bucket of the last part of each
Count = Callable[[Sequence[bytes]], tuple[int, int]]  # sketch.counted and its twin


class Part(NamedTuple):
    """One partition's window, by the columns of ROLLUPS_PARTIAL."""

    level: str
    id: str
    hub_id: str
    register: str
    unit: str
    start_ms: int
    end_ms: int
    revision: int
    count: int  # type: ignore[assignment]  # a tuple's own methods are not asked for
    sum: int
    min: int
    max: int
    energy_mj: int
    partition: int
    sketch: bytes

    @property
    def key(self) -> WindowKey:
        return self.level, self.id, self.register, self.start_ms


COLUMNS = Part._fields


@dataclass(slots=True)
class Merged:
    """What a batch brought: finished windows, refused partials, counts of the others."""

    rollups: pa.RecordBatch = field(default_factory=lambda: ROLLUPS.empty)
    refused: list[Refusal] = field(default_factory=list)
    accepted: int = 0
    duplicate: int = 0
    superseded: int = 0


class Merge:
    """The open site and hub windows of one partition of rollups.partial."""

    VERSION: ClassVar[int] = 1

    def __init__(self) -> None:
        self._windows: dict[WindowKey, dict[int, Part]] = {}
        self._first_ms = INT64_MAX  # end of the window that closes next, or earlier
        self._counted = _counted()
        self._latest_ms: dict[int, int] = {}  # readings partition -> latest window end that it sent
        self._horizon_ms = NEVER_MS  # windows that end here or before can no longer change

    def apply(self, partials: pa.RecordBatch) -> Merged:
        """Apply one batch of ROLLUPS_PARTIAL, in any order, with any duplicates.

        A revision that is known is a duplicate, a lower one superseded. Refused with reason:
        late_revision, bad_input (unit, sketch), overflow.
        """
        merged = Merged()
        changed: Changed = {}
        columns = [_values(partials.column(name)) for name in COLUMNS]
        for index, row in enumerate(zip(*columns, strict=True)):
            self._take(index, Part(*row), merged, changed)
        if changed:
            merged.rollups = _rollups(
                [list(self._windows[key].values()) for key in changed],
                list(changed.values()),
                self._quotients(changed),
                self._counted,
            )
        taken = merged.accepted + merged.duplicate + merged.superseded + len(merged.refused)
        assert partials.num_rows == taken, "a row vanished"
        self._close()
        return merged

    def dump(self) -> bytes:
        """The state as bytes: how far each partition is, then its open parts."""
        parts = [part for window in self._windows.values() for part in window.values()]
        head = struct.pack("<BI", self.VERSION, len(self._latest_ms))
        marks = b"".join(_MARK.pack(*mark) for mark in sorted(self._latest_ms.items()))
        columns: dict[str, object] = {
            name: [part[place] for part in parts] for place, name in enumerate(COLUMNS)
        }
        batch = ROLLUPS_PARTIAL.batch(columns)
        return head + marks + encode(ROLLUPS_PARTIAL, batch)

    @classmethod
    def load(cls, dumped: bytes) -> Self:
        """The state that was dumped; DecodeError for another version."""
        if not dumped or dumped[0] != cls.VERSION:
            found = dumped[0] if dumped else "none"
            raise DecodeError(
                f"state of version {found}, this code reads {cls.VERSION}",
                "replay rollups.partial from its start, or run the version that wrote it",
            )
        merge = cls()
        (marks,) = struct.unpack_from("<I", dumped, 1)
        at = 5 + marks * _MARK.size
        merge._latest_ms = dict(_MARK.iter_unpack(dumped[5:at]))
        merge._horizon_ms = _horizon_ms(merge._latest_ms.values())
        batch = decode(ROLLUPS_PARTIAL, dumped[at:], {})
        columns = [batch.column(name).to_pylist() for name in COLUMNS]
        for row in zip(*columns, strict=True):
            part = Part(*row)
            merge._windows.setdefault(part.key, {})[part.partition] = part
            merge._first_ms = min(merge._first_ms, part.end_ms)
        return merge

    def _take(self, index: int, part: Part, merged: Merged, changed: Changed) -> None:
        latest_ms = self._latest_ms.get(part.partition)
        if latest_ms is None or part.end_ms > latest_ms:
            self._latest_ms[part.partition] = part.end_ms
            self._horizon_ms = _horizon_ms(self._latest_ms.values())
        if part.end_ms <= self._horizon_ms:
            text = "its window is closed; replay the readings of that time"
            merged.refused.append(_refusal(index, part, "late_revision", "end_ms", text))
            return
        key = part.key
        parts = self._windows.get(key, {})
        known = parts.get(part.partition)
        if known is not None and part.revision <= known.revision:
            if part.revision == known.revision:
                merged.duplicate += 1
            else:
                merged.superseded += 1
            return
        fault = ""
        try:
            counted, bucket = self._counted([part.sketch])
            if counted != part.count:
                fault = f"the sketch holds {counted} samples of {part.count}"
        except ValueError as error:
            fault = str(error)
        others = [other for other in parts.values() if other is not known]
        if (others or fault) and (refused := _misfit(part, others, fault)):
            merged.refused.append(_refusal(index, part, *refused))
            return
        parts[part.partition] = part
        self._windows[key] = parts
        self._first_ms = min(self._first_ms, part.end_ms)
        changed[key] = bucket
        merged.accepted += 1

    def _close(self) -> None:
        if not self._latest_ms or self._first_ms > (horizon_ms := self._horizon_ms):
            return
        ends = {key: next(iter(parts.values())).end_ms for key, parts in self._windows.items()}
        for key, end_ms in ends.items():
            if end_ms <= horizon_ms:
                del self._windows[key]
        self._first_ms = min((ms for ms in ends.values() if ms > horizon_ms), default=INT64_MAX)

    def _quotients(self, changed: Changed) -> list[dict[str, object]]:
        """PUE of the changed windows, where both registers are known."""
        places = dict.fromkeys(
            (level, place, start_ms)
            for level, place, register, start_ms in changed
            if register in (IT_ENERGY, FACILITY_ENERGY)
        )
        rows = []
        for level, place, start_ms in places:
            facility = self._windows.get((level, place, FACILITY_ENERGY, start_ms))
            it = self._windows.get((level, place, IT_ENERGY, start_ms))
            if facility and it:
                rows.append(_quotient(list(facility.values()), list(it.values())))
        return rows


def _counted() -> Count:
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return sketch.counted
    from kernels.rollup._sketches import counted as compiled

    chosen: Count = compiled
    return chosen


def _values(column: pa.Array) -> list[Any]:
    """The column as Python values; a text that many rows have is made once."""
    if isinstance(column, pa.DictionaryArray):
        texts = column.dictionary.to_pylist()
        return [texts[place] for place in numbers(column.indices).tolist()]
    values: list[Any] = (
        column.to_pylist() if column.type == pa.binary() else numbers(column).tolist()
    )
    return values


def _horizon_ms(latest_ms: Iterable[int]) -> int:
    """Windows that end here or before can no longer change, where partitions are so far."""
    latest = list(latest_ms)
    return max(min(latest), max(latest) - MAX_LAG_MS) - RETENTION_MS if latest else NEVER_MS


def _misfit(part: Part, others: list[Part], fault: str) -> tuple[str, str, str] | None:
    """Why a part with this fault of its sketch cannot be added: (reason, field, what to do)."""
    if any(other.unit != part.unit for other in others):
        return "bad_input", "unit", "another partition has another unit; give each its register"
    if fault:
        return "bad_input", "sketch", fault
    for name in ("sum", "energy_mj"):
        if sum(getattr(other, name) for other in others) + getattr(part, name) > INT64_MAX:
            return "overflow", name, "the partitions' sum does not fit 64 bits"
    return None


def _rollups(
    windows: list[list[Part]],
    buckets: list[int],
    quotients: list[dict[str, object]],
    counted: Count,
) -> pa.RecordBatch:
    """Rows of ROLLUPS: each window the sum of its parts, then the quotients.

    buckets: the p95 of each window that is of one partition.
    """
    whole = [
        parts[0] if len(parts) == 1 and parts[0].count else _together(parts) for parts in windows
    ]
    columns = dict(zip(COLUMNS, map(list, zip(*whole, strict=True)), strict=True))
    del columns["partition"], columns["sketch"]
    columns["mean"] = [part.sum / part.count if part.count else 0.0 for part in whole]
    buckets = [
        bucket if len(parts) == 1 else counted([part.sketch for part in parts])[1]
        for parts, bucket in zip(windows, buckets, strict=True)
    ]
    extremes = (np.array(columns[name], np.int64) for name in ("min", "max"))
    columns["p95"] = sketch.p95(np.array(buckets, np.int32), *extremes).tolist()
    columns["pue_ppm"] = [None] * len(windows)
    for row in quotients:
        for name, column in columns.items():
            column.append(row[name])
    return ROLLUPS.batch(dict(columns))


def _together(parts: list[Part]) -> Part:
    """The parts of several partitions as one, but for its sketch."""
    sampled = [part for part in parts if part.count]
    return parts[0]._replace(
        revision=sum(part.revision for part in parts),
        count=sum(part.count for part in parts),
        sum=sum(part.sum for part in parts),
        min=min((part.min for part in sampled), default=0),
        max=max((part.max for part in sampled), default=0),
        energy_mj=sum(part.energy_mj for part in parts),
    )


def _quotient(facility: list[Part], it: list[Part]) -> dict[str, object]:
    """The row of register pue; count 0 and no quotient where either energy is 0."""
    first = facility[0]
    facility_mj = sum(part.energy_mj for part in facility)
    it_mj = sum(part.energy_mj for part in it)
    ppm = half_even(facility_mj * _PPM, it_mj) if facility_mj and it_mj else 0
    known = 0 < ppm <= INT64_MAX
    shown = ppm if known else 0
    return {
        "level": first.level,
        "id": first.id,
        "hub_id": first.hub_id,
        "register": PUE,
        "unit": "ppm",
        "start_ms": first.start_ms,
        "end_ms": first.end_ms,
        "revision": sum(part.revision for part in (*facility, *it)),
        "count": int(known),
        "sum": shown,
        "min": shown,
        "max": shown,
        "energy_mj": 0,
        "mean": float(shown),
        "p95": float(shown),
        "pue_ppm": shown if known else None,
    }


def _refusal(index: int, part: Part, reason: str, field: str, text: str) -> Refusal:
    return Refusal(
        index,
        reason,
        field,
        f"{part.level} {part.id} register {part.register} window {part.start_ms} "
        f"partition {part.partition} revision {part.revision}: {text}",
    )
