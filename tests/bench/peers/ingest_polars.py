"""Ingest by hand: confluent-kafka reads, polars decodes, joins and converts, Arrow batches out."""

import io
from typing import Any

import polars as pl
from confluent_kafka import Producer  # type: ignore[import-untyped]

from tests.bench.peers import Job
from tests.bench.peers.arrow_places import KINDS, MAX_AGE_MS, MAX_AHEAD_MS, MJ, PLACES, ROWS
from tests.bench.peers.confluent import reader

_SCHEMA = {
    "meter_id": pl.String,
    "register": pl.String,
    "kind": pl.String,
    "start_ms": pl.Int64,
    "end_ms": pl.Int64,
    "quantity": pl.Float64,
    "unit": pl.String,
    "revision": pl.Int64,
    "quality": pl.String,
    "epoch": pl.Int64,
    "source": pl.String,
}
_PLACES = pl.DataFrame(
    [(meter, *place) for meter, place in PLACES.items()],
    schema=["meter_id", "site_id", "rack_id", "hub_id", "account_id", "partition"],
    orient="row",
)
_UNITS = pl.DataFrame({"unit": list(MJ), "factor": [float(mj) for mj in MJ.values()]})
_MESSAGES = 20_000  # a poll, at most


def main(job: Job) -> None:
    """Read, check, resolve, convert, pack and send until all messages are read."""
    consumer = reader(job)
    producer = Producer(
        {
            "bootstrap.servers": job.brokers,
            "linger.ms": 5,
            "acks": "all",
            "enable.idempotence": True,
            "batch.size": 1 << 20,
            "queue.buffering.max.kbytes": 1 << 20,
        }
    )
    open_: dict[int, Any] = {}
    taken = 0
    while taken < job.messages:
        messages = consumer.consume(_MESSAGES if not job.lines else 200, 0.2)
        if not messages:
            continue
        job.begin()
        taken += len(messages)
        for (partition,), rows in (
            readings(messages, job.lines)
            .partition_by("partition", as_dict=True, include_key=False)
            .items()
        ):
            waiting = open_.get(partition)
            waiting = rows if waiting is None else pl.concat([waiting, rows])
            while waiting.height >= ROWS:
                send(producer, job, partition, waiting[:ROWS])
                waiting = waiting[ROWS:]
            open_[partition] = waiting
        producer.poll(0)
    for partition, rows in open_.items():
        if rows.height:
            send(producer, job, partition, rows)
    producer.flush()
    consumer.commit()
    consumer.close()


def readings(messages: list[Any], lines: bool) -> pl.DataFrame:
    """The rows of one poll; the input has no bad rows, a bad one raises."""
    values = [message.value() for message in messages]
    events = pl.read_ndjson(b"\n".join(values), schema=_SCHEMA)
    place = pl.DataFrame(
        {
            "source_partition": [message.partition() for message in messages],
            "source_offset": [message.offset() for message in messages],
            "received_ms": [message.timestamp()[1] for message in messages],
        },
        schema_overrides={"source_partition": pl.Int32},
    )
    if lines:
        sizes = [value.count(b"\n") + 1 for value in values]
        place = place.with_columns(pl.Series("source_row", [range(n) for n in sizes])).explode(
            "source_row"
        )
    else:
        place = place.with_columns(source_row=pl.lit(0))
    age_ms = pl.col("received_ms") - pl.col("end_ms")
    rows = (
        events.hstack(place)
        .join(_PLACES, on="meter_id", how="left", maintain_order="left")
        .join(_UNITS, on="unit", how="left", maintain_order="left")
    )
    good = rows.filter(
        pl.col("kind").is_in(KINDS),
        pl.col("end_ms") > pl.col("start_ms"),
        age_ms.is_between(-MAX_AHEAD_MS, MAX_AGE_MS),
        pl.col("partition").is_not_null(),
        pl.col("factor").is_not_null(),
        pl.col("quantity") >= 0,
    )
    if good.height < rows.height:
        raise ValueError("bad rows")
    return good.with_columns(
        quantity=(pl.col("quantity") * pl.col("factor")).round().cast(pl.Int64),
        unit=pl.lit("mJ"),
        revision=pl.col("revision").fill_null(0),
        quality=pl.col("quality").fill_null("ACTUAL"),
        epoch=pl.col("epoch").fill_null(0),
        source=pl.col("source").fill_null("telemetry.in"),
        source_row=pl.col("source_row").cast(pl.Int32),
        registry_offset=pl.lit(0, pl.Int64),
    ).drop("factor")


def send(producer: Producer, job: Job, partition: int, rows: pl.DataFrame) -> None:
    """Rows of a partition as one Arrow message."""
    sink = io.BytesIO()
    rows.write_ipc_stream(sink, compression="lz4")
    producer.produce(job.results, sink.getvalue(), partition=partition)


if __name__ == "__main__":
    main(Job.from_argv())
