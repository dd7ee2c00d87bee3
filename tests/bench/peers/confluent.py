"""How the peers on confluent-kafka read: the settings that were fastest for them."""

from confluent_kafka import Consumer  # type: ignore[import-untyped]

from tests.bench.peers import Job


def reader(job: Job) -> Consumer:
    """A consumer that is subscribed to the job's source, from its first message on."""
    consumer = Consumer(
        {
            "bootstrap.servers": job.brokers,
            "group.id": "bench-polars",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.queue.backoff.ms": 5,
            "queued.min.messages": 1_000_000,
        }
    )
    consumer.subscribe([job.source])
    return consumer
