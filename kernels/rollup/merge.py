"""Merge: rollups.partial -> finished site and hub windows, and their PUE.

A partial says all that one readings partition knows of a window, so the highest revision of a
(window, partition) is all that counts, and a window is the sum of its parts: counts, sums,
energies, sketches and revisions add, extremes compare. PUE = facility / IT energy of one window.
"""

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernels.columns import numbers
from kernels.growth import Growth
from kernels.refusal import Refusal
from kernels.rollup import merge_reference, sketch
from kernels.rollup.changed import means
from kernels.rollup.layout import PART, PART_TEXTS, PartOutcome
from kernels.rollup.merge_reference import Parts, Quotients, kept
from kernels.snapshot import Block, Packed, pack_block, refusing_damage, unpack_block
from kernels.symbols import Symbols
from schemas.errors import DecodeError
from schemas.telemetry import FACILITY_ENERGY, IT_ENERGY, PUE
from schemas.usage import ROLLUPS

PPM = "ppm"

# Parts between two clean-outs at least: below this the dead ones are not worth the copy.
_CLEAN_ROWS = 16_384
_HEAD, _MARK = struct.Struct("<BIq"), struct.Struct("<iq")
_NUMBERS = tuple(name for name in PART.names or () if name not in PART_TEXTS)
_INT64 = pa.int64()
_NOTHING = np.empty(0, np.uint8)

Rows = npt.NDArray[Any]


class _Ledger(Protocol):
    """What both twins do: merge_reference.Ledger is the specification."""

    marks: dict[int, int]
    horizon_ms: int

    def __len__(self) -> int: ...
    def apply(self, parts: Parts) -> tuple[npt.NDArray[np.uint8], Rows, int]: ...
    def fill(self, parts: Parts) -> None: ...
    def close(self, until_ms: int) -> None: ...
    def newest(self, size: int) -> Parts: ...
    def live(self) -> int: ...
    def rows(self) -> Parts: ...


NewParts = Callable[[Quotients], _Ledger]


def _ledger() -> NewParts:
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return merge_reference.Ledger
    from kernels.rollup._merge import Ledger

    compiled: NewParts = Ledger
    return compiled


@dataclass(frozen=True, slots=True)
class Merged:
    """What a batch brought: finished windows, refused partials, counts of the others."""

    rollups: pa.RecordBatch
    refused: list[Refusal]
    accepted: int
    duplicate: int
    superseded: int


class _Piece(NamedTuple):
    """Parts of a state as they are saved, and how far each readings partition was by then.

    horizon_ms: windows that start by then are closed, those of the pieces before it too.
    """

    marks: dict[int, int]
    horizon_ms: int
    texts: Block
    parts: Parts


