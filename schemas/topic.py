"""What a topic is: its columns with units, its key, how it is partitioned, its event type."""

from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
from crc32c import crc32c

INT64 = pa.int64()
INT32 = pa.int32()
FLOAT64 = pa.float64()
BOOL = pa.bool_()
TEXT = pa.string()
SYMBOL = pa.dictionary(pa.int32(), pa.string())  # text with few distinct values in a batch
BINARY = pa.binary()

DOMAINS_MAX = 8  # partitions of the topics that hold one scheduling domain a partition


@dataclass(frozen=True, slots=True)
class Column:
    """One column: name (units in it), Arrow type, what it says, its unit; may it be null."""

    name: str
    type: pa.DataType
    doc: str
    unit: str = ""
    required: bool = True


@dataclass(frozen=True)
class Topic:
    """One topic of the pipeline. `form` is how a message's value is written: arrow or json.

    key: the columns that name a row's identity; the highest `revision` of a key wins.
    partition_by: the column whose crc32c chooses the partition, "domain" topics hold one domain a
    partition, "" means the writer chooses.
    """

    name: str
    doc: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partitions: int
    version: int = 1
    partition_by: str = ""
    form: str = "arrow"
    compacted: bool = False
    written_by: tuple[str, ...] = ()
    read_by: tuple[str, ...] = ()

    @property
    def event_type(self) -> str:
        """CloudEvents type: io.gridloom.<family>.v<version>."""
        return f"io.gridloom.{self.name}.v{self.version}"

    @property
    def time_column(self) -> str:
        """The column that says when a row holds: the tick of a decision, else the start."""
        return "tick_ms" if "tick_ms" in self.by_name else "start_ms"

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema of one batch; its metadata names the topic and its version."""
        return pa.schema(
            [pa.field(c.name, c.type, nullable=not c.required) for c in self.columns],
            metadata={"gridloom.topic": self.name, "gridloom.version": str(self.version)},
        )

    @cached_property
    def by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    def batch(self, columns: dict[str, object]) -> pa.RecordBatch:
        """Columns by name (lists, numpy or Arrow arrays; a missing nullable one is null)."""
        size = len(next(iter(columns.values())))  # type: ignore[arg-type]
        arrays = [self._array(column, columns.get(column.name), size) for column in self.columns]
        unknown = columns.keys() - self.by_name.keys()
        if unknown:
            raise KeyError(f"{self.name} has no column {sorted(unknown)}")
        for column, array in zip(self.columns, arrays, strict=True):
            if column.required and array.null_count:
                raise ValueError(f"{self.name}: column {column.name} is required but has nulls")
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def rows(self, rows: list[dict[str, object]]) -> pa.RecordBatch:
        """Rows as dicts; keys that are not columns are an error."""
        names = {name for row in rows for name in row}
        columns: dict[str, object] = {name: [row.get(name) for row in rows] for name in names}
        return self.batch(columns) if rows else self.empty

    @cached_property
    def empty(self) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays(
            [pa.array([], column.type) for column in self.columns], schema=self.schema
        )

    @staticmethod
    def _array(column: Column, data: object, size: int) -> pa.Array:
        if data is None:
            if column.required:
                raise KeyError(f"column {column.name} is required")
            return pa.nulls(size, column.type)
        if isinstance(data, pa.ChunkedArray):
            data = data.combine_chunks()
        if isinstance(data, pa.Array):
            return data if data.type == column.type else _cast(data, column.type)
        if column.type == SYMBOL:
            return pa.array(data, pa.string()).dictionary_encode()
        return pa.array(data, column.type)


def _cast(array: pa.Array, to: pa.DataType) -> pa.Array:
    if to == SYMBOL and array.type == TEXT:
        return array.dictionary_encode()
    return array.cast(to)


def partition_of(text: str, partitions: int) -> int:
    """crc32c(text) mod partitions: the same partition in every language that has crc32c."""
    return int(crc32c(text.encode())) % partitions
