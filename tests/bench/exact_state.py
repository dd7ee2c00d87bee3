"""Case `state` of the exact suite: one partition with the state of 100,000 meters."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import streams.agents  # noqa: F401  (registers the stages)
from schemas.telemetry import IT_ENERGY
from streams.agent import STAGES, Batch
from streams.client import producer
from streams.journal import Cut, Journal
from streams.registry import EMPTY
from streams.settings import Settings
from streams.topics import create_topics
from tests.bench.case import Case, say
from tests.bench.metered import BATCH_ROWS, Quarters

_METERS, _METERS_QUICK = 100_000, 2_000
_QUARTERS = 192  # 48 h
_SAVE_EVERY = 8
_ROUNDS = 40  # saves after the first one, as a worker goes on
_STAGE = STAGES["meter.readings"]
_SETTLED_S, _COMPACTED_S = 40.0, 300.0  # the cleaner looks every 15 s


@dataclass
class _Measured:
    first_s: float
    first_bytes: int
    save_s: list[float]
    save_bytes: list[int]
    load_s: float
    copy_s: float
    log_bytes: int


def state(bootstrap: str, broker_folder: Path, quick: bool) -> Iterator[Case]:
    """Load time, first and later saves' size and time, log size after compaction."""
    meters = _METERS_QUICK if quick else _METERS
    settings = Settings(brokers=bootstrap, namespace="state.")
    given = Quarters(meters=meters, accounts=50, registers=(IT_ENERGY,))
    found = asyncio.run(_measure(settings, broker_folder, given))
    readings = meters * _QUARTERS
    middle = sorted(found.save_s)[len(found.save_s) // 2]
    for metric, value, unit in (
        ("load", found.load_s, "s"),
        ("take-over by another owner, its first save", found.copy_s, "s"),
        ("first save", found.first_s, "s"),
        ("first save", found.first_bytes / 1e6, "MB"),
        ("later save of 16,000 rows, median", 1000 * middle, "ms"),
        ("later save of 16,000 rows, longest", 1000 * max(found.save_s), "ms"),
        (
            "later save of 16,000 rows, mean",
            sum(found.save_bytes) / len(found.save_bytes) / 1e3,
            "KB",
        ),
        ("log after compaction", found.log_bytes / 1e6, "MB"),
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
            note="one partition, 48 h of quarter-hours, journal on the embedded Kafka",
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
        began_s = time.perf_counter()
        first_bytes = await journal.save(cut)
        first_s = time.perf_counter() - began_s
        say(f"state: first save {first_s:.1f} s, {first_bytes / 1e6:.0f} MB")
        save_s, save_bytes = [], []
        for number in range(rows // BATCH_ROWS, rows // BATCH_ROWS + _ROUNDS * _SAVE_EVERY):
            _apply(cut, given, number)
            if number % _SAVE_EVERY == _SAVE_EVERY - 1:
                began_s = time.perf_counter()
                save_bytes.append(await journal.save(cut))
                save_s.append(time.perf_counter() - began_s)
        held, offset = len(cut.state), cut.offset  # type: ignore[arg-type]
        del cut
        began_s = time.perf_counter()
        taken = (await journal.load({0}, generation=2))[0]
        load_s = time.perf_counter() - began_s
        assert (len(taken.state), taken.offset) == (held, offset)  # type: ignore[arg-type]
        say(f"state: loaded in {load_s:.1f} s")
        began_s = time.perf_counter()
        await journal.save(taken)  # the new owner copies the parts, and deletes the old ones
        copy_s = time.perf_counter() - began_s
    written, log_bytes = await _compacted(
        folder / "data" / f"{settings.topic(_STAGE.journal_topic)}-0"
    )
    say(f"state: log of {written / 1e6:.0f} MB is {log_bytes / 1e6:.0f} MB after compaction")
    return _Measured(first_s, first_bytes, save_s, save_bytes, load_s, copy_s, log_bytes)


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
