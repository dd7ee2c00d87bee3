"""Faust as its manual has it: one agent, one tumbling table, an event at a time."""

import os
import sys
from typing import Any

import faust

from tests.bench.peers import Job

job = Job.from_argv()
app = faust.App(
    "bench-faust",
    broker=f"kafka://{job.brokers}",
    topic_partitions=job.partitions,
    topic_disable_leader=True,
    table_standby_replicas=0,
    stream_wait_empty=False,
    consumer_auto_offset_reset="earliest",
    web_enabled=False,
    datadir=job.folder,
)
source = app.topic(job.source, value_serializer="json")
results = app.topic(job.results, value_serializer="json")
windows = (
    app.Table("windows", default=lambda: None)
    .tumbling(job.window_ms / 1000)  # no expiry: it would go by the wall clock
    .relative_to(lambda event: event.value["start_ms"] / 1000)
)
open_windows: dict[int, dict[str, dict[str, Any]]] = {p: {} for p in range(job.partitions)}
closed: set[int] = set()


@app.agent(source)  # type: ignore[untyped-decorator]
async def aggregate(stream: Any) -> None:
    """Add each reading to its window; a rack's window is sent when its next one begins."""
    async for event in stream.events():
        job.begin()
        reading, partition = event.value, event.message.partition
        rack, quantity = reading["meter_id"], reading["quantity"]
        start_ms = reading["start_ms"] // job.window_ms * job.window_ms
        window = windows[rack].value()
        if window is None:
            last = open_windows[partition].pop(rack, None)
            if last:
                await results.send(value=last)
            window = {"rack": rack, "start_ms": start_ms, "count": 0, "sum": 0.0, "max": quantity}
        count, total = window["count"] + 1, window["sum"] + quantity
        window |= {
            "count": count,
            "sum": total,
            "mean": total / count,
            "max": max(window["max"], quantity),
        }
        windows[rack] = window
        open_windows[partition][rack] = window
        if rack.startswith("closing/"):
            await close(partition)


async def close(partition: int) -> None:
    """The input of a partition is at its end: send what is open, leave after the last one."""
    for window in open_windows[partition].values():
        await results.send(value=window)
    closed.add(partition)
    if len(closed) == job.partitions:
        await app.producer.flush()
        job.end()
        os._exit(0)  # an agent cannot wait for the stop of its own app


if __name__ == "__main__":
    sys.exit(faust.Worker(app, loglevel="WARN").execute_from_commandline())
