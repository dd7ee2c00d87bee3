"""The commands that work on a cluster, against a real broker, each test in its own namespace."""

import asyncio
import base64
import uuid

import orjson
import pytest
from typer.testing import CliRunner

import streams.agents  # noqa: F401  (registers the stages)
from schemas import DEAD_LETTER, TELEMETRY_IN, USAGE
from schemas.codec import ARROW, JSON, encode, event_headers
from streams import dlq
from streams.cli import app
from streams.client import producer, read_all
from streams.settings import Settings, settings
from streams.topics import create_topics

pytestmark = pytest.mark.kafka

CONTRACT = {
    "kind": "contract",
    "id": "readers",
    "subscriber": "r",
    "topic": "usage",
    "columns": ["meter_id", "quantity"],
}


@pytest.fixture
def known(broker, monkeypatch):
    """Settings of a namespace of its own whose topics exist."""
    monkeypatch.setenv("GRIDLOOM_BROKERS", broker)
    monkeypatch.setenv("GRIDLOOM_NAMESPACE", f"cli-{uuid.uuid4().hex[:8]}.")
    settings.cache_clear()
    asyncio.run(create_topics(settings()))
    yield settings()
    settings.cache_clear()


def gridloom(*arguments, stdin=None):
    return CliRunner().invoke(app, list(arguments), input=stdin)


def lines(ended):
    assert ended.exit_code == 0, ended.stderr
    return [orjson.loads(line) for line in ended.stdout.splitlines()]


def send(known: Settings, topic, value, headers, partition=0):
    async def work():
        async with producer(known) as client:
            place = {"partition": partition, "headers": headers}
            return await client.send_and_wait(known.topic(topic.name), value, **place)

    return asyncio.run(work())


def records(known: Settings, topic):
    async def work():
        return [record async for record in read_all(known, known.topic(topic))]

    return asyncio.run(work())


def reading(number):
    span = {"start_ms": number * 300_000, "end_ms": (number + 1) * 300_000}
    fixed = {"meter_id": "m1", "register": "it.energy", "kind": "delta", "unit": "kWh"}
    return fixed | span | {"quantity": number}


def test_what_is_produced_can_be_tailed(known):
    sent = [reading(number) for number in range(5)]
    text = b"\n".join(map(orjson.dumps, sent))

    produced = gridloom("produce", "telemetry.in", "--batch", "2", stdin=text)
    tailed = lines(gridloom("tail", "telemetry.in", "--from", "beginning", "--no-follow", "--json"))

    assert produced.stderr == "5 events in 3 messages sent to telemetry.in\n"
    assert tailed == sent


def test_a_produced_message_is_received_in_its_events_time(known):
    gridloom("produce", "telemetry.in", stdin=orjson.dumps(reading(3)))

    (record,) = records(known, "telemetry.in")

    assert record.timestamp == reading(3)["end_ms"]
    assert record.value == orjson.dumps(reading(3))


def usage_row(meter_id, quantity):
    texts = {"register": "it.energy", "kind": "delta", "unit": "mJ", "quality": "ACTUAL"}
    places = {"site_id": "s1", "hub_id": "h1", "account_id": "a1"}
    times = {"start_ms": 0, "end_ms": 300_000, "received_ms": 300_000}
    counts = {"quantity": quantity, "revision": 1, "epoch": 0}
    return {"meter_id": meter_id} | texts | places | times | counts


def test_tail_decodes_arrow_and_shows_what_is_asked_for(known):
    rows = [usage_row("m1", 10), usage_row("m2", 20), usage_row("m1", 30)]
    headers = event_headers(USAGE.event_type, "1", "/test", ARROW)
    send(known, USAGE, encode(USAGE, USAGE.rows(rows)), headers, partition=3)
    asked = ("--from", "beginning", "--no-follow", "--json", "--columns", "quantity")

    of_m1 = lines(gridloom("tail", "usage", *asked, "--where", "meter_id=m1"))
    first = lines(gridloom("tail", "usage", *asked, "--count", "1"))

    assert of_m1 == [{"quantity": 10}, {"quantity": 30}]
    assert first == [{"quantity": 10}]


