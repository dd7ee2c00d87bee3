"""Soak: ten minutes near the knee; memory must be flat, the lag bounded, every event exact.

Closed slots go after 48 hours of event time, which pass within the first minute; from then on what
comes in and what goes out are the same. The slope is that of the resident memory of bridge and
meter together over the last two thirds.
"""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from streams.settings import Settings
from tests.bench.case import Case, say, suite
from tests.bench.cluster import embedded
from tests.bench.flow import Flow, flow

_SECONDS, _SECONDS_QUICK = 600, 60
_RATE, _RATE_QUICK = 90_000, 20_000
_SAMPLE_S = 1.0
_PAGE = os.sysconf("SC_PAGE_SIZE")


@suite("soak", "ten minutes near the knee: memory, lag and exactness")
def soak(quick: bool) -> Iterator[Case]:
    """Slope of memory, most events behind, and the rate; no peer does this job."""
    rate, seconds = (_RATE_QUICK, _SECONDS_QUICK) if quick else (_RATE, _SECONDS)
    with embedded() as kafka:
        settings = Settings(brokers=kafka.brokers, namespace="soak.")
        yield from asyncio.run(_run(settings, kafka.folder, rate, seconds))


async def _run(settings: Settings, folder: Path, rate: int, seconds: int) -> list[Case]:
    async with flow(settings, folder) as running:
        samples: list[tuple[float, float]] = []
        sampling = asyncio.create_task(_sample(running, samples))
        passed = await running.load(rate, seconds)
        sampling.cancel()
        with suppress(asyncio.CancelledError):
            await sampling
    time_s, memory_mb = np.array(samples[len(samples) // 3 :]).T
    slope = float(np.polyfit(time_s / 60, memory_mb, 1)[0])
    p50, p99 = np.percentile(passed.latency_ms, [50, 99]).tolist()
    note = f"{rate:,} events/s for {seconds} s, every one in usage once, with the right mJ"
    figures = (
        ("memory slope", slope, "MB/min"),
        ("memory at most", float(max(mb for _, mb in samples)), "MB"),
        ("events behind at most", float(passed.behind), "events"),
        ("p50", p50, "ms"),
        ("p99", p99, "ms"),
    )
    return [
        Case(
            suite="soak",
            case=f"{rate}-events-a-second",
            metric=metric,
            value=value,
            unit=unit,
            peers={},
            better="lower",
            n=rate * seconds,
            note=note,
        )
        for metric, value, unit in figures
    ]


async def _sample(running: Flow, samples: list[tuple[float, float]]) -> None:
    """(seconds, MB resident of both processes) once a second."""
    began_s = time.monotonic()
    while True:
        pages = [
            int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in running.pids.values()
        ]
        samples.append((time.monotonic() - began_s, sum(pages) * _PAGE / 1e6))
        if len(samples) % 60 == 0:
            say(f"{len(samples)} s: {samples[-1][1]:,.0f} MB")
        await asyncio.sleep(_SAMPLE_S)
