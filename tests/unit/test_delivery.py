"""Delivery: a subscriber gets what its contract grants while it holds, and nothing else."""

import json
from base64 import b64decode

import orjson
import pyarrow as pa
import pytest

from schemas import DISPATCH, SETTLEMENT, USAGE, RegistryError
from schemas.codec import ARROW, JSON
from schemas.registry import Condition, Contract, parse_entry
from streams import fit
from streams.agent import STAGES, Batch
from streams.agents.deliver import step
from streams.delivery import Delivered
from streams.emit import records_of
from streams.registry import Registry

T0 = 1_767_225_600_000
BIG = 2**53 + 1  # the first integer that a float cannot hold


def usage(meter_id="m1", account_id="tenant-a", hour=0, **given):
    row = {
        "meter_id": meter_id,
        "register": "it.energy",
        "kind": "delta",
        "start_ms": T0 + hour * 3_600_000,
        "end_ms": T0 + (hour + 1) * 3_600_000,
        "quantity": 100,
        "unit": "mJ",
        "quality": "ACTUAL",
        "revision": 1,
        "epoch": 0,
        "site_id": "site-1",
        "hub_id": "hub-1",
        "account_id": account_id,
        "received_ms": T0,
    }
    return row | given


def contract(id="c", columns=("meter_id", "quantity"), **given):
    return Contract(id=id, columns=columns, **{"subscriber": "s", "topic": "usage"} | given)


def only(column, op, value):
    return (Condition(column, op, value),)


def deliver(entries, rows, topic=USAGE, offset=None, delivered=None):
    """The messages of one batch under contracts that are known up to a registry offset."""
    registry = Registry()
    for number, entry in enumerate(entries):
        registry.put(entry, number)
    view = registry.at(registry.offset if offset is None else offset)
    batch = Batch(topic, 1, 7, topic.rows(rows), view)
    emit = step(Delivered() if delivered is None else delivered, batch)
    assert (emit.accepted, emit.refused, emit.outputs) == (len(rows), [], [])
    return batch, emit


def objects(entries, rows, **given):
    """Topic -> JSON objects."""
    found = {}
    for message in deliver(entries, rows, **given)[1].deliveries:
        found.setdefault(message.topic, []).append(json.loads(message.value))
    return found


def test_without_a_contract_nothing_is_delivered():
    other = contract(topic="settlement", columns=("line_id",))

    assert objects([], [usage()]) == {}
    assert objects([other], [usage()]) == {}


def test_only_the_granted_columns_come_in_the_order_of_the_contract():
    _, emit = deliver([contract(columns=("quantity", "meter_id"))], [usage()])

    (message,) = emit.deliveries
    assert message.value == b'{"quantity":100,"meter_id":"m1"}'
    assert (message.topic, message.content_type) == ("out.c", JSON)


@pytest.mark.parametrize(
    ("where", "meters"),
    [
        (only("account_id", "eq", "tenant-a"), ["m1", "m3"]),
        (only("account_id", "ne", "tenant-a"), ["m2"]),
        (only("meter_id", "in", ["m3", "m2", "m9"]), ["m2", "m3"]),
        (only("meter_id", "in", []), []),
        (only("quantity", "lt", BIG), ["m1"]),
        (only("quantity", "le", BIG), ["m1", "m2"]),
        (only("quantity", "gt", BIG), ["m3"]),
        (only("quantity", "ge", BIG), ["m2", "m3"]),
        (only("quantity", "in", [BIG, 5]), ["m2"]),
        (only("account_id", "eq", "tenant-a") + only("quantity", "gt", 1), ["m3"]),
    ],
)
def test_rows_are_those_for_which_every_condition_holds(where, meters):
    rows = [
        usage("m1", quantity=1),
        usage("m2", "tenant-b", quantity=BIG),
        usage("m3", quantity=BIG + 1),
    ]

    found = objects([contract(where=where, columns=("meter_id",))], rows)

    assert [row["meter_id"] for row in found.get("out.c", [])] == meters


@pytest.mark.parametrize(("op", "value"), [("eq", "P/x"), ("ne", "P/x"), ("in", ["P/x"])])
def test_a_null_meets_no_condition_and_is_left_out_of_the_json(op, value):
    whole = {c.name: 0 if pa.types.is_integer(c.type) else "x" for c in SETTLEMENT.columns}
    whole |= {"input_root": b"\x00\xff", "start_ms": T0}
    rows = [whole | {"line_id": "1", "corrects_line": None}]
    rows += [whole | {"line_id": "2", "corrects_line": c} for c in ("P/x", "P/y")]
    columns = ("line_id", "corrects_line", "input_root")
    given = {"topic": "settlement", "columns": columns}
    named = contract("named", where=only("corrects_line", op, value), **given)

    found = objects([named, contract("all", **given)], rows, topic=SETTLEMENT)

    assert [row["corrects_line"] for row in found["out.named"]] == ["P/y" if op == "ne" else "P/x"]
    assert "corrects_line" not in found["out.all"][0]
    assert b64decode(found["out.all"][0]["input_root"]) == b"\x00\xff"


def test_a_contract_holds_from_its_date_until_its_end_by_the_time_of_the_row():
    hours = [usage(f"m{hour}", hour=hour) for hour in range(5)]
    held = contract(valid_from_ms=T0 + 3_600_000, valid_to_ms=T0 + 3 * 3_600_000)

    assert [row["meter_id"] for row in objects([held], hours)["out.c"]] == ["m1", "m2"]


