"""Soak: ten minutes near the knee; memory must be flat, the lag bounded, every event exact.

Closed slots go after 48 hours of event time, which pass within the first minute; from then on what
comes in and what goes out are the same. The slope is that of the resident memory over the last two
thirds, of bridge and meter together and of each.

Before it, the bridge alone with outputs that are acknowledged slowly, and far more input than they
let through: what it takes is bounded, however much waits. More than _BRIDGE_MAX_MB fails.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from streams.settings import Settings
from streams.topics import group_offsets
from streams.worker import group_of
from tests.bench import ours
from tests.bench.case import Case, say, suite
from tests.bench.cluster import embedded
from tests.bench.flow import flow
from tests.bench.ingest import prepare
from tests.bench.readings import Input, WrongResultError

_SECONDS, _SECONDS_QUICK = 600, 60
_RATE, _RATE_QUICK = 135_000, 20_000  # 90 % of the knee
_SLOW_S, _SLOW_S_QUICK = 180, 45
_SLOW_ROWS = 2_000_000
_SLOW_BYTES_PER_S = 50_000  # of Arrow batches: a third of them in the time given
# 16 MB of answers in hand and 16 on their way, columns of 2 MB of values, 16 MB unacknowledged
# outputs and what holds them, open batches of 4 MB: 100 MB beyond what Python and Arrow take
_BRIDGE_MAX_MB = 300.0
_SAMPLE_S = 1.0
_PAGE = os.sysconf("SC_PAGE_SIZE")


@suite("soak", "ten minutes near the knee: memory, lag and exactness")
def soak(quick: bool) -> Iterator[Case]:
    """Slopes of memory, most events behind, and the rate; no peer does this job."""
    rate, seconds = (_RATE_QUICK, _SECONDS_QUICK) if quick else (_RATE, _SECONDS)
    with embedded() as kafka:
        slow = Settings(brokers=kafka.brokers, namespace="slow.")
        yield from _slow(slow, kafka.folder, _SLOW_S_QUICK if quick else _SLOW_S)
        settings = Settings(brokers=kafka.brokers, namespace="soak.")
        yield from asyncio.run(_run(settings, kafka.folder, rate, seconds))


def _slow(settings: Settings, folder: Path, seconds: int) -> Iterator[Case]:
    """The bridge before slow outputs; raises WrongResultError beyond its bound."""
    given = Input(_SLOW_ROWS)
    messages = asyncio.run(prepare(settings, given, lines=100))
    with ExitStack() as stack:
        path = folder / "slow.log"
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.slow_outputs", str(_SLOW_BYTES_PER_S)],
            env=os.environ
            | {"GRIDLOOM_BROKERS": settings.brokers, "GRIDLOOM_NAMESPACE": settings.namespace},
            stderr=stack.enter_context(path.open("wb")),
        )
        stack.callback(process.wait)
        stack.callback(process.kill)  # a clean end would wait for the outputs
        log = ours.Log("ingest", path, process)
        log.wait_for(lambda: bool(log.times("assigned")))
        memory_mb = []
        for _ in range(seconds):
            time.sleep(_SAMPLE_S)
            log.check_alive()
            memory_mb.append(_resident_mb(process.pid))
    done = asyncio.run(group_offsets(settings, group_of(settings, "ingest")))
    read = sum(offset for offset, _ in done.values())
    if read >= messages or max(memory_mb) > _BRIDGE_MAX_MB:
        raise WrongResultError(f"{max(memory_mb):.0f} MB, {read} of {messages} messages committed")
    third = len(memory_mb) // 3
    slope = float(np.polyfit(np.arange(third, len(memory_mb)) / 60, memory_mb[third:], 1)[0])
    note = f"bridge, {messages - read:,} of {messages:,} messages wait; at most {_BRIDGE_MAX_MB} MB"
    for metric, value, unit in (
        ("memory at most", max(memory_mb), "MB"),
        ("memory slope", slope, "MB/min"),
    ):
        yield _case("slow-outputs", metric, value, unit, given.rows, note)


async def _run(settings: Settings, folder: Path, rate: int, seconds: int) -> list[Case]:
    async with flow(settings, folder) as running:
        samples: list[tuple[float, ...]] = []
        sampling = asyncio.create_task(_sample(running.pids, samples))
        passed = await running.load(rate, seconds)
        sampling.cancel()
        with suppress(asyncio.CancelledError):
            await sampling
    time_s, *memory_mb = np.array(samples[len(samples) // 3 :]).T
    slopes = [float(np.polyfit(time_s / 60, of_one, 1)[0]) for of_one in memory_mb]
    p50, p99 = np.percentile(passed.latency_ms, [50, 99]).tolist()
    note = f"{rate:,} events/s for {seconds} s, every one in usage once, with the right mJ"
    figures = (
        ("memory slope", sum(slopes), "MB/min"),
        *(
            (f"memory slope of {name}", slope, "MB/min")
            for name, slope in zip(running.pids, slopes, strict=True)
        ),
        ("memory at most", max(sum(mb) for _, *mb in samples), "MB"),
        ("events behind at most", float(passed.behind), "events"),
        ("p50", p50, "ms"),
        ("p99", p99, "ms"),
    )
    case = f"{rate}-events-a-second"
    return [_case(case, *figure, rate * seconds, note) for figure in figures]


def _case(case: str, metric: str, value: float, unit: str, n: int, note: str) -> Case:
    return Case(
        suite="soak",
        case=case,
        metric=metric,
        value=value,
        unit=unit,
        peers={},
        better="lower",
        n=n,
        note=note,
    )


async def _sample(pids: Mapping[str, int], samples: list[tuple[float, ...]]) -> None:
    """(seconds, MB resident of each process) once a second."""
    began_s = time.monotonic()
    while True:
        memory_mb = [_resident_mb(pid) for pid in pids.values()]
        samples.append((time.monotonic() - began_s, *memory_mb))
        if len(samples) % 60 == 0:
            shown = ", ".join(
                f"{name} {mb:,.0f} MB" for name, mb in zip(pids, memory_mb, strict=True)
            )
            say(f"{len(samples)} s: {shown}")
        await asyncio.sleep(_SAMPLE_S)


def _resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 1e6
