"""One core of an agent: messages written beforehand, and one measured worker that reads them.

Real Kafka, one partition, the agent as in production. The time is from the first message in the
worker's hands until the last one is acknowledged. A core's rows/s are rows per second of the
process' CPU time, all its threads: on a machine that others use as well, wall seconds say what the
others did.
"""

import os
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import orjson
import pyarrow as pa

import streams.agents  # noqa: F401  (registers the stages: their topics)
from schemas import READINGS
from schemas.codec import ARROW, encode, event_headers
from schemas.errors import GridloomError
from streams.client import producer
from streams.settings import Settings
from streams.topics import create_topics

_RUN_S = 300.0


async def write(settings: Settings, batches: Iterable[pa.RecordBatch]) -> None:
    """A message of readings a batch, all to partition 0 of new topics."""
    await create_topics(settings)
    headers = event_headers(READINGS.event_type, "bench", "/bench", ARROW)
    async with producer(settings, linger_ms=5, max_batch_size=1 << 20) as client:
        for batch in batches:
            value = encode(READINGS, batch)
            await client.send(settings.topic(READINGS.name), value, partition=0, headers=headers)


def measured(settings: Settings, agent: str, how: str, messages: int) -> dict[str, Any]:
    """What agent_worker.py prints: rows, accepted, cpu_s, wall_s."""
    environment = os.environ | {
        "GRIDLOOM_BROKERS": settings.brokers,
        "GRIDLOOM_NAMESPACE": settings.namespace,
        "GRIDLOOM_SAVE_MESSAGES": str(settings.save_messages),
        "GRIDLOOM_WINDOW_MS": str(settings.window_ms),
        "GRIDLOOM_LOG_LEVEL": "warning",
    }
    command = [sys.executable, "-m", "tests.bench.agent_worker", agent, how, str(messages)]
    done = subprocess.run(
        command, env=environment, capture_output=True, timeout=_RUN_S, check=False
    )
    if done.returncode:
        raise GridloomError("the worker failed", done.stderr.decode(errors="replace")[-1000:])
    line: dict[str, Any] = orjson.loads(
        done.stdout[done.stdout.index(b"{") :]
    )  # Faust moves the cursor first
    return line
