"""The command line where it needs no broker: options, inputs, errors, what is printed."""

import subprocess
import sys
from datetime import UTC, datetime

import orjson
import pytest
from typer.testing import CliRunner

from schemas import MARKET_IN, TELEMETRY_IN, TOPICS, ConfigError, RegistryError, partition_of
from streams.cli import app
from streams.cli.closing import decimals
from streams.cli.console import utc
from streams.cli.produce import event_ms, messages_of
from streams.cli.registry import parse_entries
from streams.cli.replay import parse_options
from streams.cli.tail import holds, parse_from, parse_where
from streams.settings import Settings, settings

COMMANDS = [
    "demo",
    "broker",
    "topics",
    "worker",
    "registry",
    "contract",
    "produce",
    "replay",
    "tail",
    "dlq",
    "match",
    "doctor",
]


@pytest.fixture
def no_broker(monkeypatch, tmp_path):
    """No GRIDLOOM_BROKERS, and a home without an embedded broker."""
    monkeypatch.delenv("GRIDLOOM_BROKERS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    settings.cache_clear()
    yield
    settings.cache_clear()


def gridloom(*arguments, stdin=None):
    return CliRunner().invoke(app, list(arguments), input=stdin)


def test_help_names_every_command_and_the_exit_codes():
    shown = gridloom("--help").stdout

    assert all(command in shown for command in COMMANDS)
    assert "Exit codes" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    ended = gridloom(command, "--help")

    assert ended.exit_code == 0
    assert "--help" in ended.stdout


def test_help_loads_no_heavy_library():
    heavy = "{'faust', 'pyarrow', 'numpy', 'aiokafka', 'highspy'}"
    code = f"import sys, streams.cli; print(sorted({heavy} & set(sys.modules)))"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout.strip() == "[]"


def test_an_error_is_a_message_and_a_next_step_without_a_traceback(no_broker):
    ended = gridloom("tail", "usage")

    assert ended.exit_code == 2
    assert ended.stderr.startswith("error: no broker")
    assert "next: `gridloom broker start`" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_a_wrong_setting_is_named(monkeypatch, no_broker):
    monkeypatch.setenv("GRIDLOOM_BATCH_ROWS", "many")

    ended = gridloom("tail", "usage")

    assert ended.exit_code == 2
    assert "GRIDLOOM_BATCH_ROWS" in ended.stderr


def test_a_name_that_nearly_is_a_settings_is_refused(monkeypatch, no_broker):
    monkeypatch.setenv("GRIDLOOM_TLS_CERT", "ca.pem")  # nobody's: not near enough
    monkeypatch.setenv("GRIDLOOM_BROKER", "10.0.0.1:9092")

    ended = gridloom("tail", "usage")

    assert ended.exit_code == 2
    assert "error: GRIDLOOM_BROKER is no setting" in ended.stderr
    assert "next: did you mean GRIDLOOM_BROKERS?" in ended.stderr


@pytest.mark.parametrize(("given", "missing"), [("username", "password"), ("password", "username")])
def test_half_a_login_is_named(given, missing):
    with pytest.raises(ConfigError, match=f"SASL_{given.upper()} is set and .*{missing.upper()}"):
        _ = Settings(**{f"sasl_{given}": "grid"}).kafka


@pytest.mark.parametrize("agents", ["ingest", "meter", "ingest,meter"])
def test_a_worker_without_an_answering_broker_says_so_at_once(monkeypatch, no_broker, agents):
    monkeypatch.setenv("GRIDLOOM_BROKERS", "127.0.0.1:1")

    ended = gridloom("worker", "--agents", agents)

    assert ended.exit_code == 2
    assert ended.stderr.startswith("error: no Kafka broker answers at 127.0.0.1:1")
    assert "next: start one with `gridloom broker start`" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_topics_without_a_broker_show_the_catalogue(no_broker):
    ended = gridloom("topics", "--json")
    listed = [orjson.loads(line) for line in ended.stdout.splitlines()]

    assert [item["topic"] for item in listed] == list(TOPICS)
    assert {item["messages"] for item in listed} == {None}


def test_a_described_topic_shows_each_column_with_its_unit():
    described = orjson.loads(gridloom("topics", "--describe", "usage", "--json").stdout)

    units = {column["column"]: column["unit"] for column in described["columns"]}
    assert list(units) == list(TOPICS["usage"].by_name)
    assert units["end_ms"] == "ms"
    assert [c["column"] for c in described["columns"] if c["key"]] == [
        name for name in TOPICS["usage"].by_name if name in TOPICS["usage"].key
    ]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("tail", "usages"), "no topic 'usages'"),
        (("tail", "usage", "--where", "site=x"), "no column site"),
        (("tail", "usage", "--where", "site_id"), "has no '='"),
        (("tail", "usage", "--from", "yesterday"), "not a place"),
        (("produce", "usage"), "not an input topic"),
        (("produce", "registry"), "not an input topic"),
        (("topics", "--describe", "nothing"), "no topic 'nothing'"),
        (("registry", "list", "--kind", "person"), "no kind 'person'"),
        (("dlq", "list", "--reason", "mood"), "no reason 'mood'"),
        (("replay", ".", "--as", "nothing"), "no feed 'nothing'"),
        (("registry", "apply", "no-such-file"), "cannot read no-such-file"),
    ],
)
def test_a_wrong_argument_is_refused_with_what_to_choose_from(no_broker, arguments, wanted):
    ended = gridloom(*arguments)

    assert ended.exit_code == 2
    assert wanted in ended.stderr
    assert "next: " in ended.stderr