def test_tail_passes_over_a_message_that_cannot_be_read(known):
    send(known, USAGE, b"\x80\x04pickle", [], partition=0)
    headers = event_headers(USAGE.event_type, "1", "/test", ARROW)
    send(known, USAGE, encode(USAGE, USAGE.rows([usage_row("m1", 10)])), headers, partition=1)

    ended = gridloom("tail", "usage", "--from", "beginning", "--no-follow", "--json")

    assert [row["meter_id"] for row in lines(ended)] == ["m1"]
    assert "partition 0 offset 0: pickled" in ended.stderr


def test_registered_entries_are_listed_and_a_contract_has_its_topic(known):
    site = {"kind": "site", "id": "s1", "hub_id": "h1"}
    entries = orjson.dumps([site, CONTRACT])

    applied = gridloom("registry", "apply", stdin=entries)
    listed = lines(gridloom("registry", "list", "--json"))
    rows = lines(gridloom("tail", "out.readers", "--no-follow", "--json"))

    assert "created " + known.topic("out.readers") in applied.stderr
    assert [(entry["kind"], entry["id"]) for entry in listed] == [
        ("contract", "readers"),
        ("site", "s1"),
    ]
    assert rows == []


def test_one_wrong_entry_leaves_the_registry_as_it_was(known):
    entries = orjson.dumps([CONTRACT, {"kind": "site", "id": "s1"}])

    assert gridloom("registry", "apply", stdin=entries).exit_code == 2
    assert records(known, "registry") == []
    assert gridloom("tail", "out.readers", "--no-follow").exit_code == 2


def test_a_domain_is_registered_after_its_parent_or_with_it(known):
    nation, east, port = (
        {"kind": "domain", "id": name, "partition": number, "parent": parent}
        for number, (name, parent) in enumerate(
            [("nation", None), ("east", "nation"), ("port", "east")]
        )
    )

    alone = gridloom("registry", "apply", stdin=orjson.dumps(east))
    together = gridloom("registry", "apply", stdin=orjson.dumps([east, nation]))
    later = gridloom("registry", "apply", stdin=orjson.dumps(port))
    cycle = gridloom("registry", "apply", stdin=orjson.dumps(nation | {"parent": "port"}))

    assert [one.exit_code for one in (alone, together, later, cycle)] == [2, 0, 0, 2]
    assert "parent 'nation' is not registered" in alone.stderr
    assert "its parents go round" in cycle.stderr
    listed = lines(gridloom("registry", "list", "--kind", "domain", "--json"))
    assert [entry["id"] for entry in listed] == ["east", "nation", "port"]


def test_an_entry_of_the_same_date_replaces_the_one_before(known):
    for hub_id in ("h1", "h2"):
        site = {"kind": "site", "id": "s1", "hub_id": hub_id}
        gridloom("registry", "apply", stdin=orjson.dumps(site))

    listed = lines(gridloom("registry", "list", "--kind", "site", "--json"))

    assert [entry["hub_id"] for entry in listed] == ["h2"]


def dead_letter(row=0, **changed):
    fields = {
        "agent": "ingest",
        "reason": "unknown_meter",
        "field": "meter_id",
        "message": "meter 'm1' is not registered",
        "source_topic": "telemetry.in",
        "source_partition": 2,
        "source_offset": 5,
        "source_row": row,
        "received_ms": 300_000,
        "content_type": JSON,
        "original": orjson.dumps(reading(row)),
    }
    return fields | changed


def refuse(known, letters):
    headers = event_headers(DEAD_LETTER.event_type, "1", "/test", ARROW)
    return send(known, DEAD_LETTER, encode(DEAD_LETTER, DEAD_LETTER.rows(letters)), headers)


