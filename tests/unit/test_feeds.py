"""What holds for every feed, whatever it plays."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from schemas import MARKET_IN, TELEMETRY_IN, TOPICS, partition_of
from schemas.codec import NDJSON, header_map
from schemas.errors import ConfigError
from schemas.market import MARKET_KINDS
from schemas.registry import Account, Domain, Meter, Site, Tariff, format_entry, parse_entry
from streams.feeds import FEEDS, EightHubs, Feed, open_feed
from streams.feeds.feed import Event
from streams.ingest.admission import Admitted, Source, admit
from streams.ingest.ticks import TickClock
from streams.registry import Registry

# name, options, the ticks it must bring about
SHORT: list[tuple[str, dict[str, Any], int]] = [
    ("eight-hubs", {"hours": 3}, 3),
    ("rts-gmlc", {"days": 1, "start_day": 200}, 24),
    ("rts-gmlc", {"days": 1, "start_day": 365}, 24),
    ("citylearn", {"days": 1, "start_day": 363}, 24),
    ("openb", {}, 1),
    ("gaia", {"trace": "azure", "days": 1}, 25),
    ("gaia", {"trace": "pai", "days": 1, "start_day": 100}, 25),
    ("gaia", {"trace": "mustang", "days": 1, "start_day": 364}, 25),
]


class Played(NamedTuple):
    """A short feed, its messages as ingest takes them, and what makes it anew."""

    make: Callable[[], Feed]
    feed: Feed
    taken: list[tuple[Event, Admitted]]
    ticks: int

    @property
    def events(self) -> list[Event]:
        return [event for event, _ in self.taken]

    @property
    def sound(self) -> list[Event]:
        """Messages without a bad row."""
        return [event for event, admitted in self.taken if not admitted.refused]

    @property
    def market(self) -> list[Event]:
        return [event for event in self.events if event.topic == MARKET_IN.name]

    @property
    def domain(self) -> Domain:
        return next(entry for entry in self.feed.entries() if isinstance(entry, Domain))


@pytest.fixture(
    scope="module",
    params=SHORT,
    ids=lambda short: "-".join(map(str, [short[0], *short[1].values()])),
)
def played(request: pytest.FixtureRequest) -> Played:
    name, options, ticks = request.param
    data = Path() if name == "eight-hubs" else request.getfixturevalue("data_dir")

    def make() -> Feed:
        return open_feed(name, data, **options)

    feed = make()
    return Played(make, feed, list(admitted(feed)), ticks)


def rows_of(event: Event) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in event.value.split(b"\n")]


def admitted(feed: Feed) -> Iterator[tuple[Event, Admitted]]:
    """Every message as ingest takes it."""
    registry = Registry()
    for offset, entry in enumerate(feed.entries()):
        registry.put(parse_entry(format_entry(entry)), offset)
    view = registry.at(registry.offset)
    for offset, event in enumerate(feed.events()):
        source = Source(TOPICS[event.topic], event.partition, offset, event.timestamp_ms)
        yield event, admit(source, event.value, header_map(event.headers), view)


def test_a_feed_gives_the_same_bytes_on_every_run(played: Played) -> None:
    again = played.make()
    assert list(played.feed.events()) == played.events == list(again.events())
    assert [*map(format_entry, played.feed.entries())] == [*map(format_entry, again.entries())]


def test_events_come_in_the_order_of_event_time(played: Played) -> None:
    times = [event.timestamp_ms for event in played.events]
    assert times == sorted(times)


def test_a_feed_says_beforehand_how_many_rows_it_has(played: Played) -> None:
    telemetry = [e.rows for e in played.events if e.topic == TELEMETRY_IN.name]
    assert played.feed.readings == sum(telemetry)
    assert played.feed.count() == sum(event.rows for event in played.events)
    assert all(event.rows == event.value.count(b"\n") + 1 for event in played.events)


def test_ingest_admits_every_row_but_the_bad_ones(played: Played) -> None:
    refused = [refusal for _, a in played.taken for refusal in a.refused]
    bad = getattr(played.feed, "bad_count", 0)
    assert sum(len(a.rows) for _, a in played.taken) + len(refused) == played.feed.count()
    assert bad - 2 <= len(refused) <= bad, [r.message for r in refused][:3]  # meter finds conflicts


def test_rows_have_the_columns_of_their_topic_and_no_others(played: Played) -> None:
    for event in played.sound:
        topic = TOPICS[event.topic]
        wanted = {column.name for column in topic.columns if column.required}
        for row in rows_of(event):
            assert wanted <= row.keys() <= topic.by_name.keys()
            if topic is MARKET_IN:
                assert {*MARKET_KINDS[row["kind"]]} <= row.keys()


def test_a_site_or_domain_keeps_to_its_partition(played: Played) -> None:
    site_of = {e.id: e.site_id for e in played.feed.entries() if isinstance(e, Meter)}
    for event in played.sound:
        if event.topic == MARKET_IN.name:
            placed_by = {row["domain"] for row in rows_of(event)}
        else:
            placed_by = {site_of[row["meter_id"]] for row in rows_of(event)}
        partitions = TOPICS[event.topic].partitions
        assert {partition_of(name, partitions) for name in placed_by} == {event.partition}


def test_several_rows_are_ndjson_and_the_header_says_so(played: Played) -> None:
    for event in played.events:
        assert (header_map(event.headers)["content-type"] == NDJSON) == (event.rows > 1)


def test_a_reading_is_received_at_the_end_of_its_interval(played: Played) -> None:
    for event in played.sound:
        if event.topic == TELEMETRY_IN.name:
            assert {row["end_ms"] for row in rows_of(event)} == {event.timestamp_ms}


def test_all_that_entries_refer_to_is_registered(played: Played) -> None:
    entries = played.feed.entries()
    ids = {kind: {e.id for e in entries if isinstance(e, kind)} for kind in (Site, Account, Tariff)}
    for entry in entries:
        if isinstance(entry, Meter):
            assert entry.site_id in ids[Site]
            assert entry.account_id in ids[Account]
        if isinstance(entry, Account):
            assert entry.tariff_id in ids[Tariff]


def test_market_rows_bring_about_the_ticks(played: Played) -> None:
    domain, first_ms = played.domain, played.market[0].timestamp_ms
    clock, due = TickClock(), []
    for event in played.market:
        due += clock.due(domain, event.timestamp_ms)
    assert due == [first_ms + k * domain.tick_ms for k in range(played.ticks)]


def test_a_tick_knows_every_region_for_its_whole_horizon(played: Played) -> None:
    domain, market = played.domain, played.market
    known: dict[str, set[int]] = {}
    at = 0
    for tick_ms in range(market[0].timestamp_ms, market[-1].timestamp_ms, domain.tick_ms):
        while market[at].timestamp_ms <= tick_ms:
            for row in rows_of(market[at]):
                if row["kind"] == "region":
                    known.setdefault(row["region"], set()).add(row["start_ms"])
            at += 1
        horizon = {tick_ms + step * domain.tick_ms for step in range(domain.steps)}
        assert known
        assert all(horizon <= starts for starts in known.values())


def test_feeds_do_not_share_a_partition_of_market(data_dir: Path) -> None:
    domains = [
        entry
        for name in FEEDS
        for entry in open_feed(name, data_dir).entries()
        if isinstance(entry, Domain)
    ]
    assert len({domain.partition for domain in domains}) == len({d.id for d in domains}) == 5


def test_labels_say_what_is_not_measured(data_dir: Path) -> None:
    assert EightHubs.label.startswith("synthetic")
    assert "assumed" in open_feed("openb", data_dir).label
    assert "synthetic" in open_feed("gaia", data_dir).label


@pytest.mark.parametrize("name", ["rts-gmlc", "citylearn", "openb", "gaia"])
def test_a_missing_file_is_named_with_the_next_step(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(parquet|csv) is missing") as raised:
        open_feed(name, tmp_path)
    assert raised.value.next_step


def test_a_spoilt_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "azure.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(ConfigError, match=r"azure\.parquet is not a readable parquet file"):
        open_feed("gaia", tmp_path)


def test_a_file_without_a_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "openb_node_list_all_node.csv").write_text("sn,cpu_milli,gpu\n")
    with pytest.raises(ConfigError, match="has no column model"):
        open_feed("openb", tmp_path)


def test_an_unknown_feed_or_option_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rts-gmlc"):
        open_feed("rts", tmp_path)
    with pytest.raises(ConfigError, match=r"openb has no option days\. it has none"):
        open_feed("openb", tmp_path, days=3)
    with pytest.raises(ConfigError, match="azure, pai, mustang"):
        open_feed("gaia", tmp_path, trace="google")


@pytest.mark.parametrize(("name", "days"), [("rts-gmlc", 367), ("citylearn", 365), ("gaia", 366)])
def test_more_days_than_there_are_is_refused(name: str, days: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"has {days - 1} days"):
        open_feed(name, tmp_path, days=days)