def test_broker_status_without_one_says_so(no_broker):
    ended = gridloom("broker", "status", "--json")

    assert ended.exit_code == 1
    assert orjson.loads(ended.stdout)["running"] is False


SITE = {"kind": "site", "id": "s1", "hub_id": "h1"}


@pytest.mark.parametrize(
    "text",
    [
        b'{"kind":"site","id":"s1","hub_id":"h1"}\n{"kind":"site","id":"s2","hub_id":"h1"}\n',
        b'[{"kind":"site","id":"s1","hub_id":"h1"},{"kind":"site","id":"s2","hub_id":"h1"}]',
    ],
)
def test_entries_come_as_lines_or_as_an_array(text):
    assert [entry.id for entry in parse_entries(text)] == ["s1", "s2"]


def test_one_entry_may_stand_on_several_lines():
    text = b'{\n  "kind": "site",\n  "id": "s1",\n  "hub_id": "h1"\n}\n'

    assert [entry.key for entry in parse_entries(text)] == ["site/s1/0"]


def test_one_wrong_entry_refuses_all_and_is_named():
    text = b"\n".join([orjson.dumps(SITE), b'{"kind":"site","id":"s2"}'])

    with pytest.raises(RegistryError, match=r"entry 2: .*hub_id.*nothing was sent"):
        parse_entries(text)


def test_contract_apply_takes_contracts_only():
    with pytest.raises(RegistryError, match="a site, not a contract"):
        parse_entries(orjson.dumps(SITE), only="contract")


def event(meter_id="m1", end_ms=300_000, **changed):
    return orjson.dumps({"meter_id": meter_id, "start_ms": 0, "end_ms": end_ms} | changed)


def test_a_meters_events_stay_in_one_partition_in_their_order():
    lines = [event("m1", 3), event("m2", 1), event("m1", 1), b"", event("m1", 2)]

    messages = [m for m in messages_of(TELEMETRY_IN, lines, 1) if b'"m1"' in m.lines[0]]

    assert {m.partition for m in messages} == {partition_of("m1", TELEMETRY_IN.partitions)}
    assert [orjson.loads(m.lines[0])["end_ms"] for m in messages] == [3, 1, 2]


