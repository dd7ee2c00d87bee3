"""gridloom in the pipeline suite: the ingest bridge and the rollup worker, as in production."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from subprocess import Popen

import orjson

import streams.agents  # noqa: F401  (registers the stages)
from schemas import REGISTRY, ROLLUPS, USAGE
from schemas.codec import decode, header_map
from schemas.errors import GridloomError
from schemas.registry import Account, AnyEntry, Band, Meter, Site, Tariff, format_entry
from schemas.units import MJ_PER_KWH, MS_PER_HOUR
from streams.agent import stages_of
from streams.client import producer, read_all
from streams.lag import Moment, watch
from streams.settings import Settings
from streams.worker import INGEST, spawn, stop_children
from tests.bench.case import say
from tests.bench.cluster import create_pipeline, last_written_ms
from tests.bench.contest import Took
from tests.bench.readings import (
    CLOSING_SITE,
    MJ_PER_QUANTUM,
    PARTITIONS,
    RACKS,
    READING_MS,
    SITES,
    Input,
    Window,
    Windows,
    WrongResultError,
)
from tests.bench.usage import Used

METER = "meter"
_ROLLUP = "rollup"
_START_S, _RUN_S = 60.0, 600.0
_POLL_S = 0.5
_ACCOUNT = "bench"
_KWH_PER_MW = READING_MS / MS_PER_HOUR / 1e6  # of mean power in mW over one reading


async def prepare(settings: Settings) -> None:
    """Topics and registry, before the input is written. Results and saves get the broker's date."""
    await create_pipeline(settings, written_by([_ROLLUP, METER]))
    async with producer(settings) as client:
        for entry in entries():
            await client.send(
                settings.topic(REGISTRY.name), format_entry(entry), key=entry.key.encode()
            )


def entries() -> list[AnyEntry]:
    racks = [*RACKS, *(f"{CLOSING_SITE}/rack-{number:04d}" for number in range(PARTITIONS))]
    return [
        Tariff(id="flat", bands=(Band(0, 24, 500_000),)),
        Account(id=_ACCOUNT, tariff_id="flat"),
        *(Site(id=site, hub_id="hub-0") for site in [*SITES, CLOSING_SITE]),
        *(
            Meter(id=rack, site_id=site, rack_id=name, account_id=_ACCOUNT)
            for rack in racks
            for site, name in [rack.split("/")]
        ),
    ]


def written_by(agents: Sequence[str]) -> list[str]:
    """The results and journals of these agents."""
    topics = {_ROLLUP: ROLLUPS.name, METER: USAGE.name}
    journals = [stage.journal_topic for agent in agents for stage in stages_of(agent)]
    return [*(topics[agent] for agent in agents), *journals]


def run(
    settings: Settings, given: Input, folder: Path, broker_pid: int, beside: Sequence[str] = ()
) -> Took:
    """From the bridge's first assignment to the last result or save, its windows checked.

    The rollup worker, and those `beside` it, are up and own their partitions before the bridge
    starts.
    """
    agents = [_ROLLUP, *beside]
    with ExitStack() as stack:
        launched_ms = time.time() * 1000
        logs = [start(agent, settings, folder, stack) for agent in agents]
        for agent, log in zip(agents, logs, strict=True):
            log.wait_for(partial(_are_loaded, log, len(stages_of(agent))))
        ingest_log = start(INGEST, settings, folder, stack)
        logs.append(ingest_log)
        used = stack.enter_context(Used([broker_pid, *(log.pid for log in logs)]))
        ingest_log.wait_for(lambda: bool(ingest_log.times("assigned")))
        asyncio.run(until_read(settings, [INGEST, *agents], logs))
        started_ms = ingest_log.times("assigned")[0]
    written = [settings.topic(name) for name in written_by(agents)]
    ended_ms = asyncio.run(last_written_ms(settings, written))
    broker_s, *own_s = used.between(started_ms, ended_ms)
    named = zip(["broker", *agents, INGEST], [broker_s, *own_s], strict=True)
    shares = "ours, s of CPU: " + ", ".join(f"{name} {s:.2f}" for name, s in named)
    say(shares)
    given.check("gridloom", asyncio.run(_results(settings, given)))
    if METER in beside:
        asyncio.run(_check_usage(settings, given))
    wall_s, start_s = (ended_ms - started_ms) / 1000, (started_ms - launched_ms) / 1000
    return Took(given.rows, wall_s, sum(own_s), broker_s, start_s, shares)


