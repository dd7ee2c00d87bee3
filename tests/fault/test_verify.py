"""The verdict can fail: every way in which rows go wrong is planted and must be found."""

import ast
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.fault import verify

T0 = 1_750_000_020_000
Topics = dict[str, list[Any]]


def line(meter: int, step: int, **changed: object) -> bytes:
    fields = {"meter_id": f"m{meter}", "register": "it.energy", "kind": "delta", "unit": "mJ"}
    times = {"start_ms": T0 + step * 60_000, "end_ms": T0 + (step + 1) * 60_000}
    return json.dumps(fields | times | {"quantity": 100 * meter + step + 7} | changed).encode()


def arrow(rows: list[dict[str, Any]]) -> bytes:
    table = pa.Table.from_pylist(rows)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def record(offset: int, value: bytes, key: bytes | None = None) -> tuple[Any, ...]:
    return (0, offset, T0 + (offset + 1) * 60_000, key, value)


def reading(offset: int, row: int) -> dict[str, Any]:
    sent = json.loads(line(row, offset))
    place = {"source_partition": 0, "source_offset": offset, "source_row": row}
    known = {"site_id": "s", "account_id": "a", "hub_id": "h", "source": "telemetry.in"}
    return sent | place | known | {"revision": 0, "received_ms": T0 + (offset + 1) * 60_000}


def usage(offset: int, row: int) -> dict[str, Any]:
    return reading(offset, row) | {"revision": 1}


def letter() -> dict[str, Any]:
    place = {"source_partition": 0, "source_offset": 2, "source_row": 0}
    told = {"agent": "ingest", "reason": "negative", "original": line(0, 2, quantity=-1)}
    return place | told | {"source_topic": "telemetry.in"}


def cut(offset: int, generation: int = 1, **counts: int) -> tuple[Any, ...]:
    header = json.dumps({"offset": offset, "counts": {"lost_messages": 0} | counts}).encode()
    return record(offset, header + b"\n\xff\xfe", b"p0/%d-aa" % generation)


def sound() -> Topics:
    """Two messages of two meters, a malformed one, and what they come to."""
    entries: list[dict[str, Any]] = [{"kind": "site", "id": "s", "hub_id": "h"}]
    entries += [
        {"kind": "meter", "id": f"m{n}", "site_id": "s", "account_id": "a"} for n in range(2)
    ]
    return {
        "registry": [record(n, json.dumps(entry).encode()) for n, entry in enumerate(entries)],
        "telemetry.in": [
            *(record(n, line(0, n) + b"\n" + line(1, n)) for n in range(2)),
            record(2, line(0, 2, quantity=-1)),
        ],
        "readings": [record(n, arrow([reading(n, 0), reading(n, 1)])) for n in range(2)],
        "dead-letter": [record(0, arrow([letter()]))],
        "usage": [record(n, arrow([usage(n, 0), usage(n, 1)])) for n in range(2)],
        "journal": [cut(1, consumed=4, accepted=4)],
    }


def judge(topics: Topics, removed: dict[str, Any] | None = None, **counts: int) -> dict[str, int]:
    bridge = Counter({"consumed": 5, "accepted": 4, "dead_lettered": 1} | counts)
    return verify.judge(topics, bridge, removed or {}, "telemetry.in")


def faults(verdict: dict[str, int]) -> dict[str, int]:
    names = ("lost", "doubled", "mismatched")
    return {name: verdict[name] for name in names if verdict[name]}


def test_a_sound_run_has_no_fault() -> None:
    verdict = judge(sound())
    assert faults(verdict) == {}
    assert verdict["rows"] == 5
    assert verdict["dead_letters"] == verdict["dead_letters_expected"] == 1


def test_rows_that_come_again_with_the_same_content_are_no_fault() -> None:
    topics = sound()
    topics["readings"].append(topics["readings"][0])
    topics["usage"].append(topics["usage"][0])
    topics["journal"] = [cut(2, consumed=6, accepted=4, duplicate=2)]
    assert faults(judge(topics)) == {}
    assert judge(topics)["repeats"] == 2


