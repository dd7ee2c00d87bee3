"""A contract's grant as columns and rows: compiled to Arrow filters, applied to whole batches."""

from collections.abc import Iterator
from typing import Any, ClassVar, Self

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from schemas.codec import ARROW, JSON
from schemas.delivery import out_topic
from schemas.jsonform import to_json, to_rows
from schemas.registry import Condition, Contract
from streams.agent import Batch, Delivery
from streams.fit import fitting, own_symbols

_COMPARE = {
    "eq": pc.equal,
    "ne": pc.not_equal,
    "lt": pc.less,
    "le": pc.less_equal,
    "gt": pc.greater,
    "ge": pc.greater_equal,
}
_NEVER_MS = 2**63 - 1


class Delivered(msgspec.Struct):
    """State of the deliver agent: rows delivered by contract (circulation is metered too)."""

    VERSION: ClassVar[int] = 1

    rows: dict[str, int] = {}

    def dump(self) -> bytes:
        return msgspec.msgpack.encode(self.rows)

    @classmethod
    def load(cls, dumped: bytes) -> Self:
        return cls(msgspec.msgpack.decode(dumped, type=dict[str, int]))


def deliveries(batch: Batch) -> Iterator[tuple[str, list[Delivery], int]]:
    """(contract id, its messages, rows delivered) for each contract that this batch touches."""
    for contract_id in batch.registry.ids(Contract):
        dated = batch.registry.history(Contract, contract_id)
        for index, contract in enumerate(dated):
            if contract.topic != batch.topic.name:
                continue
            until = dated[index + 1].valid_from_ms if index + 1 < len(dated) else _NEVER_MS
            granted = grant(contract, batch, until)
            if granted.num_rows:
                yield contract_id, _messages(contract, batch, granted), granted.num_rows


def grant(contract: Contract, batch: Batch, until_ms: int) -> pa.RecordBatch:
    """The rows that the contract admits while it holds: all columns, for keys; see columns()."""
    time = batch.rows[batch.topic.time_column]
    until = min(until_ms, contract.valid_to_ms if contract.valid_to_ms is not None else _NEVER_MS)
    mask = pc.and_(pc.greater_equal(time, contract.valid_from_ms), pc.less(time, until))
    for condition in contract.where:
        mask = pc.and_(mask, _holds(condition, batch.rows[condition.column]))
    return batch.rows.filter(mask)  # a null is not a yes


def _holds(condition: Condition, column: pa.Array) -> pa.Array:
    if isinstance(column, pa.DictionaryArray):
        column = column.cast(pa.string())
    if condition.op == "in":
        return pc.is_in(column, pa.array(condition.value, column.type))
    return _COMPARE[condition.op](column, pa.scalar(condition.value, column.type))


def _messages(contract: Contract, batch: Batch, granted: pa.RecordBatch) -> list[Delivery]:
    topic, columns = out_topic(contract.id), granted.select(list(contract.columns))
    event_type = batch.topic.event_type
    if contract.format == "arrow":
        plain = own_symbols(columns.replace_schema_metadata(None))
        return [
            Delivery(topic, None, value, ARROW, event_type) for value in fitting(plain, _stream)
        ]
    keys = to_rows(granted.select([k for k in batch.topic.key if k in contract.columns]))
    return [
        Delivery(topic, _key(key), to_json(row), JSON, event_type)
        for key, row in zip(keys, to_rows(columns), strict=True)
    ]


def _stream(rows: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows)
    return bytes(sink.getvalue())


def _key(key: dict[str, Any]) -> bytes:
    return "|".join(str(part) for part in key.values()).encode()
