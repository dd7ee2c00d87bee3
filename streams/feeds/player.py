"""Plays a feed into the input topics: what it registers first, then its events at a speed."""

import asyncio
from collections.abc import Callable

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas import MARKET_IN, REGISTRY, TELEMETRY_IN, GridloomError
from schemas.delivery import out_topic
from schemas.registry import Contract, format_entry
from streams.client import partitions_of, producer
from streams.feeds.feed import Event, Feed
from streams.settings import Settings
from streams.settings import settings as environment
from streams.topics import create_topics

_LINGER_MS = 5
_BATCH_BYTES = 512 << 10
_IN_FLIGHT = 1_000  # messages that are not durable yet: bounds memory, and shows an error early
_PROGRESS_ROWS = 2_000

Progress = Callable[[int], None]


async def play(
    feed: Feed,
    brokers: str | Settings,
    *,
    speed: float = 0.0,
    on_progress: Progress | None = None,
) -> int:
    """Play a feed to its end; returns the rows that are durable in the input topics.

    brokers: host:port,..., or settings where namespace, login or TLS are not the environment's.
    speed: event time passes so many times as fast as the clock; 0 = as fast as it goes.
    on_progress: called with the rows sent so far; feed.count() is its end.
    Raises GridloomError: no broker answers, a topic is absent, or the broker refuses a message.
    """
    if speed < 0:
        raise GridloomError(f"speed is {speed}", "0 plays as fast as it goes, 60 an hour a minute")
    settings = brokers if isinstance(brokers, Settings) else _at(brokers)
    await _require_topics(settings)
    await create_topics(
        settings, [out_topic(entry.id) for entry in feed.entries() if isinstance(entry, Contract)]
    )
    options = {"linger_ms": _LINGER_MS, "max_batch_size": _BATCH_BYTES}
    async with producer(settings, **options) as client:
        try:
            await _register(feed, settings, client)
            return await _Playback(settings, client, speed, on_progress).run(feed)
        except KafkaError as error:
            raise GridloomError(
                f"the broker at {settings.brokers} refused a message of {feed.name}: {error}",
                "`gridloom doctor` says what is wrong; playing again is safe",
            ) from error


def _at(brokers: str) -> Settings:
    return environment().model_copy(update={"brokers": brokers})


async def _require_topics(settings: Settings) -> None:
    """A Kafka client waits a minute for a topic that is not there, so ask first."""
    names = [settings.topic(topic.name) for topic in (REGISTRY, TELEMETRY_IN, MARKET_IN)]
    present = await partitions_of(settings, names)
    absent = [name for name in names if name not in present]
    if absent:
        raise GridloomError(
            f"no topic {', '.join(absent)} at {settings.brokers}", "`gridloom topics --create`"
        )


async def _register(feed: Feed, settings: Settings, client: AIOKafkaProducer) -> None:
    """Entries in their order, durable before the first event."""
    topic = settings.topic(REGISTRY.name)
    for entry in feed.entries():
        await client.send(topic, format_entry(entry), key=entry.key.encode())
    await client.flush()


def wait_s(event_ms: int, speed: float, passed_s: float) -> float:
    """Seconds until an event that is event_ms after the first is due; 0 = now, or late.

    speed 0: every event is due at once.
    """
    return max(0.0, event_ms / 1000 / speed - passed_s) if speed else 0.0


class _Playback:
    """One run over a feed's events."""

    def __init__(
        self,
        settings: Settings,
        client: AIOKafkaProducer,
        speed: float,
        on_progress: Progress | None,
    ) -> None:
        self._settings, self._client, self._speed = settings, client, speed
        self._on_progress = on_progress or (lambda rows: None)
        self._sends: list[asyncio.Future[object]] = []
        self._rows = self._shown = 0

    async def run(self, feed: Feed) -> int:
        loop = asyncio.get_running_loop()
        began_s, first_ms = loop.time(), -1
        for event in feed.events():
            if first_ms < 0:
                first_ms = event.timestamp_ms
            ahead_s = wait_s(event.timestamp_ms - first_ms, self._speed, loop.time() - began_s)
            if ahead_s > 0:
                self._show()
                await asyncio.sleep(ahead_s)
            await self._send(event)
        await self._durable()
        self._show()
        return self._rows

    async def _send(self, event: Event) -> None:
        future = await self._client.send(
            self._settings.topic(event.topic),
            event.value,
            key=event.key,
            partition=event.partition,
            timestamp_ms=event.timestamp_ms,
            headers=list(event.headers),
        )
        self._sends.append(future)
        self._rows += event.rows
        if self._rows - self._shown >= _PROGRESS_ROWS:
            self._show()
        if len(self._sends) >= _IN_FLIGHT:
            await self._durable()

    async def _durable(self) -> None:
        sends, self._sends = self._sends, []
        await asyncio.gather(*sends)

    def _show(self) -> None:
        self._shown = self._rows
        self._on_progress(self._rows)
