"""Exact: what it costs that nothing is lost and nothing counted twice.

Case `meter`: rows/s of the meter agent on one core, saves every 1, 8 and 64 messages, beside the
same agent without a journal; in messages as the bridge closes them at its default setting, and in
small ones of 2,000 rows. The quick form saves at the default interval alone. How a core is
measured: one_core.py.

Every row is a reading of a slot of its own, so each makes a new usage row: the most that a message
can ask for. Duplicates cost less.

Case `state`: one partition with the state of 100,000 meters over 48 h of quarter-hours.
"""

import asyncio
import statistics
from collections.abc import Iterator, Sequence

from schemas.errors import GridloomError
from streams.broker import Broker
from streams.settings import Settings
from tests.bench import one_core
from tests.bench.case import Case, say, suite
from tests.bench.exact_state import state
from tests.bench.metered import BATCH_ROWS, Quarters

_ROWS, _ROWS_QUICK = 4_000_000, 800_000
_RUNS, _RUNS_QUICK = 3, 1
_DEFAULT: int = Settings.model_fields["save_messages"].default
_SAVES, _SAVES_QUICK = (_DEFAULT, 1, 64), (_DEFAULT,)
_MESSAGE_ROWS: tuple[int, ...] = (Settings.model_fields["batch_rows"].default, BATCH_ROWS)

_TENANTS = {"many-tenants": 50, "one-tenant": 1}


@suite("exact", "the meter agent on one core, saving every 1, 8, 64 messages, beside no journal")
def exact(quick: bool) -> Iterator[Case]:
    """Case `state`, then cases `meter` by input, rows of a message and save interval."""
    rows = _ROWS_QUICK if quick else _ROWS
    runs = _RUNS_QUICK if quick else _RUNS
    saves = _SAVES_QUICK if quick else _SAVES
    broker = Broker(ephemeral=True, on_progress=say)
    with broker as bootstrap:
        yield from state(bootstrap, broker.folder, quick)
        for name, accounts in _TENANTS.items():
            for size in _MESSAGE_ROWS:
                given = Quarters(meters=1_000, accounts=accounts, rows=size)
                yield from _meter(bootstrap, f"{name}-{size}", given, rows // size, saves, runs)


def _meter(
    bootstrap: str, name: str, given: Quarters, messages: int, saves: Sequence[int], runs: int
) -> Iterator[Case]:
    ways = [("bare", _DEFAULT), *(("exact", every) for every in saves)]
    measured: dict[tuple[str, int], list[dict[str, float]]] = {way: [] for way in ways}
    for run in range(runs):
        for how, every in ways:
            space = f"{name}.{how}{every}.{run}."
            settings = Settings(brokers=bootstrap, namespace=space, save_messages=every)
            asyncio.run(one_core.write(settings, map(given.batch, range(messages))))
            line = one_core.measured(settings, "meter", how, messages)
            if line["accepted"] != messages * given.rows:
                raise GridloomError(f"{how} {every} accepted {line['accepted']} rows")
            rate = line["rows"] / line["cpu_s"]
            say(f"{name}, {how}, save every {every}: {rate:,.0f} rows/s of one core")
            measured[how, every].append(line)
    bare = _median(measured["bare", _DEFAULT], "cpu_s")
    for every in saves:
        yield Case(
            suite="exact",
            case=f"meter-{name}-save-{every}",
            metric="throughput of one core",
            value=_median(measured["exact", every], "cpu_s"),
            unit="rows/s",
            peers={"without a journal": bare},
            n=messages * given.rows,
            note=f"by wall clock {_median(measured['exact', every], 'wall_s'):,.0f} rows/s",
        )


def _median(lines: list[dict[str, float]], seconds: str) -> float:
    return statistics.median(line["rows"] / line[seconds] for line in lines)
