"""Lag: how far each agent's consumer group is behind the topics that it reads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError

from schemas import MARKET_IN, TELEMETRY_IN
from streams.agent import STAGES
from streams.client import admin, consumer
from streams.settings import Settings

INGEST = "ingest"


def sources_of_agents() -> dict[str, list[str]]:
    """Agent -> the topics it reads, in the order in which rows pass through them."""
    sources = {INGEST: [TELEMETRY_IN.name, MARKET_IN.name]}
    for stage in STAGES.values():
        sources.setdefault(stage.agent, []).append(stage.source.name)
    return {agent: sources[agent] for agent in sorted(sources, key=lambda a: (_depth(a), a))}


def _depth(agent: str) -> int:
    """How many agents stand before it at most."""
    sources = [stage.source for stage in STAGES.values() if stage.agent == agent]
    before = {writer for topic in sources for writer in topic.written_by} - {agent}
    return 1 + max(map(_depth, before), default=0)


@dataclass(slots=True)
class Lag:
    """Messages that an agent has read and saved, and those it has not."""

    done: int = 0
    behind: int = 0


@dataclass(frozen=True, slots=True)
class Moment:
    """Ends of all source topics, then the lag of each agent against them."""

    ends: dict[TopicPartition, int] = field(default_factory=dict)
    lags: dict[str, Lag] = field(default_factory=dict)

    @property
    def idle(self) -> bool:
        """Nobody was behind the ends as they were."""
        return all(lag.behind == 0 for lag in self.lags.values())


class LagWatch:
    """Asks the cluster again and again over the same connections."""

    def __init__(self, settings: Settings, admin_client: Any, consumer_client: Any) -> None:
        self._settings, self._admin, self._consumer = settings, admin_client, consumer_client
        self._sources = sources_of_agents()
        self._tps: dict[str, list[TopicPartition]] = {}  # agent -> what it reads

    async def now(self) -> Moment:
        """The ends first, the commits after them: a lag of 0 holds for those ends."""
        if not self._tps:
            self._tps = await self._partitions()
        every = sorted({tp for tps in self._tps.values() for tp in tps})
        ends = await self._consumer.end_offsets(every) if every else {}
        lags = {agent: await self._lag(agent, tps, ends) for agent, tps in self._tps.items()}
        return Moment(ends, lags)

    async def _lag(
        self, agent: str, tps: list[TopicPartition], ends: dict[TopicPartition, int]
    ) -> Lag:
        group = self._settings.topic(f"gridloom.{agent}")
        try:
            committed = await self._admin.list_consumer_group_offsets(group)
        except GroupCoordinatorNotAvailableError:
            committed = {}  # the first group of a new cluster: nobody has committed yet
        lag = Lag()
        for tp in tps:
            done = max(0, committed[tp].offset) if tp in committed else 0
            lag.done += done
            lag.behind += max(0, ends[tp] - done)
        return lag

    async def _partitions(self) -> dict[str, list[TopicPartition]]:
        names = {self._settings.topic(n) for sources in self._sources.values() for n in sources}
        described = await self._admin.describe_topics(sorted(names))
        present = {
            topic["topic"]: [p["partition"] for p in topic["partitions"]]
            for topic in described
            if topic["error_code"] == 0
        }
        return {
            agent: [
                TopicPartition(name, partition)
                for name in map(self._settings.topic, sources)
                for partition in present.get(name, [])
            ]
            for agent, sources in self._sources.items()
        }


@asynccontextmanager
async def watch(settings: Settings) -> AsyncIterator[LagWatch]:
    """A watch with its connections."""
    async with admin(settings) as admin_client, consumer(settings) as consumer_client:
        yield LagWatch(settings, admin_client, consumer_client)


def settled(before: Moment, after: Moment) -> bool:
    """Whether the whole pipeline has come to its end.

    Everybody had saved everything up to the ends of `before`, and what their outputs made of it
    moved no end until `after`: there is nothing left to read for anybody.
    """
    return before.idle and after.idle and before.ends == after.ends
