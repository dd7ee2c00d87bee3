"""Latency: an event due on the wire until its revised usage is in a consumer's hands, by rate.

Open load at rising rates, up to the first at which the 99th percentile is over a second. Every
event is a new slot, so every one makes a row of usage: the case with most output. The knee is the
highest rate up to which the 99th percentile stays within its limit. Generator, broker, bridge,
meter and the consumer that takes the time share the machine.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

import streams
from streams.settings import Settings
from tests.bench.balance_growth import draw
from tests.bench.case import Case, say, suite
from tests.bench.cluster import embedded
from tests.bench.flow import flow

_RATES = (1_000, 10_000, 25_000, 50_000, 75_000, 100_000, 125_000, 150_000, 200_000, 250_000)
_RATES_QUICK = (10_000, 50_000)
_WARM_S, _LOAD_S, _LOAD_QUICK_S = 3, 20, 5
Better = Literal["higher", "lower"]
P99_LIMIT_MS, _GIVE_UP_MS = 250.0, 1000.0


@suite("latency", "event on the wire to revised usage on Kafka, p50 and p99 by rate, and the knee")
def latency(quick: bool) -> Iterator[Case]:
    """Two cases a rate, then the knee; no peer does this job."""
    with embedded() as kafka:
        cases = _measure(Settings(brokers=kafka.brokers, namespace="latency."), kafka.folder, quick)
        with asyncio.Runner() as runner:
            while (case := runner.run(_next(cases))) is not None:
                yield case


async def _next(cases: AsyncIterator[Case]) -> Case | None:
    return await anext(cases, None)


async def _measure(settings: Settings, folder: Path, quick: bool) -> AsyncIterator[Case]:
    seconds, knee = _LOAD_QUICK_S if quick else _LOAD_S, 0
    curves: dict[str, dict[int, float]] = {"p50": {}, "p99": {}}
    held = True
    async with flow(settings, folder) as running:
        for rate in _RATES_QUICK if quick else _RATES:
            passed = await running.load(rate, _WARM_S + seconds)
            measured = passed.latency_ms[_WARM_S * rate :]
            p50, p99 = np.percentile(measured, [50, 99]).tolist()
            note = f"generator at worst {passed.late_ms:.0f} ms late"
            say(f"{rate:,} events/s: p50 {p50:.0f} ms, p99 {p99:.0f} ms, {note}")
            for metric, value in (("p50", p50), ("p99", p99)):
                curves[metric][rate] = value
                yield _case(f"{rate}-events-a-second", metric, value, "ms", "lower", note)
            held = held and p99 <= P99_LIMIT_MS
            knee = rate if held else knee
            if p99 > _GIVE_UP_MS:
                break
    if not quick:
        _draw(curves)
    yield _case("knee", "rate", knee, "events/s", "higher", f"p99 <= {P99_LIMIT_MS:.0f} ms")


def _draw(curves: dict[str, dict[int, float]]) -> None:
    """The load curve beside the README of streams."""
    picture = Path(streams.__file__).with_name("latency.svg")
    draw(picture, {"event to usage, by events/s": curves}, "ms from", fitted=False)


def _case(
    case: str, metric: str, value: float, unit: str, better: Literal["higher", "lower"], note: str
) -> Case:
    return Case(
        suite="latency",
        case=case,
        metric=metric,
        value=value,
        unit=unit,
        peers={},
        better=better,
        note=note,
    )
