"""Playing a feed: registered first, every message as the feed gives it, at the speed asked for."""

from uuid import uuid4

import pytest

from schemas import MARKET_IN, REGISTRY, TELEMETRY_IN
from schemas.delivery import out_topic
from schemas.errors import GridloomError
from schemas.registry import Contract
from streams.client import BrokerUnreachableError, partitions_of, read_all
from streams.feeds import EightHubs
from streams.feeds.player import play, wait_s
from streams.settings import Settings
from streams.topics import create_topics


@pytest.fixture
async def settings(broker: str) -> Settings:
    """A namespace of its own on the broker, with its topics."""
    settings = Settings(brokers=broker, namespace=f"feeds-{uuid4().hex[:8]}.")
    await create_topics(settings)
    return settings


@pytest.mark.kafka
async def test_what_is_read_is_what_the_feed_gives(settings: Settings) -> None:
    feed, shown = EightHubs(hours=1, racks=1), list[int]()
    assert await play(feed, settings, on_progress=shown.append) == feed.count()
    assert shown == sorted(shown)
    assert shown[-1] == feed.count()
    for topic in (TELEMETRY_IN.name, MARKET_IN.name):
        wanted = [event for event in feed.events() if event.topic == topic]
        found = [record async for record in read_all(settings, settings.topic(topic))]
        for partition in {event.partition for event in wanted}:
            assert [
                (r.value, r.timestamp, tuple(r.headers)) for r in found if r.partition == partition
            ] == [(e.value, e.timestamp_ms, e.headers) for e in wanted if e.partition == partition]
    keys = [r.key.decode() async for r in read_all(settings, settings.topic(REGISTRY.name))]
    assert keys == [entry.key for entry in feed.entries()]
    granted = [settings.topic(out_topic(e.id)) for e in feed.entries() if isinstance(e, Contract)]
    assert set(await partitions_of(settings, granted)) == set(granted)


@pytest.mark.parametrize(
    ("event_ms", "speed", "passed_s", "wait"),
    [
        (3_600_000, 60.0, 0.0, 60.0),  # an hour a minute
        (3_600_000, 60.0, 45.0, 15.0),
        (3_600_000, 60.0, 61.0, 0.0),  # late: at once
        (3_600_000, 0.5, 0.0, 7200.0),  # slower than the clock
        (3_600_000, 0.0, 0.0, 0.0),  # as fast as it goes
    ],
)
def test_speed_is_event_time_over_wall_time(
    event_ms: int, speed: float, passed_s: float, wait: float
) -> None:
    assert wait_s(event_ms, speed, passed_s) == wait


async def test_a_broker_that_is_away_is_said_with_the_next_step() -> None:
    with pytest.raises(BrokerUnreachableError, match=r"127\.0\.0\.1:1") as raised:
        await play(EightHubs(hours=1, racks=1), "127.0.0.1:1")
    assert "GRIDLOOM_BROKERS" in raised.value.next_step


@pytest.mark.kafka
async def test_topics_that_are_absent_are_named_at_once(broker: str) -> None:
    settings = Settings(brokers=broker, namespace=f"feeds-{uuid4().hex[:8]}.")
    with pytest.raises(GridloomError, match=settings.topic(MARKET_IN.name)) as raised:
        await play(EightHubs(hours=1, racks=1), settings)
    assert "topics --create" in raised.value.next_step


async def test_a_negative_speed_is_refused() -> None:
    with pytest.raises(GridloomError, match="speed is -1"):
        await play(EightHubs(hours=1, racks=1), "127.0.0.1:1", speed=-1)