def _are_loaded(log: "Log", stages: int) -> bool:
    return len(log.times("loaded")) >= stages


class Log:
    """What a worker logged, and whether it still runs."""

    def __init__(self, agent: str, path: Path, process: "Popen[bytes]") -> None:
        self._agent, self._path, self._process = agent, path, process
        self.pid = process.pid

    def times(self, event: str) -> list[float]:
        """When it logged this event, UTC ms."""
        lines = [orjson.loads(x) for x in self._path.read_bytes().splitlines() if x[:1] == b"{"]
        return [
            datetime.fromisoformat(line["timestamp"]).timestamp() * 1000
            for line in lines
            if line.get("event") == event
        ]

    def wait_for(self, met: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_S
        while not met():
            self.check_alive()
            if time.monotonic() > deadline:
                raise GridloomError(f"the {self._agent} process did not start", self._tail())
            time.sleep(0.01)  # what is measured begins where it ends

    def check_alive(self) -> None:
        if self._process.poll() is not None:
            raise GridloomError(f"the {self._agent} process ended", self._tail())

    def _tail(self) -> str:
        return self._path.read_text(errors="replace")[-1000:]


def start(agent: str, settings: Settings, folder: Path, stack: ExitStack) -> Log:
    path = folder / f"{agent}.log"
    stderr = stack.enter_context(path.open("wb"))
    process = spawn(agent, settings, stderr=stderr)
    stack.callback(stop_children, [process])
    return Log(agent, path, process)


async def until_read(settings: Settings, agents: Sequence[str], logs: Sequence[Log]) -> None:
    """Returns when the bridge has read every input row and the agents have saved all it made.

    Nobody is behind, twice, and nothing was written between the two.
    """
    deadline = time.monotonic() + _RUN_S
    before: Moment | None = None
    async with watch(settings) as lags:
        while True:
            moment = await lags.now()
            idle = all(moment.lags[agent].behind == 0 for agent in agents)
            if idle and before is not None and before.ends == moment.ends:
                return
            before = moment if idle else None
            for log in logs:
                log.check_alive()
            if time.monotonic() > deadline:
                raise GridloomError("gridloom did not finish in time", "see the processes' logs")
            await asyncio.sleep(_POLL_S)


async def _results(settings: Settings, given: Input) -> Windows:
    """The latest revision of each rack window, in kWh; their energy must be exact in mJ."""
    newest: dict[tuple[str, int], dict[str, int]] = {}
    names = ["id", "start_ms", "revision", "count", "energy_mj", "max"]
    async for record in read_all(settings, settings.topic(ROLLUPS.name)):
        batch = decode(ROLLUPS, record.value, header_map(record.headers))
        racks = [level == "rack" for level in batch.column("level").to_pylist()]
        for row in batch.select(names).filter(racks).to_pylist():
            key = row["id"], row["start_ms"]
            if key not in newest or row["revision"] >= newest[key]["revision"]:
                newest[key] = row
    _check_energy("windows", sum(row["energy_mj"] for row in newest.values()), given)
    return {key: _window(row) for key, row in newest.items()}


async def _check_usage(settings: Settings, given: Input) -> None:
    """Raises WrongResultError unless the highest revisions of usage have the energy, in mJ."""
    newest: dict[tuple[str, int], tuple[int, int]] = {}
    names = ["meter_id", "end_ms", "revision", "quantity"]
    async for record in read_all(settings, settings.topic(USAGE.name)):
        batch = decode(USAGE, record.value, header_map(record.headers))
        for meter, end_ms, *found in zip(
            *(batch.column(name).to_pylist() for name in names), strict=True
        ):
            newest[meter, end_ms] = max(newest.get((meter, end_ms), (-1, 0)), tuple(found))
    _check_energy("usage", sum(quantity for _, quantity in newest.values()), given)


def _check_energy(where: str, metered_mj: int, given: Input) -> None:
    sent_mj = MJ_PER_QUANTUM * sum(reading.quanta for reading in given.readings())
    if metered_mj != sent_mj:
        raise WrongResultError(f"gridloom has {metered_mj} mJ in its {where}, {sent_mj} were sent")


def _window(row: dict[str, int]) -> Window:
    total_kwh = row["energy_mj"] / MJ_PER_KWH
    return Window(row["count"], total_kwh, total_kwh / row["count"], row["max"] * _KWH_PER_MW)
