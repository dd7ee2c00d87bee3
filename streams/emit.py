"""From a step's Emit to Kafka records: partitions, deterministic ids, dead letters."""

from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

from schemas import DEAD_LETTER, Topic, partition_of
from schemas.codec import ARROW, JSON, REGISTRY_OFFSET, Headers, event_headers
from schemas.deadletter import cut_original
from schemas.jsonform import to_json, to_rows
from schemas.registry import Domain
from streams.agent import Batch, Delivery, Emit, Refused, Stage
from streams.value import values

_partition_of = lru_cache(65_536)(partition_of)  # the same few accounts come in every batch


@dataclass(frozen=True, slots=True)
class Record:
    """One Kafka record to send; `topic` without the namespace."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: Headers


def records_of(stage: Stage, batch: Batch, emit: Emit) -> list[Record]:
    """Every record of one step, in a fixed order; ids name stage, partition, offsets, place."""
    records: list[Record] = []
    place = f"{stage.name}/{batch.partition}/{batch.place}"
    source = f"/gridloom/{stage.name}/{batch.partition}"
    outputs = [(output.topic, output.rows) for output in emit.outputs]
    if emit.refused:
        outputs.append((DEAD_LETTER, dead_letters(stage, batch, emit.refused)))
    for topic, rows in outputs:
        for partition, value in values(topic, rows, _chosen(topic, rows, batch)):
            event_id = f"{place}/{len(records)}"
            headers = event_headers(topic.event_type, event_id, source, ARROW)
            headers.append((REGISTRY_OFFSET, str(batch.registry_offset).encode()))
            records.append(Record(topic.name, partition, None, value, headers))
    for delivery in emit.deliveries:
        event_id = f"{place}/{len(records)}"
        records.append(_delivered(delivery, event_id, source))
    return records


def _delivered(delivery: Delivery, event_id: str, source: str) -> Record:
    headers = event_headers(delivery.event_type, event_id, source, delivery.content_type)
    return Record(delivery.topic, 0, delivery.key, delivery.value, headers)


def _chosen(topic: Topic, rows: pa.RecordBatch, batch: Batch) -> list[int]:
    """The partition of each text of the partition column, or the one of all rows."""
    if not topic.partition_by:
        return [batch.partition % topic.partitions]
    names = rows.column(topic.partition_by).dictionary.to_pylist()
    if topic.partition_by == "domain":
        return [_domain_partition(batch, name) for name in names]
    return [_partition_of(name, topic.partitions) for name in names]


def _domain_partition(batch: Batch, name: str) -> int:
    domain = batch.registry.find(Domain, name, 2**63 - 1)
    return domain.partition if domain else batch.partition


def dead_letters(stage: Stage, batch: Batch, refused: list[Refused]) -> pa.RecordBatch:
    """One dead letter a refused row, with the row as JSON."""
    places = [why.row for why in refused]
    rows, sources = to_rows(batch.rows.take(places)), batch.sources(places)
    return DEAD_LETTER.rows(
        [
            {
                "agent": stage.agent,
                "reason": why.reason,
                "field": why.field,
                "message": why.message,
                "source_topic": batch.topic.name,
                "source_partition": batch.partition,
                "source_offset": message.offset,
                "source_row": source_row,
                "received_ms": message.timestamp_ms,
                "content_type": JSON,
                "original": to_json(row),
            }
            for why, row, (message, source_row) in zip(refused, rows, sources, strict=True)
        ]
    )


def dead_message(
    stage: Stage, batch: Batch, reason: str, message: str, original: bytes
) -> pa.RecordBatch:
    """One dead letter for a whole message that could not be read or applied."""
    message, original = cut_original(message, original)
    return DEAD_LETTER.rows(
        [
            {
                "agent": stage.agent,
                "reason": reason,
                "field": "",
                "message": message,
                "source_topic": batch.topic.name,
                "source_partition": batch.partition,
                "source_offset": batch.offset,
                "source_row": -1,
                "received_ms": batch.timestamp_ms,
                "content_type": ARROW,
                "original": original,
            }
        ]
    )