def test_market_rows_are_placed_by_domain():
    line = orjson.dumps({"kind": "job", "domain": "national", "start_ms": 5})

    (message,) = messages_of(MARKET_IN, [line], 1)

    assert message.partition == partition_of("national", MARKET_IN.partitions)
    assert message.received_ms == 5


def test_a_batch_is_received_at_its_latest_event():
    lines = [event(end_ms=at_ms) for at_ms in (10, 30, 20, 40)]

    messages = list(messages_of(TELEMETRY_IN, lines, 3))

    assert [(len(m.lines), m.received_ms) for m in messages] == [(3, 30), (1, 40)]


def test_a_line_that_is_no_event_is_sent_as_it_is():
    lines = [event(end_ms=7), b"not json"]

    messages = list(messages_of(TELEMETRY_IN, lines, 1))

    assert [m.lines for m in messages] == [[lines[0]], [b"not json"]]
    assert messages[1].received_ms == 7


@pytest.mark.parametrize(
    ("fields", "at_ms"),
    [
        ({"start_ms": 1, "end_ms": 2}, 2),
        ({"start_ms": 1, "end_ms": "2"}, 1),
        ({"end_ms": -5}, 99),
        ({"end_ms": True}, 99),
        ({"end_ms": 2**63}, 99),
    ],
)
def test_an_event_is_received_at_its_end_or_start(fields, at_ms):
    assert event_ms(fields, 99) == at_ms


@pytest.mark.parametrize(
    ("start", "back"), [("beginning", None), ("end", 0), ("-1", 1), ("-250", 250)]
)
def test_tail_begins_where_it_is_told(start, back):
    assert parse_from(start) == back


@pytest.mark.parametrize("start", ["", "-", "5", "--5", "-x"])
def test_tail_refuses_a_place_that_is_none(start):
    with pytest.raises(ConfigError):
        parse_from(start)


def test_where_compares_what_a_row_shows():
    row = {"level": "hub", "count": 3, "stale": False}

    assert holds(row, {"level": "hub", "count": "3", "stale": "false"})
    assert not holds(row, {"level": "rack"})
    assert not holds(row, {"absent": ""})
    assert parse_where("rollups", ["id=a=b"]) == {"id": "a=b"}


def test_a_feeds_options_are_numbers_where_they_are_digits():
    assert parse_options(["trace=pai", "start_day=180"]) == {"trace": "pai", "start_day": 180}
    with pytest.raises(ConfigError):
        parse_options(["days"])


@pytest.mark.parametrize(
    ("amount", "unit", "digits", "shown"),
    [
        (0, 10, 2, "0.00"),
        (1_234_567, 1_000, 1, "1,234.6"),
        (5, 1_000, 2, "0.00"),  # half to even
        (15, 1_000, 2, "0.02"),
        (-1_500, 1_000, 1, "-1.5"),
        (2**70, 1, 1, f"{2**70:,}.0"),
    ],
)
def test_integers_are_shown_rounded_once_half_to_even(amount, unit, digits, shown):
    assert decimals(amount, unit, digits) == shown


@pytest.mark.parametrize("at_ms", [0, 1_750_435_200_000, 1_750_435_200_123])
def test_times_are_shown_in_utc(at_ms):
    shown = datetime.fromisoformat(utc(at_ms)).replace(tzinfo=UTC)

    assert round(shown.timestamp() * 1000) == at_ms


def test_a_time_beyond_the_calendar_is_shown_as_its_number():
    assert utc(2**62) == str(2**62)


@pytest.mark.parametrize("held", [None, b"no certificate"])
def test_a_ca_file_that_is_none_is_named_with_the_next_step(tmp_path, held):
    ca = tmp_path / "ca.pem"
    if held is not None:
        ca.write_bytes(held)
    with pytest.raises(ConfigError, match=r"GRIDLOOM_TLS_CA: .*ca\.pem: .*name a readable PEM"):
        _ = Settings(tls_ca=ca).kafka
