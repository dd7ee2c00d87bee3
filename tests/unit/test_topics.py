"""Topics: the catalogue is the table of the definitions; the JSON form loses nothing."""

import base64
import contextlib
import dataclasses
import json
from decimal import Decimal

import pyarrow as pa
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.structs import OffsetAndMetadata
from hypothesis import given
from hypothesis import strategies as st

from schemas import READINGS, TOPICS
from schemas.jsonform import to_json, to_rows
from schemas.topic import BINARY, BOOL, FLOAT64, INT32, INT64, SYMBOL, TEXT, partition_of
from streams import topics
from streams.settings import Settings
from streams.topics import wanted

DOMAINS = 8
DISPATCH_ONLY = ("domain", DOMAINS, "dispatch", "deliver settle")
# topic -> partition by ("" = the writer's choice), partitions, written by, read by
TABLE = {
    "telemetry.in": ("", 4, "devices", "ingest audit"),
    "market.in": ("", 2, "operators sites tenants", "ingest"),
    "registry": ("", 1, "admin", "ingest agents"),
    "readings": ("site_id", 4, "ingest", "meter rollup"),
    "market": ("domain", DOMAINS, "ingest dispatch", "dispatch"),
    "usage": ("account_id", 4, "meter", "settle deliver ingest"),
    "rollups.partial": ("hub_id", 2, "rollup", "rollup"),
    "rollups": ("hub_id", 2, "rollup", "deliver dashboard"),
    "dispatch": DISPATCH_ONLY,
    "placements": DISPATCH_ONLY,
    "prices": DISPATCH_ONLY,
    "signals": DISPATCH_ONLY,
    "alerts": DISPATCH_ONLY,
    "settlement": ("account_id", 2, "settle", "deliver"),
    "checkpoints": ("", 1, "audit", "verify"),
    "dead-letter": ("", 2, "ingest agents", "dlq"),
}
KEYS = {
    "telemetry.in": "source meter_id register start_ms end_ms revision",
    "readings": "source meter_id register start_ms end_ms revision",
    "registry": "kind id valid_from_ms",
    "market": "source source_partition source_offset source_row",
    "usage": "meter_id register kind end_ms",
    "settlement": "line_id",
    "dead-letter": "source_topic source_partition source_offset source_row agent",
}
READING_COLUMNS = (
    "meter_id register kind start_ms end_ms quantity unit revision quality epoch site_id rack_id "
    "hub_id account_id source source_partition source_offset source_row received_ms registry_offset"
)
JSON_TOPICS = {"telemetry.in", "market.in", "registry"}
UNITS_BY_ENDING = {"_ms": "ms", "_mj": "mJ", "_mw": "MW", "_mwh": "MWh", "_ppm": "ppm", "_w": "W"}

EVERY_TOPIC = pytest.mark.parametrize("topic", TOPICS.values(), ids=TOPICS)


def test_the_catalogue_has_the_topics_of_the_table_and_no_other():
    assert list(TOPICS) == list(TABLE)


@EVERY_TOPIC
def test_a_topic_is_partitioned_written_and_read_as_the_table_says(topic):
    partition_by, partitions, written_by, read_by = TABLE[topic.name]
    assert (topic.partition_by, topic.partitions) == (partition_by, partitions)
    assert " ".join(topic.written_by) == written_by
    assert topic.read_by
    assert set(topic.read_by) <= set(read_by.split()), "a reader that the table does not know"


@EVERY_TOPIC
def test_only_what_people_and_devices_send_is_json_and_only_the_registry_is_compacted(topic):
    assert topic.form == ("json" if topic.name in JSON_TOPICS else "arrow")
    assert topic.compacted == (topic.name == "registry")


def test_on_the_cluster_inputs_stay_batches_go_with_time_and_only_keyed_topics_are_compacted():
    made_topics = wanted(Settings(namespace="t."))
    assert {f"t.{name}" for name in TABLE} <= made_topics.keys()
    for name, (_, partitions, _, _) in TABLE.items():
        made = made_topics[f"t.{name}"]
        assert (made.name, made.num_partitions) == (f"t.{name}", partitions)
        policy = made.topic_configs["cleanup.policy"]
        assert policy == ("compact" if name == "registry" else "delete")
        kept = made.topic_configs.get("retention.ms")
        assert kept == ("-1" if name in ("telemetry.in", "market.in") else None)


@pytest.mark.parametrize(("name", "key"), KEYS.items(), ids=KEYS)
def test_a_row_s_identity_is_what_the_definitions_say(name, key):
    assert " ".join(TOPICS[name].key) == key


def test_readings_have_the_columns_of_the_definitions_in_their_order():
    assert " ".join(READINGS.by_name) == READING_COLUMNS


@EVERY_TOPIC
def test_every_column_has_a_known_type_a_meaning_and_the_unit_its_name_ends_with(topic):
    assert len(topic.by_name) == len(topic.columns), "a name twice"
    for column in topic.columns:
        assert column.type in (INT64, INT32, FLOAT64, BOOL, TEXT, SYMBOL, BINARY)
        assert column.doc
        ending = f"_{column.name.rpartition('_')[2]}" if "_per_" not in column.name else ""
        assert UNITS_BY_ENDING.get(ending, column.unit) == column.unit, column.name
    named = {*topic.key, topic.partition_by} - {""}
    assert named <= topic.by_name.keys()


