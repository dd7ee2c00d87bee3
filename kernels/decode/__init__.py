"""Decode: JSON events to Arrow columns in one pass, driven by a schema; no Python object an event.

    decoder = Decoder(fields_of(TELEMETRY_IN, {"kind": KINDS}, decimals=("quantity",)))
    decoded = decoder.decode(buffer)                  one message of lines (NDJSON)
    decoded = decoder.decode(buffer, starts, sizes)   many messages inside one buffer
    decoded.array("meter_id")       Arrow column of the good rows; text is dictionary-coded
    decoded.places["message"]       where each good row was: bytes [start, end), message, line
    decoded.refused                 the other rows: their place and why

A message is one or more lines; each line that is not blank is a row, an object of the wanted keys
in any order; other keys are checked and skipped; of a key that comes twice the last holds; null is
absent. The whole row is validated as orjson does (grammar, UTF-8, escapes, surrogates). A row is

    good      in the columns, in the order of the rows
    bad       not_json where orjson would not read it or it is no object; else the first field at
              fault, in the order of the fields given: missing_field, wrong_type, unknown_value,
              negative, overflow
    declined  rare, and legal here or not: only orjson's path can say (Refused.verdict DECLINED):
              numbers of more than 18 digits in INTEGER or DECIMAL fields, other texts than decimals
              in a DECIMAL, floats beyond all bounds, values nested deeper than 64, and lines that
              are no JSON but may hold NaN or Infinity

A message with a bad or declined line may still be one JSON document over several lines: where its
content type allows that, give the whole message to orjson's path. A blank message is one bad row.

A decoder keeps its texts from batch to batch (`len(decoder)`; drop it when there are too many) and
the order of keys that it saw last; neither changes a result. `GRIDLOOM_PURE=1` runs the plain twin.
See README.md for the method and its figures.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernels.decode import reference
from kernels.decode.layout import (
    DTYPES,
    INT64_MAX,
    MS_MAX,
    PLACE,
    REASONS,
    Column,
    Field,
    Kind,
    Numbers,
    Place,
    Refused,
    Verdict,
    fields_of,
)
from kernels.decode.quantity import to_base_units
from schemas.topic import FLOAT64, INT64, SYMBOL

__all__ = [
    "INT64_MAX",
    "MS_MAX",
    "PLACE",
    "REASONS",
    "Column",
    "Decoded",
    "Decoder",
    "Field",
    "Kind",
    "NewRows",
    "Place",
    "Refused",
    "Verdict",
    "fields_of",
    "to_base_units",
]

Buffer = Any  # bytes, bytearray, memoryview, numpy bytes, Arrow buffer: whatever has a buffer


class _Rows(Protocol):
    """What both twins do: reference.Rows is the specification."""

    def __len__(self) -> int: ...
    def decode(
        self, buffer: Buffer, starts: Numbers, sizes: Numbers
    ) -> tuple[Mapping[str, Column], Numbers, Numbers]: ...


NewRows = Callable[[Sequence[Field]], _Rows]


def _rows() -> NewRows:
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return reference.Rows
    from kernels.decode._core import Rows

    compiled: NewRows = Rows
    return compiled


class Decoder:
    """Decodes buffers by one list of fields (at most 64); one thread at a time."""

    def __init__(self, fields: Sequence[Field], rows: NewRows | None = None) -> None:
        assert len(fields) <= 64, "a row's fields are bits of a word"
        self.fields = tuple(fields)
        self._rows = (rows or _rows())(self.fields)

    def __len__(self) -> int:
        """Distinct texts held."""
        return len(self._rows)

    def decode(
        self,
        buffer: Buffer,
        starts: npt.ArrayLike | None = None,
        sizes: npt.ArrayLike | None = None,
    ) -> "Decoded":
        """The rows of messages at bytes [start, start + size) of the buffer; without them, of one.

        Raises ValueError where a message is not inside the buffer.
        """
        length = memoryview(buffer).nbytes
        first = np.zeros(1, np.int64) if starts is None else np.asarray(starts, np.int64)
        size = np.full(1, length, np.int64) if sizes is None else np.asarray(sizes, np.int64)
        if len(first) != len(size):
            raise ValueError(f"{len(first)} starts and {len(size)} sizes")
        if len(first) and (first.min() < 0 or size.min() < 0 or (first > length - size).any()):
            raise ValueError(f"a message lies outside the buffer of {length} bytes")
        columns, places, refused = self._rows.decode(buffer, first, size)
        return Decoded(self.fields, columns, places, refused)


@dataclass(frozen=True)
class Decoded:
    """What a buffer came to: columns of the good rows, their places, and the refused rows."""

    fields: tuple[Field, ...]
    parts: Mapping[str, Column]
    places: Numbers  # PLACE
    refused_rows: Numbers  # layout.REFUSED

    def __len__(self) -> int:
        """Good rows."""
        return len(self.places)

    @cached_property
    def refused(self) -> list[Refused]:
        """The rows that are not in the columns, in their order."""
        names = [*(field.name for field in self.fields), ""]  # field -1: the whole row
        return [
            Refused(Place(*place), Verdict(verdict), REASONS[reason], names[field])
            for place, verdict, reason, field, _ in self.refused_rows.tolist()
        ]

    @cached_property
    def columns(self) -> dict[str, tuple[Numbers, Numbers | None, Numbers | None]]:
        """Name -> numbers (0 where absent), validity (None where required), decimals' exponents."""
        return {field.name: self._column(field) for field in self.fields}

    def _column(self, field: Field) -> tuple[Numbers, Numbers | None, Numbers | None]:
        numbers, valid, exponents, _ = self.parts[field.name]
        if numbers is None:
            absent = np.zeros(len(self), DTYPES[field.kind])
            of_decimal = np.zeros(len(self), np.int8) if field.kind == Kind.DECIMAL else None
            return absent, np.zeros(len(self), np.uint8), of_decimal
        if valid is None and not field.required:
            valid = np.ones(len(self), np.uint8)
        return numbers, valid, exponents

    def array(self, name: str) -> pa.Array:
        """A column as Arrow has it: dictionary of strings, int64 or float64; absent is null.

        The dictionary holds the texts in use in order of first use: equal rows, equal bytes. A
        decimal is not a column by itself: to_base_units needs its unit.
        """
        numbers, valid, exponents, dictionary = self.parts[name]
        if exponents is not None:
            raise KeyError(f"{name} is a decimal: to_base_units needs its unit beside it")
        if numbers is None:
            return pa.nulls(len(self), self._types[name])
        bits = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
        buffers = [bits, pa.py_buffer(numbers)]
        if dictionary is None:
            return pa.Array.from_buffers(self._types[name], len(numbers), buffers)
        offsets, texts = dictionary
        return pa.DictionaryArray.from_arrays(
            pa.Array.from_buffers(_INT32, len(numbers), buffers),
            pa.StringArray.from_buffers(
                len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(texts)
            ),
            safe=False,
        )

    @cached_property
    def _types(self) -> dict[str, pa.DataType]:
        return {field.name: _TYPES[field.kind] for field in self.fields}


_INT32 = pa.int32()
_TYPES = {Kind.TEXT: SYMBOL, Kind.INTEGER: INT64, Kind.NUMBER: FLOAT64, Kind.DECIMAL: INT64}
