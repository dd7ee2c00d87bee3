"""Pipeline: rows/s from telemetry.in (single JSON events) to windows by rack, beside peers.

One embedded broker for all; contestants run one after another on the same events, written
beforehand. Measured for everyone: from the first event in the program's hands (ours even earlier:
from the assignment of the partitions, before the first fetch) until the broker's own date on the
last result. Start-up, topic creation and the group's first rebalance are before that for everyone,
and reported by themselves; a run that is not measured warms the broker for whoever is first.
Every window of every contestant is compared with the input's; a wrong one fails the case.

Ours does more in that time: it validates each row against the registry, has dead letters, saves its
state with the offsets (the last save counts into its time) and finds p95, sites, hubs and PUE. In
the second case it meters the same readings to `usage` besides, which no peer does.
"""

import asyncio
import os
from collections.abc import Iterator

import orjson

from schemas import TELEMETRY_IN
from streams.client import read_all
from streams.settings import Settings
from tests.bench import ours
from tests.bench.case import Case, say, suite
from tests.bench.cluster import create_input, embedded, write_input
from tests.bench.contest import Contestant, Took, cases, race
from tests.bench.peers import Job
from tests.bench.readings import (
    PARTITIONS,
    WINDOW_MS,
    Input,
    Window,
    Windows,
    WrongResultError,
)

_ROWS, _ROWS_QUICK = 1_000_000, 50_000
_ROWS_WARM = 200_000  # a broker of 20,000 is still compiling when it is measured
_ROWS_FAUST = 50_000  # at its speed 1,000,000 would take four minutes
_ROWS_FAUST_QUICK = 20_000
_NOTE = (
    "ours: two processes (ingest, rollup) with validation, dead letters, journal, p95, site and "
    "hub windows; peers: one process each, rack windows only. plain Faust: rows/s on the first {n} "
    "rows"
)
PEERS = (
    Contestant("faust", "faust_tables", ("faust-streaming",)),
    Contestant("quixstreams", "quix_windows", ("quixstreams",)),
    Contestant("confluent-kafka+polars", "polars_loop", ("confluent-kafka", "polars")),
)


@suite("pipeline", "rows/s from telemetry.in (JSON events) to rack windows, beside three peers")
def pipeline(quick: bool) -> Iterator[Case]:
    """Ours, plain Faust tables, Quix Streams, confluent-kafka + polars: rows/s and CPU seconds."""
    given = Input(_ROWS_QUICK if quick else _ROWS)
    part = Input(_ROWS_FAUST_QUICK if quick else _ROWS_FAUST)
    os.environ["GRIDLOOM_WINDOW_MS"] = str(WINDOW_MS)
    with embedded() as kafka:
        bootstrap, pid, folder = kafka
        warm = Settings(brokers=bootstrap, namespace="warm.")
        asyncio.run(_prepare(warm, Input(_ROWS_WARM)))
        ours.run(warm, Input(_ROWS_WARM), folder, pid)
        settings = Settings(brokers=bootstrap, namespace="bench.")
        whole = settings.topic(TELEMETRY_IN.name)
        asyncio.run(_prepare(settings, given))
        asyncio.run(_prepare_faust(settings, f"{whole}.faust", part))
        took: dict[str, Took | None] = {"gridloom": ours.run(settings, given, folder, pid)}
        for peer in PEERS:
            rows = part if peer.module == "faust_tables" else given
            job = Job(
                brokers=bootstrap,
                source=f"{whole}.faust" if rows is part else whole,
                results=settings.topic(f"results.{peer.module}"),
                messages=rows.messages,
                partitions=PARTITIONS,
                window_ms=WINDOW_MS,
                folder=str(folder / peer.module),
            )
            took[peer.name] = race(peer, settings, job, rows.rows, pid)
            if took[peer.name] is not None:
                rows.check(peer.name, asyncio.run(_windows(settings, peer.name, job.results)))
        note = _NOTE.format(n=f"{part.rows:,}")
        yield from cases("pipeline", "json-to-rack-windows", dict(took), note)
        both = Settings(brokers=bootstrap, namespace="usage.")
        asyncio.run(_prepare(both, given))
        took["gridloom"] = ours.run(both, given, folder, pid, beside=(ours.METER,))
        yield from cases("pipeline", "json-to-rack-windows-and-usage", took, note)


async def _prepare(settings: Settings, given: Input) -> None:
    say(f"writing {given.rows:,} events")
    await ours.prepare(settings)
    await write_input(settings, settings.topic(TELEMETRY_IN.name), given)


async def _prepare_faust(settings: Settings, faust: str, part: Input) -> None:
    say(f"writing the first {part.rows:,} for plain Faust")
    await create_input(settings, faust)
    await write_input(settings, faust, part)


async def _windows(settings: Settings, name: str, topic: str) -> Windows:
    """A peer's results; one that comes twice is wrong."""
    windows = {}
    async for record in read_all(settings, topic):
        row = orjson.loads(record.value)
        key = row["rack"], row["start_ms"]
        if key in windows:
            raise WrongResultError(f"{name} sent the window {key} twice")
        windows[key] = Window(row["count"], row["sum"], row["mean"], row["max"])
    return windows
