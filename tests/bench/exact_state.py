"""Case `state` of the exact suite: one partition with the state of 100,000 meters."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

import streams.agents  # noqa: F401  (registers the stages)
from schemas.telemetry import IT_ENERGY
from streams.agent import STAGES, Batch
from streams.client import admin, producer
from streams.journal import Cut, Journal
from streams.registry import EMPTY
from streams.settings import Settings
from streams.topics import create_topics, wanted
from tests.bench.case import Case, say
from tests.bench.metered import BATCH_ROWS, Quarters

_METERS, _METERS_QUICK = 100_000, 2_000
_QUARTERS = 192  # 48 h
_SAVE_EVERY = 8
_ROUNDS = 40  # saves after the first one, as a worker goes on
_STAGE = STAGES["meter.readings"]
_SETTLED_S, _COMPACTED_S = 35.0, 150.0  # the cleaner looks every 15 s
# The journal's topic rolls its newest segment after 10 minutes: the measurement does not wait.
_ROLLED_MS = 1_000


class Span(NamedTuple):
    """What something took: seconds by the clock, and of this process' CPU time."""

    wall_s: float
    cpu_s: float


class Watch:
    """Measures from its making."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def span(self) -> Span:
        return Span(time.perf_counter() - self._began[0], time.process_time() - self._began[1])


@dataclass
class _Measured:
    first: Span
    first_bytes: int
    saves: list[Span]
    save_bytes: list[int]
    load: Span
    copy: Span
    state_bytes: int
    written: int
    log_bytes: int


def state(bootstrap: str, broker_folder: Path, quick: bool) -> Iterator[Case]:
    """Load time, first and later saves' size and time, log size after compaction."""
    meters = _METERS_QUICK if quick else _METERS
    settings = Settings(brokers=bootstrap, namespace="state.")
    given = Quarters(meters=meters, accounts=50, registers=(IT_ENERGY,))
    found = asyncio.run(_measure(settings, broker_folder, given))
    readings = meters * _QUARTERS
    middle = sorted(found.saves)[len(found.saves) // 2]
    later = f"later save of {_SAVE_EVERY * BATCH_ROWS:,} rows"
    for metric, value, unit, cpu_s in (
        ("load", found.load.wall_s, "s", found.load.cpu_s),
        ("first save of a new owner", found.copy.wall_s, "s", found.copy.cpu_s),
        ("first save", found.first.wall_s, "s", found.first.cpu_s),
        ("first save", found.first_bytes / 1e6, "MB", None),
        (f"{later}, median", 1_000 * middle.wall_s, "ms", middle.cpu_s),
        (f"{later}, mean", sum(found.save_bytes) / len(found.save_bytes) / 1e3, "KB", None),
        ("state", found.state_bytes / 1e6, "MB", None),
        ("log before compaction, two copies", found.written / 1e6, "MB", None),
        ("log after compaction", found.log_bytes / 1e6, "MB", None),
    ):
        yield Case(
            suite="exact",
            case=f"state-{meters}-meters",
            metric=metric,
            value=value,
            unit=unit,
            peers={},
            better="lower",
            n=readings,
            note="one partition, 48 h of quarter-hours, journal on the embedded Kafka"
            + (f"; {cpu_s:.3f} s of CPU" if cpu_s is not None else ""),
        )


async def _measure(settings: Settings, folder: Path, given: Quarters) -> _Measured:
    await create_topics(settings)
    rows = given.meters * _QUARTERS
    cut = Cut(0, 1, -1, _STAGE.state())
    say(f"state: {rows:,} readings")
    for number in range(rows // BATCH_ROWS):
        _apply(cut, given, number)
    async with producer(settings) as client:
        journal = Journal(settings, _STAGE, client)
        watch = Watch()
        first_bytes = await journal.save(cut)
        first = watch.span()
        say(f"state: first save {first.wall_s:.1f} s, {first_bytes / 1e6:.0f} MB")
        saves, save_bytes = [], []
        for number in range(rows // BATCH_ROWS, rows // BATCH_ROWS + _ROUNDS * _SAVE_EVERY):
            _apply(cut, given, number)
            if number % _SAVE_EVERY == _SAVE_EVERY - 1:
                watch = Watch()
                save_bytes.append(await journal.save(cut))
                saves.append(watch.span())
        held, offset = len(cut.state), cut.offset  # type: ignore[arg-type]
        del cut
        watch = Watch()
        taken = (await journal.load({0}, generation=2))[0]
        load = watch.span()
        assert (len(taken.state), taken.offset) == (held, offset)  # type: ignore[arg-type]
        say(f"state: loaded in {load.wall_s:.1f} s")
        watch = Watch()
        # the new owner copies the parts, and deletes the old ones
        state_bytes = await journal.save(taken)
        copy = watch.span()
        await _roll_soon(settings)
        await journal.save(taken)  # the first record after that time begins another segment
    written, log_bytes = await _compacted(
        folder / "data" / f"{settings.topic(_STAGE.journal_topic)}-0"
    )
    say(f"state: log of {written / 1e6:.0f} MB is {log_bytes / 1e6:.0f} MB after compaction")
    return _Measured(
        first, first_bytes, saves, save_bytes, load, copy, state_bytes, written, log_bytes
    )


async def _roll_soon(settings: Settings) -> None:
    """Let the journal's newest segment be old enough to be rolled, as it would be in time."""
    configs = dict.fromkeys(("segment.ms", "max.compaction.lag.ms"), str(_ROLLED_MS))
    topic = settings.topic(_STAGE.journal_topic)
    resource = ConfigResource(
        ConfigResourceType.TOPIC, topic, wanted(settings)[topic].topic_configs | configs
    )
    async with admin(settings) as client:
        await client.alter_configs([resource])
    await asyncio.sleep(2 * _ROLLED_MS / 1_000)


async def _compacted(folder: Path) -> tuple[int, int]:
    """(bytes now, bytes once the broker's cleaner has come to rest) of a partition's folder."""
    written = size = _bytes(folder)
    deadline_s = time.monotonic() + _COMPACTED_S
    still_s = time.monotonic()
    while time.monotonic() < deadline_s and time.monotonic() - still_s < _SETTLED_S:
        await asyncio.sleep(1.0)
        if (now := _bytes(folder)) != size:
            size, still_s = now, time.monotonic()
    return written, size


def _bytes(folder: Path) -> int:
    """Of the segments that count: a replaced one waits a minute to be removed."""
    return sum(path.stat().st_size for path in folder.glob("*.log"))


def _apply(cut: Cut, given: Quarters, number: int) -> None:
    emit = _STAGE.step(cut.state, Batch(_STAGE.source, 0, number, given.batch(number), EMPTY))
    assert emit.accepted == BATCH_ROWS
    cut.offset = number
