"""What a stage that gathers must keep: rows do not rest on how the log is cut into batches.

Of one log, cut row by row and cut at will: a key and revision has one row, whoever says it; the
newest rows, what was refused and the counts are the same. So a replay may gather otherwise.
"""

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streams.agents  # noqa: F401  (registers the stages)
from kernels.meter import Slots
from kernels.rollup import Merge, Windows
from schemas import READINGS, ROLLUPS_PARTIAL
from schemas.registry import Meter
from streams.agent import STAGES, Batch
from streams.registry import Registry
from tests.property.test_meter_sets import MODULUS, RATING_W
from tests.property.test_rollup_parts import partials
from tests.property.test_rollup_sets import WINDOW_MS

KEPT_MS = 6_000  # of slots and windows: late readings are among the rows
REGISTRY = Registry()
for _offset, _meter_id in enumerate(("m1", "m2")):
    REGISTRY.put(
        Meter(
            id=_meter_id,
            site_id="site-1",
            account_id="payer",
            rating_w=RATING_W,
            register_modulus=MODULUS,
        ),
        _offset,
    )


@st.composite
def readings(draw: Any) -> list[dict[str, Any]]:
    """A reading, valid or not: few places, so that they meet, conflict and come late."""
    end, kind = draw(st.integers(1, 12)), draw(st.sampled_from(["delta", "register", "gauge"]))
    site = draw(st.sampled_from(["site-1", "site-2"]))
    return {
        "meter_id": draw(st.sampled_from(["m1", "m2"])),
        "register": draw(st.sampled_from(["it.energy", "facility.energy"])),
        "kind": kind,
        "start_ms": (end - draw(st.integers(1, 2))) * 1_000,
        "end_ms": end * 1_000,
        "quantity": draw(st.integers(-1, 11_999)),
        "unit": "mW" if kind == "gauge" else "mJ",
        "revision": draw(st.integers(0, 2)),
        "quality": draw(st.sampled_from(["ACTUAL", "ESTIMATE"])),
        "epoch": draw(st.integers(0, 1)),
        "site_id": site,
        "rack_id": draw(st.sampled_from(["", "rack-1", "rack-2"])),
        "hub_id": "hub",
        "account_id": "payer",
        "source": draw(st.sampled_from(["a", "b"])),
        "source_partition": 0,
        "source_offset": 0,
        "source_row": 0,
        "received_ms": draw(st.integers(0, 2 * KEPT_MS)),
        "registry_offset": 1,
    }


# of a stage: its state, its source, a row of it
CASES: dict[str, Any] = {
    "meter.readings": (lambda: Slots(KEPT_MS), READINGS, readings()),
    "rollup.readings": (lambda: Windows(WINDOW_MS, KEPT_MS), READINGS, readings()),
    "rollup.rollups.partial": (
        Merge,
        ROLLUPS_PARTIAL,
        partials(registers=("it.energy", "facility.energy")),
    ),
}


def said(stage: str, rows: list[dict[str, Any]], bounds: list[int]) -> Any:
    """(topic, key, revision) -> row, the last revision of each key, refusals, counts."""
    new, topic, _ = CASES[stage]
    state = new()
    found: dict[Any, Any] = {}
    last: dict[Any, int] = {}
    refused: list[Any] = []
    counts: Counter[str] = Counter()
    for start, stop in pairwise(bounds):
        given_rows = topic.rows(rows[start:stop])
        emit = STAGES[stage].step(state, Batch(topic, 0, start, given_rows, REGISTRY.at(1)))
        for term in ("accepted", "duplicate", "superseded"):
            counts[term] += getattr(emit, term)
        refused += [(start + r.row, r.reason, r.field, r.message) for r in emit.refused]
        for output in emit.outputs:
            for row in output.rows.to_pylist():
                key = (output.topic.name, *(row[name] for name in output.topic.key))
                assert found.setdefault((*key, row["revision"]), row) == row
                assert row["revision"] >= last.get(key, 0), "the newest row is not the last"
                last[key] = row["revision"]
    return found, last, sorted(refused), counts


def test_every_stage_that_gathers_has_a_case() -> None:
    assert {name for name, stage in STAGES.items() if stage.gathers} == CASES.keys()


@pytest.mark.parametrize("stage", CASES)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_rows_do_not_rest_on_the_cut(stage: str, data: Any) -> None:
    rows = data.draw(st.lists(CASES[stage][2], max_size=24))
    inner = data.draw(st.lists(st.integers(0, len(rows)), max_size=4))
    row_by_row, last, refused, counts = said(stage, rows, list(range(len(rows) + 1)))

    found, *rest = said(stage, rows, [0, *sorted(inner), len(rows)])

    assert {key: row_by_row.get(key) for key in found} == found
    assert rest == [last, refused, counts]
