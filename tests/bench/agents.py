"""Agents: rows/s of one core through the rollup agent, with the journal on.

Real Kafka, one partition, one worker process, as in production; the messages are written
beforehand and the time is from the first one in the worker's hands until the last one is
acknowledged. A core's rows/s are rows per second of the process' CPU time, all its threads: on a
machine that others use as well, wall seconds say what the others did.

    seconds    a reading a second of each of 250 racks, windows of 10 s: what rollups are for
    quarters   one a quarter hour of 1,000 racks' two registers: every row a window of its own

Beside each stands the kernel by itself, in this process, on the same batches.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import orjson

import streams.agents  # noqa: F401  (registers the stages: their topics)
from kernels.rollup import Windows
from schemas import READINGS
from schemas.codec import ARROW, encode, event_headers
from schemas.errors import GridloomError
from streams.broker import Broker
from streams.client import producer
from streams.settings import Settings
from streams.topics import create_topics
from tests.bench.case import Case, say, suite
from tests.bench.windowed import QUARTERS, SECONDS, Racks

_ROWS, _ROWS_QUICK = 2_000_000, 500_000
_RUNS, _RUNS_QUICK = 3, 1
_SIZES = (2_000, 16_384)  # rows of a message: asked for, and what the bridge packs under load
_SHAPES = {"seconds": SECONDS, "quarters": QUARTERS}
_RUN_S = 300.0


@suite("agents", "the rollup agent on one core, journal on, messages of 2,000 and 16,384 rows")
def agents(quick: bool) -> Iterator[Case]:
    """A case a shape and size: through the agent, and the kernel alone."""
    rows, runs = (_ROWS_QUICK, _RUNS_QUICK) if quick else (_ROWS, _RUNS)
    with Broker(ephemeral=True, on_progress=say) as bootstrap:
        for shape, given in _SHAPES.items():
            for size in _SIZES:
                yield from _rollup(bootstrap, shape, given, size, rows // size, runs)


def _rollup(
    bootstrap: str, shape: str, given: Racks, size: int, messages: int, runs: int
) -> Iterator[Case]:
    case = f"rollup-{shape}-{size}"
    kernel_s = statistics.median(_kernel_s(given, size, messages) for _ in range(runs))
    lines = []
    for run in range(runs):
        settings = Settings(brokers=bootstrap, namespace=f"{case}.{run}.")
        asyncio.run(_write(settings, given, size, messages))
        line = _worker(settings, given, messages)
        if line["accepted"] != messages * size:
            raise GridloomError(f"{case} accepted {line['accepted']} rows")
        say(f"{case}: {messages * size / line['cpu_s']:,.0f} rows/s of one core")
        lines.append(line)
    rows = messages * size
    by_wall = rows / statistics.median(line["wall_s"] for line in lines)
    yield Case(
        suite="agents",
        case=case,
        metric="throughput of one core",
        value=rows / statistics.median(line["cpu_s"] for line in lines),
        unit="rows/s",
        peers={},
        n=rows,
        note=f"asked: 6,000,000 in messages of 2,000 rows; by wall clock {by_wall:,.0f} rows/s",
    )
    yield Case(
        suite="agents",
        case=f"{case}-kernel",
        metric="CPU of the kernel alone",
        value=kernel_s / rows * 1e9,
        unit="ns/row",
        peers={},
        better="lower",
        n=rows,
    )


def _kernel_s(given: Racks, size: int, messages: int) -> float:
    """CPU seconds of applying all batches, one after the other, to an empty state."""
    windows = Windows(given.window_ms)
    used_s = 0.0
    for number in range(messages):
        batch = given.batch(number, size)
        before_s = time.process_time()
        windows.apply(batch, 0)
        used_s += time.process_time() - before_s
    return used_s


async def _write(settings: Settings, given: Racks, size: int, messages: int) -> None:
    await create_topics(settings)
    headers = event_headers(READINGS.event_type, "bench", "/bench", ARROW)
    async with producer(settings, linger_ms=5, max_batch_size=1 << 20) as client:
        for number in range(messages):
            value = encode(READINGS, given.batch(number, size))
            await client.send(settings.topic(READINGS.name), value, partition=0, headers=headers)


def _worker(settings: Settings, given: Racks, messages: int) -> dict[str, Any]:
    environment = os.environ | {
        "GRIDLOOM_BROKERS": settings.brokers,
        "GRIDLOOM_NAMESPACE": settings.namespace,
        "GRIDLOOM_WINDOW_MS": str(given.window_ms),
        "GRIDLOOM_LOG_LEVEL": "warning",
    }
    command = [sys.executable, "-m", "tests.bench.agents_worker", str(messages)]
    done = subprocess.run(
        command, env=environment, capture_output=True, timeout=_RUN_S, check=False
    )
    if done.returncode:
        raise GridloomError("the worker failed", done.stderr.decode(errors="replace")[-1000:])
    line: dict[str, Any] = orjson.loads(
        done.stdout[done.stdout.index(b"{") :]
    )  # Faust moves the cursor first
    return line
