"""A plain loop: confluent-kafka reads, polars aggregates. Nothing is saved: a crash loses all."""

from typing import Any

import orjson
import polars as pl
from confluent_kafka import Producer  # type: ignore[import-untyped]

from tests.bench.peers import Job
from tests.bench.peers.confluent import reader

_SCHEMA = {"meter_id": pl.String, "start_ms": pl.Int64, "quantity": pl.Float64}
_KEY = ("rack", "start_ms")
_MESSAGES = 20_000  # a poll, at most


def main(job: Job) -> None:
    """Aggregate each poll, merge it into the open windows, send those that all partitions left."""
    consumer = reader(job)
    producer = Producer({"bootstrap.servers": job.brokers, "linger.ms": 5})
    newest: dict[int, Any] = {}  # partition -> last message
    windows, taken = None, 0
    while taken < job.messages:
        messages = consumer.consume(_MESSAGES, 0.2)
        if not messages:
            continue
        job.begin()
        taken += len(messages)
        newest |= {message.partition(): message for message in messages}
        batch = aggregate(messages, job.window_ms)
        windows = batch if windows is None else merge(windows, batch)
        if len(newest) == job.partitions:
            left_ms = min(orjson.loads(message.value())["start_ms"] for message in newest.values())
            done = pl.col("start_ms") + job.window_ms <= left_ms
            send(producer, job.results, windows.filter(done))
            windows = windows.filter(~done)
    producer.flush()
    consumer.close()


def aggregate(messages: list[Any], window_ms: int) -> pl.DataFrame:
    """Windows of one poll."""
    readings = pl.read_ndjson(b"\n".join([m.value() for m in messages]), schema=_SCHEMA)
    start_ms = pl.col("start_ms") // window_ms * window_ms
    return readings.group_by(pl.col("meter_id").alias("rack"), start_ms).agg(
        pl.len().alias("count"),
        pl.col("quantity").sum().alias("sum"),
        pl.col("quantity").max().alias("max"),
    )


def merge(windows: pl.DataFrame, batch: pl.DataFrame) -> pl.DataFrame:
    """Windows of all polls so far."""
    return (
        pl.concat([windows, batch])
        .group_by(_KEY)
        .agg(pl.col("count").sum(), pl.col("sum").sum(), pl.col("max").max())
    )


def send(producer: Producer, topic: str, done: pl.DataFrame) -> None:
    """A message a window."""
    for row in done.with_columns(mean=pl.col("sum") / pl.col("count")).iter_rows(named=True):
        producer.produce(topic, orjson.dumps(row))
    producer.poll(0)


if __name__ == "__main__":
    main(Job.from_argv())