def test_a_later_entry_of_the_contract_replaces_it_from_its_own_date_on():
    hours = [usage(f"m{hour}", hour=hour) for hour in range(4)]
    later = contract(columns=("meter_id",), valid_from_ms=T0 + 2 * 3_600_000)
    moved = contract(topic="rollups", columns=("id",), valid_from_ms=T0 + 3 * 3_600_000)

    found = objects([contract(), later, moved], hours)

    assert found == {
        "out.c": [
            {"meter_id": "m0", "quantity": 100},
            {"meter_id": "m1", "quantity": 100},
            {"meter_id": "m2"},
        ]
    }


def test_a_contract_revoked_in_the_registry_ends_with_the_first_batch_that_knows_it():
    entries = [contract(), contract(valid_to_ms=T0)]

    assert len(objects(entries, [usage()], offset=0)["out.c"]) == 1
    assert objects(entries, [usage()], offset=1) == {}


def test_a_decision_is_granted_by_the_time_of_its_tick():
    row = {c.name: 0 if pa.types.is_integer(c.type) else "x" for c in DISPATCH.columns}
    row |= {c.name: 0.0 for c in DISPATCH.columns if c.type == pa.float64()}
    ticks = [row | {"tick_ms": T0 + n, "start_ms": T0 + 10**9} for n in range(3)]
    held = contract(topic="dispatch", columns=("tick_ms",), valid_to_ms=T0 + 2)

    found = objects([held], ticks, topic=DISPATCH)

    assert found == {"out.c": [{"tick_ms": T0}, {"tick_ms": T0 + 1}]}


def test_two_contracts_on_one_topic_each_get_their_own_and_are_metered_apart():
    mine = contract("mine", where=only("account_id", "eq", "tenant-a"))
    every = contract("every", columns=("account_id",))
    rows = [usage("m1"), usage("m2", "tenant-b")]
    delivered = Delivered()

    found = objects([mine, every], rows, delivered=delivered)
    deliver([mine, every], rows[:1], delivered=delivered)

    assert found == {
        "out.mine": [{"meter_id": "m1", "quantity": 100}],
        "out.every": [{"account_id": "tenant-a"}, {"account_id": "tenant-b"}],
    }
    assert delivered.rows == {"mine": 2, "every": 3}
    assert Delivered.load(delivered.dump()) == delivered


def test_json_integers_are_exact_up_to_64_bits():
    numbers = [0, BIG, 2**63 - 1, -(2**63)]
    rows = [usage(f"m{n}", quantity=number) for n, number in enumerate(numbers)]

    assert [row["quantity"] for row in objects([contract()], rows)["out.c"]] == numbers


def test_a_message_key_is_the_granted_part_of_the_rows_key():
    wide = contract("wide", columns=("end_ms", "register", "meter_id", "kind"))
    _, emit = deliver([contract(), wide, contract("none", columns=("quantity",))], [usage()])

    keys = {message.topic: message.key for message in emit.deliveries}

    end_ms = T0 + 3_600_000
    assert keys == {
        "out.c": b"m1",
        "out.wide": b"m1|it.energy|delta|%d" % end_ms,
        "out.none": b"",
    }


def in_arrow(message):
    assert message.content_type == ARROW
    with pa.ipc.open_stream(message.value) as reader:
        assert reader.schema.metadata is None
        return reader.read_all().to_pylist()


def test_arrow_holds_the_granted_rows_and_no_name_of_the_others():
    mine = contract(format="arrow", where=only("account_id", "eq", "tenant-a"))
    rows = [usage("m1"), usage("secret-meter", "tenant-b"), usage("m3", quantity=BIG)]

    _, emit = deliver([mine], rows)

    (message,) = emit.deliveries
    assert in_arrow(message) == [
        {"meter_id": "m1", "quantity": 100},
        {"meter_id": "m3", "quantity": BIG},
    ]
    assert b"secret-meter" not in message.value
    (alone,) = deliver([mine], [rows[0], rows[2]])[1].deliveries
    assert message == alone


def test_arrow_rows_too_many_for_a_record_come_in_order_as_several(monkeypatch):
    monkeypatch.setattr(fit, "RECORD_MAX_BYTES", 1_000)
    rows = [usage(f"m{n}", quantity=n) for n in range(100)]

    _, emit = deliver([contract(format="arrow")], rows)

    parts = [in_arrow(message) for message in emit.deliveries]
    assert len(parts) > 2
    assert all(len(message.value) <= 1_000 for message in emit.deliveries)
    assert [row["quantity"] for part in parts for row in part] == list(range(100))


def test_ids_say_where_a_message_came_from_and_are_the_same_again():
    entries = [contract(), contract("d", format="arrow")]
    given = [deliver(entries, [usage("m1"), usage("m2")]) for _ in range(2)]

    records = [records_of(STAGES["deliver.usage"], *made) for made in given]

    assert records[0] == records[1]
    assert [dict(r.headers)["ce_id"] for r in records[0]] == [
        b"deliver.usage/1/7/0",
        b"deliver.usage/1/7/1",
        b"deliver.usage/1/7/2",
    ]


@pytest.mark.parametrize("field", ["columns", "where"])
def test_an_unknown_column_is_refused_by_name_before_it_can_stop_a_delivery(field):
    entry = {"kind": "contract", "id": "c", "subscriber": "s", "topic": "usage"}
    entry |= {"columns": ["meter_id"]}
    where = [{"column": "rack_idd", "op": "eq", "value": "r"}]
    entry |= {"columns": ["rack_idd"]} if field == "columns" else {"where": where}

    with pytest.raises(RegistryError, match="rack_idd"):
        parse_entry(orjson.dumps(entry))
