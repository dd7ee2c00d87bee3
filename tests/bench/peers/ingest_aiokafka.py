"""Ingest by hand: aiokafka's getmany, orjson an event, lists to Arrow batches of 2,000 rows."""

import asyncio
from typing import Any

import orjson
import pyarrow as pa
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from schemas import READINGS
from schemas.topic import SYMBOL
from tests.bench.peers import Job
from tests.bench.peers.arrow_places import KINDS, MAX_AGE_MS, MAX_AHEAD_MS, MJ, PLACES, ROWS

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


async def main(job: Job) -> None:
    """Read, check, resolve, convert, pack and send until all messages are read."""
    consumer = AIOKafkaConsumer(
        job.source,
        bootstrap_servers=job.brokers,
        group_id="bench-aiokafka",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 << 20,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=job.brokers,
        acks="all",
        enable_idempotence=True,
        linger_ms=5,
        max_batch_size=1 << 20,
        max_request_size=16 << 20,
    )
    await consumer.start()
    await producer.start()
    open_: list[list[Any]] = [[] for _ in range(job.partitions)]
    taken, sends = 0, []
    while taken < job.messages:
        for records in (await consumer.getmany(timeout_ms=200)).values():
            job.begin()
            taken += len(records)
            for record in records:
                lines = record.value.split(b"\n") if job.lines else (record.value,)
                for number, line in enumerate(lines):
                    row, partition = reading(orjson.loads(line), record, number)
                    open_[partition].append(row)
                    if len(open_[partition]) == ROWS:
                        sends.append(await send(producer, job, partition, open_))
    sends += [await send(producer, job, p, open_) for p in range(job.partitions) if open_[p]]
    await asyncio.gather(*sends)
    await consumer.commit()
    await consumer.stop()
    await producer.stop()


def reading(event: dict[str, Any], record: Any, number: int) -> tuple[tuple[Any, ...], int]:
    """A row of READINGS and its partition; the input has no bad rows, a bad one raises."""
    start_ms, end_ms, kind = event["start_ms"], event["end_ms"], event["kind"]
    site, rack, hub, account, partition = PLACES[event["meter_id"]]
    age_ms = record.timestamp - end_ms
    if kind not in KINDS or end_ms <= start_ms or not -MAX_AHEAD_MS <= age_ms <= MAX_AGE_MS:
        raise ValueError(event)
    return (
        event["meter_id"],
        event["register"],
        kind,
        start_ms,
        end_ms,
        round(event["quantity"] * MJ[event["unit"]]),
        "mJ",
        event.get("revision", 0),
        event.get("quality", "ACTUAL"),
        event.get("epoch", 0),
        site,
        rack,
        hub,
        account,
        event.get("source", "telemetry.in"),
        record.partition,
        record.offset,
        number,
        record.timestamp,
        0,
    ), partition


async def send(producer: AIOKafkaProducer, job: Job, partition: int, open_: list[Any]) -> Any:
    """The open rows of a partition as one Arrow message."""
    rows, open_[partition] = open_[partition], []
    arrays = [
        pa.array(column, pa.string()).dictionary_encode()
        if to.type == SYMBOL
        else pa.array(column, to.type)
        for to, column in zip(READINGS.columns, zip(*rows, strict=True), strict=True)
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, READINGS.schema, options=_OPTIONS) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=READINGS.schema))
    return await producer.send(job.results, sink.getvalue().to_pybytes(), partition=partition)


if __name__ == "__main__":
    uvloop.run(main(Job.from_argv()))
