"""Arrow streams of a batch's rows by part, in one pass: split, encoded and compressed at once.

    Writer(schema).write(batch, by, chosen, parts) -> [(part, stream), ...]

What pyarrow needs a sort, a take, a writer a part and a compressor a column for. Any reader of
Arrow's IPC format reads a stream; equal rows give equal bytes. See README.md.
"""

import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernels.ipc import reference

# bytes a value; 0: the code of a text
_WIDTHS = {
    pa.int64(): 8,
    pa.float64(): 8,
    pa.int32(): 4,
    pa.dictionary(pa.int32(), pa.string()): 0,
}
_ALL = np.zeros(0, np.int32)

Stream = tuple[int, bytes]


class _Streams(Protocol):
    """What both twins do: reference.Streams is the specification."""

    def write(
        self, batch: pa.RecordBatch, by: int, chosen: npt.NDArray[np.int32], parts: int, /
    ) -> list[Stream] | None: ...


class Writer:
    """Writes batches of one schema. ValueError for a schema with columns of another type."""

    def __init__(self, schema: pa.Schema) -> None:
        if not writable(schema):
            raise ValueError(f"a column is not one of {', '.join(map(str, _WIDTHS))}")
        self._schema = schema
        widths = [_WIDTHS[field.type] for field in schema]
        self._streams: _Streams = _twin()(schema.serialize().to_pybytes(), widths)

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


def writable(schema: pa.Schema) -> bool:
    """Whether a Writer takes this schema: columns of int64, float64, int32 and texts by code."""
    return all(field.type in _WIDTHS for field in schema)


def _twin() -> Any:
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return reference.Streams
    from kernels.ipc._core import Streams

    return Streams


__all__ = ["Stream", "Writer", "writable"]
