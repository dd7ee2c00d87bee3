"""Quix Streams: a tumbling window with its state in RocksDB and its changelog in Kafka."""

from typing import Any

from quixstreams import Application
from quixstreams.dataframe.windows import Count, Max, Mean, Sum

from tests.bench.peers import Job

_IDLE_S = 5.0  # without a message for so long the input is at its end; not in the measured time


def main(job: Job) -> None:
    """Until all messages are processed; the last checkpoint flushes what is open."""

    def start_ms(reading: dict[str, Any], *_: object) -> int:
        job.begin()
        return int(reading["start_ms"])

    def result(window: dict[str, Any], rack: str, *_: object) -> dict[str, Any]:
        figures = {name: window[name] for name in ("count", "sum", "mean", "max")}
        return {"rack": rack, "start_ms": window["start"], **figures}

    app = Application(
        broker_address=job.brokers,
        consumer_group="bench-quix",
        auto_offset_reset="earliest",
        state_dir=job.folder,
        loglevel="WARNING",
    )
    source = app.topic(
        job.source,
        key_deserializer="str",
        value_deserializer="json",
        timestamp_extractor=start_ms,
    )
    windows = (
        app.dataframe(source)
        .tumbling_window(job.window_ms)
        .agg(count=Count(), sum=Sum("quantity"), mean=Mean("quantity"), max=Max("quantity"))
        .final(closing_strategy="partition")
    )
    windows.apply(result, metadata=True).to_topic(app.topic(job.results, value_serializer="json"))
    app.run(timeout=_IDLE_S)  # by count it would wait for ever: it counts what it forwards


if __name__ == "__main__":
    main(Job.from_argv())
