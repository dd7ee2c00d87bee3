"""The JSON form of a row: the columns' names, integers as integers, bytes in base64."""

import base64

import orjson
import pyarrow as pa


def to_rows(batch: pa.RecordBatch) -> list[dict[str, object]]:
    """Rows as dicts in column order; null fields are left out."""
    return [
        {name: field for name, field in row.items() if field is not None}
        for row in batch.to_pylist()
    ]


def to_json(row: dict[str, object]) -> bytes:
    """One row as a JSON object."""
    return orjson.dumps(row, default=_binary)


def _binary(field: object) -> str:
    if isinstance(field, bytes):
        return base64.b64encode(field).decode()
    raise TypeError(f"no JSON form of {type(field).__name__}")
