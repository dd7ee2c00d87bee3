"""Agents: rows/s of one core through the rollup agent, with the journal on.

How a core is measured: one_core.py. The second stage, which merges partials, runs beside the first.

    seconds    a reading a second of each of 250 racks, windows of 10 s: what rollups are for
    quarters   one a quarter hour of 1,000 racks' two registers: every row a window of its own

Beside each stands the kernel by itself, in this process, on the same batches.
"""

import asyncio
import statistics
import time
from collections.abc import Iterator

from kernels.rollup import Windows
from schemas.errors import GridloomError
from streams.broker import Broker
from streams.settings import Settings
from tests.bench import one_core
from tests.bench.case import Case, say, suite
from tests.bench.windowed import QUARTERS, SECONDS, Racks

_ROWS, _ROWS_QUICK = 2_000_000, 500_000
_RUNS, _RUNS_QUICK = 3, 1
_SIZES = (2_000, 16_384)  # rows of a message: asked for, and what the bridge packs under load
_SHAPES = {"seconds": SECONDS, "quarters": QUARTERS}


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
        space = f"{case}.{run}."
        settings = Settings(brokers=bootstrap, namespace=space, window_ms=given.window_ms)
        batches = (given.batch(number, size) for number in range(messages))
        asyncio.run(one_core.write(settings, batches))
        line = one_core.measured(settings, "rollup", "exact", messages)
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
