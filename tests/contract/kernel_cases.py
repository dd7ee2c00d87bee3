"""The contract suite's case of every kernel: items (readings, jobs, regions) and what each gets.

A case answers an input that is given as the order of its items, with or without one bad item in
front. An answer is under the item's own name, so that two runs can be compared item by item.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np

from kernels import balance, match, meter, rollup
from schemas import READINGS

Answers = dict[Any, Any]

_HOUR_MS = 3_600_000
_QUARTER_MS = 900_000
_T0 = 1_767_225_600_000


@dataclass(frozen=True, slots=True)
class Case:
    """A kernel's case: `answer(order, bad)` -> (answers by item, names of the items refused)."""

    items: int
    answer: Callable[[Sequence[int], bool], tuple[Answers, list[Any]]]
    plain_twin: bool  # reference.py computes the same by plain Python


def _reading(item: int, **given: object) -> dict[str, object]:
    """Three meters, each with quarter-hours of two kinds, of two sources, one revised."""
    meter_id, place = item % 3, item // 3
    end_ms = _T0 + (place // 2 + 1) * _QUARTER_MS
    row: dict[str, object] = {
        "meter_id": f"m{meter_id}",
        "register": ("it.energy", "facility.energy")[place % 2],
        "kind": ("delta", "register")[place % 2],
        "start_ms": end_ms - _QUARTER_MS,
        "end_ms": end_ms,
        "quantity": 1_000_000 * (place + 1) + item,
        "unit": "mJ",
        "revision": 0,
        "quality": "ACTUAL",
        "epoch": 0,
        "site_id": "s",
        "rack_id": f"r{meter_id}",
        "hub_id": "h",
        "account_id": "a",
        "source": f"gateway-{meter_id % 2}",
        "source_partition": 0,
        "source_offset": item,
        "source_row": 0,
        "received_ms": _T0 + 6 * _QUARTER_MS,
        "registry_offset": 0,
    }
    return row | given


def _readings(order: Sequence[int], bad: bool) -> Any:
    rows = [_reading(item) for item in order]
    wrong = [_reading(7, unit="furlong", source="bad"), _reading(4, quantity=-1, source="bad")]
    return READINGS.rows([*wrong, *rows] if bad else rows)


def _by_key(rows: Any, key: tuple[str, ...]) -> Answers:
    listed = ((tuple(row[name] for name in key), row) for row in rows.to_pylist())
    return {name: {k: v for k, v in row.items() if k != "revision"} for name, row in listed}


def _meter(order: Sequence[int], bad: bool) -> tuple[Answers, list[Any]]:
    applied = meter.Slots().apply(_readings(order, bad))
    key = ("meter_id", "register", "kind", "end_ms")
    return _by_key(applied.changed, key), [refusal.row for refusal in applied.refused]


def _rollup(order: Sequence[int], bad: bool) -> tuple[Answers, list[Any]]:
    applied = rollup.Windows().apply(_readings(order, bad), 0)
    answers = {}
    for rows in (applied.rollups, applied.partials):
        answers |= _by_key(rows, ("level", "id", "register", "start_ms"))
    return answers, [refusal.row for refusal in applied.refused]


def _match(order: Sequence[int], bad: bool) -> tuple[Answers, list[Any]]:
    """Jobs of one to three cores for two sites that have not room for all of them."""
    names = [f"job-{item}" for item in order]
    cores = [1_000 * (1 + item % 3) for item in order]
    reject = [1.0 + 0.37 * item for item in order]
    if bad:
        names, cores, reject = ["bad", *names], [1_000, *cores], [nan, *reject]
    demand = [[n, 0, 1_000 + n, 0, 0] for n in cores]
    jobs = match.Jobs.of(names, demand, duration_ms=_HOUR_MS, reject_cost=np.array(reject))
    sites = match.Sites.of(["near", "far"], [[5_000, 0, 10**6, 0, 0], [4_000, 0, 10**6, 0, 0]], 2)
    series = match.Series.of(_HOUR_MS, [[211.0, 307.0], [401.0, 103.0]], 0.0)
    plan = match.match(jobs, sites, series)
    columns = (plan.job_id, plan.site.tolist(), plan.slot.tolist(), plan.cost_micro.tolist())
    answers = {str(name): rest for name, *rest in zip(*columns, strict=True)}
    answers.pop("bad", None)
    return answers, sorted({error.row for error in plan.errors})


def _balance(order: Sequence[int], bad: bool) -> tuple[Answers, list[Any]]:
    """Regions of their own with prices that leave one best plan each."""
    given = list(order) if not bad else [99, *order]
    place = np.array(given)[:, None] % 97
    load = 10.0 + place + np.arange(4)
    if bad:
        load[0, 2] = nan
    network = balance.Network.of(
        regions=tuple(f"region-{item}" for item in given),
        dt_h=1.0,
        load_mw=load,
        ren_avail_mw=5.0 + 2 * place + 0 * load,
        import_max_mw=100.0,
        export_max_mw=100.0,
        import_price=50.0 + place + np.array([0.0, 7.0, 3.0, 11.0]),
        export_price=20.0 + place + np.array([0.0, 1.0, 0.5, 2.0]),
        voll=5_000.0,
    )
    plan = balance.balance(network)
    parts = (plan.import_mw, plan.export_mw, plan.curtailed_mw, plan.prices.bus)
    answers = {
        region: [np.round(part[k], 9).tolist() for part in parts]
        for k, region in enumerate(network.regions)
    }
    answers.pop("region-99", None)
    return answers, sorted({error.region for error in plan.errors})


KERNELS = {
    "balance": Case(6, _balance, plain_twin=False),
    "match": Case(9, _match, plain_twin=True),
    "meter": Case(24, _meter, plain_twin=True),
    "rollup": Case(24, _rollup, plain_twin=True),
}
REFUSED = {"balance": ["region-99"], "match": [0], "meter": [0, 1], "rollup": [0, 1]}