@EVERY_TOPIC
def test_what_a_key_or_a_partition_rests_on_is_never_null_inside_the_pipeline(topic):
    if topic.form == "arrow":
        assert all(topic.by_name[name].required for name in topic.key)
    if topic.partition_by:
        assert topic.by_name[topic.partition_by].required


@EVERY_TOPIC
def test_another_version_is_another_event_type_and_another_schema(topic):
    newer = dataclasses.replace(topic, version=2)
    assert topic.event_type == f"io.gridloom.{topic.name}.v1"
    assert newer.event_type == f"io.gridloom.{topic.name}.v2"
    assert not newer.schema.equals(topic.schema, check_metadata=True)


def test_a_row_finds_its_partition_by_crc32c_as_other_languages_compute_it():
    check = 0xE3069283  # the checksum's published check value of "123456789"
    assert [partition_of("123456789", p) for p in (1, 2, 4, 8)] == [check % p for p in (1, 2, 4, 8)]
    assert partition_of("123456789", 1 << 32) == check


def test_rows_that_are_not_the_topic_s_are_refused_by_column():
    row = {"kind": "k", "id": "i", "valid_from_ms": 0}
    registry = TOPICS["registry"]
    with pytest.raises(KeyError, match="colour"):
        registry.rows([row | {"colour": "red"}])
    with pytest.raises(KeyError, match="kind"):
        registry.rows([{"id": "i", "valid_from_ms": 0}])
    with pytest.raises(ValueError, match="valid_from_ms"):
        registry.rows([row, row | {"valid_from_ms": None}])


@given(st.integers(-(2**63), 2**63 - 1))
def test_an_integer_of_64_bits_is_written_with_all_its_digits(number):
    assert to_json({"quantity": number}) == b'{"quantity":%d}' % number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_reads_back_as_itself(number):
    assert json.loads(to_json({"gap_rel": number}))["gap_rel"] == number


def test_times_and_quantities_beyond_a_float_s_53_bits_stay_integers_from_arrow_to_json():
    row = {"site_id": "s", "start_ms": 2**53 + 1, "quantity": 2**63 - 1}
    columns = {name: pa.array([row[name]]) for name in row}
    assert to_rows(pa.RecordBatch.from_pydict(columns)) == [row]
    assert to_json(row) == (
        b'{"site_id":"s","start_ms":9007199254740993,"quantity":9223372036854775807}'
    )


def test_null_fields_are_left_out_and_empty_or_zero_ones_are_not():
    schema = pa.schema([("a", SYMBOL), ("b", INT64), ("c", BOOL), ("d", BINARY)])
    rows = [{"a": "", "b": 0, "c": False, "d": b""}, dict.fromkeys("abcd")]
    assert to_rows(pa.RecordBatch.from_pylist(rows, schema)) == [rows[0], {}]


def test_bytes_are_base64_and_text_is_utf8():
    written = to_json({"root": bytes(range(256)), "name": "中卫 \U0001f50c\x00"})
    assert base64.b64decode(json.loads(written)["root"]) == bytes(range(256))
    assert json.loads(written)["name"] == "中卫 \U0001f50c\x00"
    assert "中卫".encode() in written


@pytest.mark.parametrize("field", [Decimal("0.1"), 2**64, {1, 2}, object()])
def test_what_has_no_exact_json_form_is_an_error_and_never_rounded(field):
    with pytest.raises(TypeError):
        to_json({"amount": field})


@EVERY_TOPIC
def test_a_moment_is_integer_milliseconds_and_never_a_type_with_a_unit_of_its_own(topic):
    assert not [c.name for c in topic.columns if pa.types.is_temporal(c.type)]
    assert {c.type for c in topic.columns if c.name in ("start_ms", "end_ms", "tick_ms")} <= {INT64}


@pytest.mark.parametrize("refusals", [0, 2, 99])
async def test_a_new_cluster_is_asked_for_group_offsets_until_it_can_answer(monkeypatch, refusals):
    class Client:
        asked = 0

        async def list_consumer_group_offsets(self, group):
            self.asked += 1
            if self.asked <= refusals:
                raise GroupCoordinatorNotAvailableError
            return {TopicPartition("registry", 0): OffsetAndMetadata(7, group)}

    client = Client()
    monkeypatch.setattr(topics, "admin", lambda settings: contextlib.nullcontext(client))
    monkeypatch.setattr(topics, "_COORDINATOR_WAITS_S", (0.0,) * 6)
    if refusals == 99:
        with pytest.raises(GroupCoordinatorNotAvailableError):
            await topics.group_offsets(Settings(), "g")
        assert client.asked == 7
    else:
        found = await topics.group_offsets(Settings(), "g")
        assert found == {TopicPartition("registry", 0): (7, "g")}


def test_a_journal_rolls_and_compacts_by_time_so_that_a_replaced_state_goes():
    given = Settings()
    for name, topic in wanted(given).items():
        rolls = {"segment.ms", "max.compaction.lag.ms"} <= topic.topic_configs.keys()
        assert rolls == name.startswith("journal.")
        assert not rolls or topic.topic_configs["cleanup.policy"] == "compact"