class Merge:
    """The open site and hub windows of one partition of rollups.partial."""

    VERSION: ClassVar[int] = 2
    PART_ROWS: ClassVar[int] = 512  # a part has a sketch of 100 bytes or more

    def __init__(self, ledger: NewParts | None = None) -> None:
        self._new = ledger or _ledger()
        self.growth = Growth()
        self._begin()

    def apply(self, partials: pa.RecordBatch) -> Merged:
        """Apply one batch of ROLLUPS_PARTIAL, in any order, with any duplicates.

        A revision that is known is a duplicate, a lower one superseded. Refused with reason:
        late_revision, bad_input (unit, sketch, revision), overflow.
        """
        parts = self._parts(partials)
        outcomes, windows, quotients = self._ledger.apply(parts)
        accepted, duplicate, superseded, *others = np.bincount(outcomes, minlength=3).tolist()
        refused = [
            self._refusal(int(index), PartOutcome(outcomes[index]), parts)
            for index in (np.nonzero(outcomes >= PartOutcome.LATE)[0] if others else ())
        ]
        if self.growth.has_base:
            self.growth.rows += accepted
        taken = accepted + duplicate + superseded + len(refused)
        assert partials.num_rows == taken, "a row vanished"
        merged = Merged(self._rollups(windows, quotients), refused, accepted, duplicate, superseded)
        if len(self._ledger) > self._clean_at:
            self._clean()
        return merged

    def dump(self) -> bytes:
        """The state as bytes: how far each partition is, then its open parts as they came."""
        return self._packed(self._ledger.rows())

    @classmethod
    @refusing_damage
    def load(cls, dumped: bytes, ledger: NewParts | None = None) -> Self:
        """The state that was dumped; DecodeError for another version."""
        merge = cls(ledger)
        merge._take(_unpacked(cls.VERSION, dumped))
        merge._clean_at = max(_CLEAN_ROWS, 2 * len(merge._ledger))
        return merge

    def __len__(self) -> int:
        """Parts held."""
        return len(self._ledger)

    def base(self, rows: int) -> Iterator[bytes]:
        """The whole state in pieces of so many parts; what comes after it is `added`."""
        parts = self._ledger.rows()
        self.growth.restart(True)
        for first in range(0, max(1, len(parts.rows)), rows):
            piece = kept(parts, range(first, min(first + rows, len(parts.rows))))
            yield self._packed(piece)

    def added(self) -> bytes:
        """What was taken in since the base or the last seal."""
        return self._packed(self._ledger.newest(self.growth.rows))

    @classmethod
    @refusing_damage
    def load_chain(
        cls, base: Sequence[bytes], added: Sequence[bytes], ledger: NewParts | None = None
    ) -> Self:
        """The state of a base and of what was added since; the last piece is not sealed yet."""
        merge = cls(ledger)
        pieces = [_unpacked(cls.VERSION, dumped) for dumped in (*base, *added)]
        for piece in pieces:
            merge._take(piece)
        merge._clean_at = max(_CLEAN_ROWS, 2 * len(merge._ledger))
        merge.growth.restart(True)
        merge.growth.rows = len(pieces[-1].parts.rows)  # the last piece may go on to grow
        return merge

    def _begin(self) -> None:
        self._symbols = Symbols()
        self._ledger = self._new(
            Quotients(*map(self._symbols.code, (FACILITY_ENERGY, IT_ENERGY, PUE, PPM)))
        )
        self._clean_at = _CLEAN_ROWS
        self.growth.restart(False)

    def _take(self, piece: _Piece) -> None:
        self._symbols.recode(piece.parts.rows, PART_TEXTS, piece.texts)
        self._ledger.fill(piece.parts)
        self._ledger.marks = piece.marks
        self._ledger.close(piece.horizon_ms)

    def _clean(self) -> None:
        """Drop the parts that were replaced or closed, once they are half of all."""
        self._clean_at = 2 * len(self._ledger)
        if 2 * self._ledger.live() < len(self._ledger):
            piece = _unpacked(self.VERSION, self.dump())
            self._begin()
            self._take(piece)
            self._clean_at = max(_CLEAN_ROWS, 2 * len(self._ledger))

    def _packed(self, parts: Parts) -> bytes:
        """Horizon and marks, then a snapshot whose last texts are the sketches of its rows."""
        marks = sorted(self._ledger.marks.items())
        head = _HEAD.pack(self.VERSION, len(marks), self._ledger.horizon_ms)
        texts = self._symbols.compact_block(parts.rows, PART_TEXTS)
        block = Block(
            np.concatenate([texts.offsets, texts.offsets[-1] + parts.ends[1:]]),
            np.concatenate([texts.data, parts.sketches]),
        )
        packed = pack_block(self.VERSION, Packed((), block, parts.rows))
        return b"".join([head, *(_MARK.pack(*mark) for mark in marks), packed])

    def _parts(self, partials: pa.RecordBatch) -> Parts:
        rows = np.empty(partials.num_rows, PART)
        for name in _NUMBERS:
            rows[name] = numbers(partials.column(name))
        for name in PART_TEXTS:
            indices, codes = self._symbols.indexed(partials.column(name))
            rows[name] = codes[indices]
        column = partials.column("sketch")
        if column.null_count:
            raise ValueError("a sketch is null")
        if not len(column):
            return Parts(rows, np.zeros(1, np.int32), _NOTHING)
        _, offsets, data = column.buffers()
        ends = np.frombuffer(offsets, np.int32, len(column) + 1, 4 * column.offset)
        return Parts(rows, ends, np.frombuffer(data or b"", np.uint8))

    def _rollups(self, windows: Rows, quotients: int) -> pa.RecordBatch:
        """Rows of ROLLUPS; the last `quotients` of them are PUE, null where count is 0."""
        if not len(windows):
            return ROLLUPS.empty
        columns = {name: pa.array(windows[name]) for name in _NUMBERS if name != "partition"}
        for name in PART_TEXTS:
            columns[name] = self._symbols.array(np.ascontiguousarray(windows[name]))
        columns["mean"] = pa.array(means(windows["sum"], windows["count"]))
        columns["p95"] = pa.array(sketch.p95(windows["p95_bucket"], windows["min"], windows["max"]))
        absent = np.ones(len(windows), np.bool_)
        if quotients:
            absent[-quotients:] = windows["count"][-quotients:] == 0
        columns["pue_ppm"] = pa.array(windows["sum"], mask=absent)
        return pa.RecordBatch.from_arrays(
            [columns[column.name] for column in ROLLUPS.columns], schema=ROLLUPS.schema
        )

    def _refusal(self, index: int, outcome: PartOutcome, parts: Parts) -> Refusal:
        names, row = self._symbols.names, parts.rows[index]
        reason, field, text = _REFUSALS[outcome]
        if outcome == PartOutcome.BAD_SKETCH:
            text = _fault(parts.sketch(index), int(row["count"]))
        return Refusal(
            index,
            reason,
            field,
            f"{names[row['level']]} {names[row['id']]} register {names[row['register']]} window "
            f"{row['start_ms']} partition {row['partition']} revision {row['revision']}: {text}",
        )


