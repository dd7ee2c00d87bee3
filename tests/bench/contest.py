"""Peers run as processes: which are installed, how one is run, and what it took."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import orjson

from schemas.errors import GridloomError
from streams.settings import Settings
from tests.bench.case import Case, say
from tests.bench.cluster import create_results, last_written_ms
from tests.bench.peers import Job
from tests.bench.usage import Used

_PEER_S = 600.0


@dataclass(frozen=True, slots=True)
class Contestant:
    """A peer: its module under tests.bench.peers, and the packages it needs."""

    name: str
    module: str
    packages: tuple[str, ...]

    @property
    def absent(self) -> list[str]:
        """The packages that are not installed."""
        return [package for package in self.packages if not _is_installed(package)]


@dataclass(frozen=True, slots=True)
class Took:
    """Wall seconds from the first event in hand to the last result, and CPU seconds meanwhile.

    start_s: wall seconds before that, from the start of its processes.
    shares: CPU seconds of each process, in words, where there are several.
    """

    rows: int
    wall_s: float
    cpu_s: float
    broker_cpu_s: float
    start_s: float
    shares: str = ""

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.wall_s

    @property
    def cpu_s_per_million(self) -> float:
        """Of its own processes."""
        return self.cpu_s / self.rows * 1e6

    @property
    def all_cpu_s_per_million(self) -> float:
        """Of its own processes and the broker."""
        return (self.cpu_s + self.broker_cpu_s) / self.rows * 1e6


FIGURES = (
    ("throughput", "rows/s", "higher", Took.rows_per_s),
    ("cpu-with-broker", "s/M rows", "lower", Took.all_cpu_s_per_million),
    ("cpu", "s/M rows", "lower", Took.cpu_s_per_million),
    ("start-up", "s", "lower", Took.start_s),
)


def cases(suite: str, case: str, took: dict[str, Took | None], note: str) -> Iterator[Case]:
    """A case a figure; the first that took part is gridloom."""
    ours = took.pop("gridloom")
    assert ours is not None
    note = "; ".join(filter(None, (note, ours.shares)))
    for name, one in {"gridloom": ours, **took}.items():
        if one is not None:
            say(
                f"{case} {name}: {one.rows_per_s:,.0f} rows/s, {one.cpu_s_per_million:.2f} s of "
                f"CPU a million rows, {one.all_cpu_s_per_million:.2f} with the broker; "
                f"started in {one.start_s:.1f} s"
            )
    for metric, unit, better, figure in FIGURES:
        yield Case(
            suite=suite,
            case=case,
            metric=metric,
            value=figure.__get__(ours),
            unit=unit,
            peers={name: one and figure.__get__(one) for name, one in took.items()},
            better=better,  # type: ignore[arg-type]
            n=ours.rows,
            note=note,
        )


def race(peer: Contestant, settings: Settings, job: Job, rows: int, broker_pid: int) -> Took | None:
    """Run one peer to its end; None where it is not installed."""
    if peer.absent:
        say(f"{peer.name} is not run: {' and '.join(peer.absent)} not installed")
        say("next: pip install 'gridloom[bench]'")
        return None
    asyncio.run(create_results(settings, job.results, job.partitions))
    Path(job.folder).mkdir()
    launched_ms = time.time() * 1000
    with Used([broker_pid]) as used:
        run(peer.name, peer.module, job)
    ended_ms = asyncio.run(last_written_ms(settings, [job.results]))
    started_ms = job.started_ms()
    (broker_cpu_s,) = used.between(started_ms, ended_ms)
    wall_s, start_s = (ended_ms - started_ms) / 1000, (started_ms - launched_ms) / 1000
    return Took(rows, wall_s, job.used_cpu_s(), broker_cpu_s, start_s)


def run(name: str, module: str, job: Job) -> None:
    """A peer's process; raises GridloomError with the end of its log where it fails."""
    command = [sys.executable, "-m", f"tests.bench.peers.{module}"]
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
            raise GridloomError(f"{name} did not finish in {_PEER_S:.0f} s") from None
    if done.returncode:
        raise GridloomError(f"{name} failed", log.read_text(errors="replace")[-1000:])


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