PLANTED: dict[str, tuple[str, Callable[[Topics], Any]]] = {
    "readings of a message are gone": ("lost", lambda t: t["readings"].pop()),
    "usage of a message is gone": ("lost", lambda t: t["usage"].pop()),
    "a dead letter is gone": ("lost", lambda t: t["dead-letter"].pop()),
    "the journal counts a row less": (
        "lost",
        lambda t: t["journal"].append(cut(2, consumed=3, accepted=3)),
    ),
    "the journal counts a row twice": (
        "doubled",
        lambda t: t["journal"].append(cut(2, consumed=5, accepted=5)),
    ),
    "a slot has twice its energy": (
        "doubled",
        lambda t: t["usage"].append(
            record(2, arrow([usage(0, 1) | {"quantity": 214, "revision": 2}]))
        ),
    ),
    "a slot has other energy": (
        "mismatched",
        lambda t: t["usage"].append(
            record(2, arrow([usage(0, 1) | {"quantity": 108, "revision": 2}]))
        ),
    ),
    "a revision says two things": (
        "mismatched",
        lambda t: t["usage"].append(record(2, arrow([usage(0, 1) | {"quantity": 1}]))),
    ),
    "a slot that nobody sent": (
        "mismatched",
        lambda t: t["usage"].append(record(2, arrow([usage(0, 1) | {"end_ms": 1}]))),
    ),
    "a reading that nobody sent": (
        "mismatched",
        lambda t: t["readings"].append(record(2, arrow([reading(1, 1) | {"source_row": 9}]))),
    ),
    "a reading of another account": (
        "mismatched",
        lambda t: t["readings"].append(record(2, arrow([reading(1, 1) | {"account_id": "b"}]))),
    ),
    "a good row in dead letters too": (
        "doubled",
        lambda t: t["dead-letter"].append(record(1, arrow([letter() | {"source_offset": 0}]))),
    ),
    "a dead letter of another reason": (
        "mismatched",
        lambda t: t.update({"dead-letter": [record(0, arrow([letter() | {"reason": "too_old"}]))]}),
    ),
    "a journal whose identity is broken": (
        "mismatched",
        lambda t: t["journal"].append(cut(2, consumed=7, accepted=4)),
    ),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_fault_is_found(planted: str) -> None:
    kind, plant = PLANTED[planted]
    topics = sound()
    plant(topics)
    assert faults(judge(topics)).get(kind)


@pytest.mark.parametrize(("consumed", "kind"), [(4, "lost"), (6, "doubled")])
def test_the_bridges_counts_must_be_those_of_the_source(consumed: int, kind: str) -> None:
    assert faults(judge(sound(), consumed=consumed)) == {kind: 1}


def test_what_retention_removed_unread_is_expected_as_lost_and_nothing_else() -> None:
    topics = sound()
    topics["usage"].pop()
    topics["journal"] = [cut(0, consumed=2, accepted=2), cut(1, consumed=2, accepted=2)]
    removed = {"readings": {"0": [1, 2]}}
    verdict = judge(topics, removed)
    assert faults(verdict) == {}
    assert verdict["expected_lost"] == 1
    assert verdict["reported_lost"] == 0  # silence: the scenario fails on it
    topics["journal"].append(cut(2, consumed=2, accepted=2, lost_messages=1))
    assert judge(topics, removed)["reported_lost"] == 1


def test_a_cut_of_an_older_owner_after_a_newer_one_is_a_late_write() -> None:
    topics = sound()
    newest = cut(1, 2, consumed=4, accepted=4)
    topics["journal"] = [newest, cut(0, 1, consumed=2, accepted=2)]
    assert judge(topics)["late_writes"] == 1
    assert faults(judge(topics)) == {}  # the newer one counts


def test_the_script_imports_none_of_our_code() -> None:
    tree = ast.parse(Path(verify.__file__).read_text())
    roots = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
    }
    assert not roots & {"schemas", "kernels", "streams", "gridloom", "tests", ""}
