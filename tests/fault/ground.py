"""The ground that scenarios run on: brokers as a user would have them, and what to break there."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from streams.broker import Broker
from streams.settings import Settings

# Compaction and retention within a run's seconds, and the time of a broker's start kept short.
PROPERTIES = {
    "log.cleaner.backoff.ms": "500",
    "log.retention.check.interval.ms": "1000",
    "log.initial.task.delay.ms": "1000",
}


@dataclass(frozen=True)
class Ground:
    """Brokers that run; `settings` of the feed and the watch, `environment` of the workers.

    broken: what scenarios break (a Broker, a Cluster, a Proxy, a Disk).
    """

    settings: Settings
    environment: dict[str, str] = field(default_factory=dict)
    broken: Any = None


Say = Callable[[str], None]
GROUNDS: dict[str, Callable[[Say], AbstractContextManager[Ground]]] = {}


def ground(
    name: str,
) -> Callable[[Callable[[Say], Iterator[Ground]]], Callable[[Say], AbstractContextManager[Ground]]]:
    """Register a ground under its name."""

    def register(
        make: Callable[[Say], Iterator[Ground]],
    ) -> Callable[[Say], AbstractContextManager[Ground]]:
        GROUNDS[name] = contextmanager(make)
        return GROUNDS[name]

    return register


@ground("plain")
def plain(say: Say) -> Iterator[Ground]:
    """One embedded broker."""
    broker = Broker("fault", ephemeral=True, properties=PROPERTIES, on_progress=say)
    with broker as bootstrap:
        yield Ground(Settings(brokers=bootstrap), {"GRIDLOOM_BROKERS": bootstrap}, broker)


async def restart(broker: Broker) -> None:
    """Start a killed broker again; the feed and the watch go on meanwhile."""
    await asyncio.to_thread(broker.start)