def _fault(encoded: bytes, count: int) -> str:
    """What is wrong with a sketch of so many samples."""
    try:
        return f"the sketch holds {sketch.counted([encoded])[0]} samples of {count}"
    except ValueError as error:
        return str(error)


def _unpacked(version: int, dumped: bytes) -> _Piece:
    if not dumped or dumped[0] != version:
        raise DecodeError(
            f"state of version {dumped[0] if dumped else 'none'}, this code reads {version}",
            "replay rollups.partial from its start, or run the version that wrote it",
        )
    _, marks, horizon_ms = _HEAD.unpack_from(dumped)
    at = _HEAD.size + marks * _MARK.size
    _, block, rows = unpack_block(version, 0, PART, dumped[at:])
    ends, data = block
    texts = len(ends) - 1 - len(rows)
    first = ends[texts]
    return _Piece(
        dict(_MARK.iter_unpack(dumped[_HEAD.size : at])),
        horizon_ms,
        Block(ends[: texts + 1], data[:first]),
        Parts(rows, ends[texts:] - first, data[first:]),
    )


_OVERFLOW = "the partitions' sum does not fit 64 bits"
_REFUSALS = {
    PartOutcome.LATE: (
        "late_revision",
        "start_ms",
        "its window is closed; replay the readings of that time",
    ),
    PartOutcome.OTHER_UNIT: (
        "bad_input",
        "unit",
        "another partition has another unit; give each its register",
    ),
    PartOutcome.BAD_SKETCH: ("bad_input", "sketch", ""),
    PartOutcome.UNCOUNTED: ("bad_input", "revision", "it is below 1, the first of a part"),
    PartOutcome.SUM: ("overflow", "sum", _OVERFLOW),
    PartOutcome.ENERGY: ("overflow", "energy_mj", _OVERFLOW),
    PartOutcome.COUNT: ("overflow", "count", _OVERFLOW),
    PartOutcome.REVISION: ("overflow", "revision", _OVERFLOW),
}
