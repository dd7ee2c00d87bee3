"""Pipeline: rows/s from telemetry.in (single JSON events) to windows by rack, beside peers.

One embedded broker for all; contestants run one after another on the same events, written
beforehand. Measured for everyone: from the first event in the program's hands (ours even earlier:
from the assignment of the partitions, before the first fetch) until the broker's own date on the
last result. Start-up, topic creation and the group's first rebalance are before that for everyone.
Every window of every contestant is compared with the input's; a wrong one fails the case.

Ours does more in that time: it validates each row against the registry, has dead letters, saves its
state with the offsets (the last save counts into its time) and finds p95, sites, hubs and PUE.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import orjson

from kernels.rollup import WINDOW_MS
from schemas import TELEMETRY_IN
from schemas.errors import GridloomError
from streams.broker import Broker
from streams.client import read_all
from streams.settings import Settings
from tests.bench import ours
from tests.bench.case import Case, say, suite
from tests.bench.cluster import create_input, create_results, last_written_ms, write_input
from tests.bench.peers import Job
from tests.bench.readings import PARTITIONS, Input, Window, Windows, WrongResultError

_ROWS, _ROWS_QUICK = 500_000, 50_000
_ROWS_FAUST = 50_000  # at its speed 500,000 would take two minutes
_ROWS_FAUST_QUICK = 20_000
_PEER_S = 600.0
_NOTE = (
    "ours: two processes (ingest, rollup) with validation, dead letters, journal, p95, site and "
    "hub windows; peers: one process each, rack windows only. plain Faust: rows/s on the first {n} "
    "rows"
)


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer: its module under tests.bench.peers, the packages it needs, its input and topic."""

    name: str
    module: str
    packages: tuple[str, ...]
    given: Input
    source: str

    @property
    def absent(self) -> list[str]:
        """The packages that are not installed."""
        return [package for package in self.packages if not _is_installed(package)]


@suite("pipeline", "rows/s from telemetry.in (JSON events) to rack windows, beside three peers")
def pipeline(quick: bool) -> Iterator[Case]:
    """One case: rows/s of ours, plain Faust tables, Quix Streams, confluent-kafka + polars."""
    given = Input(_ROWS_QUICK if quick else _ROWS)
    part = Input(_ROWS_FAUST_QUICK if quick else _ROWS_FAUST)
    os.environ["GRIDLOOM_LOG_FORMAT"], os.environ["GRIDLOOM_LOG_LEVEL"] = "json", "info"
    broker = Broker(ephemeral=True, on_progress=say)
    with broker as bootstrap, tempfile.TemporaryDirectory(prefix="gridloom-bench-") as folder:
        settings = Settings(brokers=bootstrap, namespace="bench.")
        whole = settings.topic(TELEMETRY_IN.name)
        peers = [
            Peer("faust", "faust_tables", ("faust-streaming",), part, f"{whole}.faust"),
            Peer("quixstreams", "quix_windows", ("quixstreams",), given, whole),
            Peer(
                "confluent-kafka+polars", "polars_loop", ("confluent-kafka", "polars"), given, whole
            ),
        ]
        asyncio.run(_prepare(settings, peers[0], given))
        say(f"gridloom: {given.rows:,} rows")
        rows_per_s = given.rows / ours.run(settings, given, Path(folder))
        say(f"gridloom: {rows_per_s:,.0f} rows/s")
        yield Case(
            suite="pipeline",
            case="json-to-rack-windows",
            metric="throughput",
            value=rows_per_s,
            unit="rows/s",
            peers={peer.name: _rows_per_s(peer, settings, folder) for peer in peers},
            n=given.rows,
            note=_NOTE.format(n=f"{part.rows:,}"),
        )


async def _prepare(settings: Settings, faust: Peer, given: Input) -> None:
    say(f"writing {given.rows:,} events, and the first {faust.given.rows:,} for plain Faust")
    await ours.prepare(settings)
    await write_input(settings, settings.topic(TELEMETRY_IN.name), given)
    await create_input(settings, faust.source)
    await write_input(settings, faust.source, faust.given)


def _rows_per_s(peer: Peer, settings: Settings, folder: str) -> float | None:
    """Run one peer; None where it is not installed."""
    if peer.absent:
        say(f"{peer.name} is not run: {' and '.join(peer.absent)} not installed")
        say("next: pip install 'gridloom[bench]'")
        return None
    say(f"{peer.name}: {peer.given.rows:,} rows")
    results = settings.topic(f"results.{peer.module}")
    asyncio.run(create_results(settings, results, PARTITIONS))
    state = Path(folder, peer.module)
    state.mkdir()
    job = Job(
        brokers=settings.brokers,
        source=peer.source,
        results=results,
        messages=peer.given.messages,
        partitions=PARTITIONS,
        window_ms=WINDOW_MS,
        folder=str(state),
    )
    _run(peer, job)
    ended_ms = asyncio.run(last_written_ms(settings, [results]))
    peer.given.check(peer.name, asyncio.run(_windows(settings, peer.name, results)))
    rows_per_s = peer.given.rows / (ended_ms - job.started_ms()) * 1000
    say(f"{peer.name}: {rows_per_s:,.0f} rows/s")
    return rows_per_s


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _run(peer: Peer, job: Job) -> None:
    command = [sys.executable, "-m", f"tests.bench.peers.{peer.module}"]
    log = Path(job.folder, "log")
    with log.open("wb") as file:
        try:
            done = subprocess.run(
                [*command, orjson.dumps(asdict(job)).decode()],
                stdout=file,
                stderr=file,
                timeout=_PEER_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise GridloomError(f"{peer.name} did not finish in {_PEER_S:.0f} s") from None
    if done.returncode:
        raise GridloomError(f"{peer.name} failed", log.read_text(errors="replace")[-1000:])


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
