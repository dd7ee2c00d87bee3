"""Arrow streams: of a batch's rows by part, and the rows of several streams as one batch.

    Writer(schema).write(batch, by, chosen, parts) -> [(part, stream), ...]
    Writer(schema).write_lines(parts, texts)       -> stream, of rows that are no columns yet
    Reader(schema).read(values) -> batch, or None

What pyarrow needs a sort, a take, a writer a part and a compressor a column for, and on the way
back a reader a value, a check of each and a concatenation. Any reader of Arrow's IPC format reads a
stream; equal rows give equal bytes. See README.md.
"""

import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernels.ipc import reference, reference_reader, templates
from kernels.symbols import Symbols

# bytes a value; 0: the code of a text
_WIDTHS = {
    pa.int64(): 8,
    pa.float64(): 8,
    pa.int32(): 4,
    pa.dictionary(pa.int32(), pa.string()): 0,
}
# ... of a column that a Reader knows
_KINDS = {
    **_WIDTHS,
    pa.dictionary(pa.int32(), pa.string()): templates.SYMBOL,
    pa.binary(): templates.BYTES,
    pa.string(): templates.TEXT,
}
_DTYPES = {pa.int64(): "<i8", pa.float64(): "<f8", pa.int32(): "<i4"}
_ALL = np.zeros(0, np.int32)

Stream = tuple[int, bytes]
Lines = npt.NDArray[Any]


class _Streams(Protocol):
    """What both twins do: reference.Streams is the specification."""

    def write(
        self, batch: pa.RecordBatch, by: int, chosen: npt.NDArray[np.int32], parts: int, /
    ) -> list[Stream] | None: ...
    def lines(self, parts: list[Lines], texts: Any, /) -> bytes: ...


class _Rows(Protocol):
    """What both twins do: reference_reader.Rows is the specification."""

    def read(self, values: Sequence[object], /) -> pa.RecordBatch | None: ...


class Writer:
    """Writes batches of one schema. ValueError for a schema with columns of another type."""

    def __init__(self, schema: pa.Schema) -> None:
        if not writable(schema):
            raise ValueError(f"a column is not one of {', '.join(map(str, _WIDTHS))}")
        self._schema = schema
        self._lines = lines_of(schema)
        widths = [_WIDTHS[field.type] for field in schema]
        self._streams: _Streams = _twin("Streams")(schema.serialize().to_pybytes(), widths)

    def write(
        self,
        batch: pa.RecordBatch,
        by: str | None = None,
        chosen: Sequence[int] = (),
        parts: int = 1,
    ) -> list[Stream] | None:
        """The stream of each part that has rows; None where a text is null.

        by: the column of texts that says a row's part, chosen: the part of each text of its
        dictionary, 0 <= part < parts; without it all rows are of part 0. Within a part the rows
        keep their order. A stream names the texts that its own rows have and no other.
        """
        if not batch.schema.equals(self._schema):
            raise ValueError("the batch has other columns than the writer's schema")
        column = -1 if by is None else self._schema.get_field_index(by)
        codes = np.array(chosen, np.int32) if by is not None else _ALL
        return self._streams.write(batch, column, codes, parts)

    def write_lines(self, parts: Sequence[Lines], texts: Symbols) -> bytes:
        """One stream of all parts' rows; parts: structured arrays of `lines_of` the schema.

        texts: what the texts' codes stand for. The bytes are those of `write` for a batch of these
        rows. ValueError for rows of another dtype, IndexError for a code beyond the texts.
        """
        if any(part.dtype is not self._lines and part.dtype != self._lines for part in parts):
            raise ValueError("the rows have other columns than the writer's schema")
        return self._streams.lines(list(parts), texts.texts)


class Reader:
    """Reads streams of one schema. ValueError for a schema with columns of another type."""

    def __init__(self, schema: pa.Schema) -> None:
        if not readable(schema):
            raise ValueError(f"a column is not one of {', '.join(map(str, _KINDS))}")
        self._rows: _Rows = _twin("Rows")(schema, [_KINDS[field.type] for field in schema])

    def read(self, values: Sequence[bytes | memoryview | None]) -> pa.RecordBatch | None:
        """The rows of the streams, bytes or views of them, in order as one batch of the schema.

        Each dictionary is the first value's, and behind it what texts the others have besides. As
        checked as `validate(full=True)`. None where there is no value, or where one is not exactly
        as a Writer or pyarrow writes the rows of one batch without nulls, damaged in whatever way:
        pyarrow's own reader then says what is wrong with it, or reads it.
        """
        return self._rows.read(values)


def writable(schema: pa.Schema) -> bool:
    """Whether a Writer takes this schema: columns of int64, float64, int32 and texts by code."""
    return all(field.type in _WIDTHS for field in schema)


def readable(schema: pa.Schema) -> bool:
    """Whether a Reader takes this schema: what a Writer takes, texts and bytes."""
    return all(field.type in _KINDS for field in schema)


def lines_of(schema: pa.Schema) -> np.dtype[Any]:
    """The dtype of rows of a schema that a Writer takes, texts as codes of 32 bits."""
    return np.dtype([(field.name, _DTYPES.get(field.type, "<i4")) for field in schema])


def _twin(name: str) -> Any:
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return {"Streams": reference.Streams, "Rows": reference_reader.Rows}[name]
    from kernels.ipc._core import Streams
    from kernels.ipc._reader import Rows

    return {"Streams": Streams, "Rows": Rows}[name]


__all__ = ["Lines", "Reader", "Stream", "Writer", "lines_of", "readable", "writable"]