def test_dead_letters_are_listed_once_each_with_their_original_bytes(known):
    refuse(known, [dead_letter(0), dead_letter(1, reason="negative")])
    refuse(known, [dead_letter(0)])  # written again after a crash

    listed = lines(gridloom("dlq", "list", "--json"))
    negative = lines(gridloom("dlq", "list", "--reason", "negative", "--json"))

    assert [letter["source_row"] for letter in listed] == [0, 1]
    assert base64.b64decode(listed[0]["original"]) == orjson.dumps(reading(0))
    assert [letter["source_row"] for letter in negative] == [1]


def test_a_letter_is_shown_by_its_place(known):
    refuse(known, [dead_letter()])

    shown = gridloom("dlq", "show", "0", "0").stdout
    absent = gridloom("dlq", "show", "0", "7")

    assert "telemetry.in/2/5/0" in shown
    assert orjson.dumps(reading(0)).decode() in shown
    assert absent.exit_code == 2


def test_replay_sends_the_original_bytes_with_their_first_receipt(known):
    meters = dead_letter(agent="meter", source_topic="readings", reason="conflict")
    refuse(known, [dead_letter(), meters])

    (result,) = lines(gridloom("dlq", "replay", "--yes", "--json"))
    (record,) = records(known, "telemetry.in")

    assert result == {"sent": 1, "skipped": 1, "seen_before": 0}
    assert record.value == orjson.dumps(reading(0))
    assert (record.partition, record.timestamp) == (2, 300_000)
    assert dict(record.headers)[dlq.REPLAYED_FROM] == b"telemetry.in/2/5/0"


def test_a_second_replay_says_what_may_have_been_sent(known):
    refuse(known, [dead_letter(0)])
    gridloom("dlq", "replay", "--yes")
    refuse(known, [dead_letter(1)])

    (again,) = lines(gridloom("dlq", "replay", "--yes", "--json"))

    assert again == {"sent": 2, "skipped": 0, "seen_before": 1}


def test_replay_asks_first(known):
    refuse(known, [dead_letter()])

    assert gridloom("dlq", "replay", stdin="n\n").exit_code == 1
    assert records(known, "telemetry.in") == []


def test_doctor_finds_nothing_wrong_on_a_new_cluster(known):
    checks = {c["check"]: c["status"] for c in lines(gridloom("doctor", "--json"))}

    assert "FAIL" not in checks.values()
    assert checks["broker"] == checks["topics"] == checks["agent ingest"] == "OK"


def test_doctor_says_who_should_work(known):
    gridloom("produce", "telemetry.in", stdin=orjson.dumps(reading(0)))

    checks = {c["check"]: c for c in lines(gridloom("doctor", "--json"))}

    assert checks["agent ingest"]["status"] == "WARN"
    assert "gridloom worker --agents ingest" in checks["agent ingest"]["next_step"]


def test_doctor_fails_where_topics_are_missing_or_cannot_be_read(known, monkeypatch):
    send(known, USAGE, b"not arrow", [])
    unreadable = gridloom("doctor", "--json")
    monkeypatch.setenv("GRIDLOOM_NAMESPACE", "nothing-here.")
    settings.cache_clear()
    missing = gridloom("doctor", "--json")

    def failed(ended):
        assert ended.exit_code == 1
        found = [orjson.loads(line) for line in ended.stdout.splitlines()]
        return [check["check"] for check in found if check["status"] == "FAIL"]

    assert failed(unreadable) == ["schema versions"]
    assert failed(missing) == ["topics"]


def test_topics_counts_messages_on_the_cluster(known):
    gridloom("produce", TELEMETRY_IN.name, stdin=orjson.dumps(reading(0)))

    listed = {item["topic"]: item for item in lines(gridloom("topics", "--json"))}

    assert listed["telemetry.in"]["messages"] == 1
    assert listed["usage"]["partitions_present"] == USAGE.partitions


def test_replay_plays_a_feed_with_its_entries(known):
    (played,) = lines(gridloom("replay", ".", "--as", "eight-hubs", "--json"))

    registered = lines(gridloom("registry", "list", "--kind", "domain", "--json"))
    assert played["rows"] > 300_000
    assert [entry["id"] for entry in registered] == ["national"]
