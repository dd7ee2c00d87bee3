"""Compiled filters, prices and proof beside their numpy twins: the same bits, whatever comes in."""

import os
from collections.abc import Callable
from dataclasses import fields, replace
from math import fsum
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernels.match._certificate import exact_sum

from kernels.match import (
    ANY,
    Jobs,
    Network,
    Policy,
    Rules,
    Series,
    Sites,
    Terms,
    certify,
    match,
)
from kernels.match.checks import Admitted, admit, admit_terms
from kernels.match.columns import Texts
from kernels.match.ids import order_of, places_of
from kernels.match.problem import compile_problem, run_slots, slots_at
from tests.property.match_cases import Problem, random_problem, random_terms

_OFTEN = settings(
    max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
_SEEDS = st.integers(0, 2**32 - 1)
_SPOILT: dict[str, float] = {
    "duration_ms": 0,
    "max_rtt_ms": np.nan,
    "origin_hub": 99,
    "data_site": 99,
    "data_gb": np.inf,
    "reject_cost": -1.0,
    "job_class": 3,
}


def _admitted(seed: int, problem: Problem) -> Admitted:
    """What is left of a problem some of whose jobs and sites cannot be used."""
    jobs, sites, series, network, _ = problem
    random = np.random.default_rng(seed + 7)
    for name in random.choice(list(_SPOILT), 2):
        column = getattr(jobs, name).copy()
        column[random.random(len(column)) < 0.15] = _SPOILT[name]
        jobs = replace(jobs, **{name: column})
    if random.random() < 0.3:
        pue = sites.pue_ppm.copy()
        pue[random.integers(len(pue))] = 0
        sites = replace(sites, pue_ppm=pue)
    return admit(jobs, sites, series, network)


def _columns(seed: int) -> tuple[Any, ...]:
    """Jobs, sites and series without their bad rows, network and policy."""
    problem = random_problem(seed)
    at, per_ms = _admitted(seed, problem), (0.0, 0.01)[seed % 2]
    policy = Policy(carbon_price_per_kg=0.1, latency_price_per_ms=per_ms)
    return at.jobs, at.sites, at.series, problem[3], policy


def _both(call: Callable[[], Any]) -> tuple[Any, Any]:
    """The compiled answer and the plain one."""
    compiled = call()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRIDLOOM_PURE", "1")
        return compiled, call()


def _assert_same_bits(left: Any, right: Any, name: str = "") -> None:
    if isinstance(left, np.ndarray):
        assert (left.dtype, left.shape) == (right.dtype, right.shape), name
        assert left.tobytes() == right.tobytes(), name
    elif hasattr(left, "_fields"):
        for field in left._fields:
            _assert_same_bits(getattr(left, field), getattr(right, field), f"{name}.{field}")
    else:
        assert left == right, name


def _random_plan(seed: int, jobs: int, sites: int, slots: int) -> dict[str, np.ndarray]:
    """Any site and slot, prices of which a few are below zero: the proof is to say so."""
    random = np.random.default_rng(seed + 11)
    site = random.integers(-1, sites, jobs).astype(np.int32)
    prices = random.exponential(1e-3, (sites, slots, 5)) * (random.random((sites, slots, 5)) < 0.7)
    if random.random() < 0.1:
        prices *= -1.0
    slot = np.where(site >= 0, random.integers(0, slots, jobs), ANY).astype(np.int32)
    return {"site": site, "slot": slot, "prices": prices}


@_OFTEN
@given(seed=_SEEDS)
def test_the_compiled_problem_is_that_of_numpy_bit_for_bit(seed: int) -> None:
    columns = _columns(seed)
    _assert_same_bits(*_both(lambda: compile_problem(*columns)))


def _one_slot(seed: int) -> tuple[Any, ...]:
    """Up to 11 sites and one slot; what jobs ask for is what a site has, or one unit more."""
    random = np.random.default_rng(seed)
    n, m, hubs = (int(random.integers(*span)) for span in ((1, 30), (1, 12), (1, 70)))
    most = random.choice([3, 10**6, 2**39, 2**62])
    capacity = random.integers(0, most + 1, (m, 1, 5))
    pue = random.integers(1_000_000, 3_000_000, m)
    drawn = np.stack([capacity[:, 0, k] for k in range(5)], axis=1).astype(object)
    drawn[:, [2, 4]] = drawn[:, [2, 4]] * 10**6 // pue.astype(object)[:, None]
    asked = drawn[random.integers(0, m, n)] + random.integers(0, 2, (n, 1))
    asked = np.where(random.random((n, 5)) < random.choice([0.1, 1.0]), 0, asked)
    even = random.random() < 0.5
    rates = [10**6] if even else [0, 10**6, 10**6, 2 * 10**6]
    if even and random.random() < 0.1:
        rates = [0]
    price_per_gb = random.choice([0.0, 0.01, 0.3], (hubs + 3, hubs))
    rtt = random.uniform(0, 40, (hubs + 3, hubs))
    rtt[random.random(rtt.shape) < 0.05] = np.inf
    jobs = Jobs.of(
        [f"job-{k:02d}" for k in range(n)],
        np.minimum(asked, 2**39).astype(np.int64),
        job_class=random.integers(0, 3, n),
        precision=random.integers(0, 4, n),
        duration_ms=random.integers(1, 5000, n),
        release_slot=random.choice([-3, 0, 0, 0, 1], n),
        deadline_slot=random.choice([-1, -1, 0, 1, 2, 3], n),
        origin_hub=random.integers(-1, hubs + 3, n),
        max_rtt_ms=random.choice([10.0, 30.0, np.inf], n),
        residency=np.where(random.random(n) < 0.2, random.integers(-(2**62), 2**62, n), -1),
        affinity=np.where(random.random(n) < 0.1, random.integers(0, m, n), -1),
        data_gb=random.choice([0.0, 5.0, 40.0], n),
        data_site=random.integers(-1, m, n),
        data_hub=random.integers(-1, hubs + 3, n),
        current_site=random.integers(-1, m, n),
        migration_cost=random.uniform(0, 2, n),
        reject_cost=random.uniform(0, 8, n),
    )
    sites = Sites.of(
        [f"site-{k}" for k in range(m)],
        capacity,
        1,
        hub=random.integers(0, hubs, m),
        pue_ppm=pue,
        classes=random.choice([7, 7, 3, 5], m),
        rate_ppm=random.choice(rates, (m, 3, 4)),
        up=random.random(m) < 0.9,
    )
    prices = random.uniform(-50, 900, (m, 1))
    policy = Policy(latency_price_per_ms=(0.0, 0.01)[seed % 2])
    return jobs, sites, Series.of(1000, prices, prices), Network.of(rtt, price_per_gb), policy


@_OFTEN
@given(seed=_SEEDS)
def test_at_any_number_of_sites_a_problem_of_one_slot_is_that_of_numpy(seed: int) -> None:
    jobs, sites, series, *others = _one_slot(seed)
    assert not admit(jobs, sites, series, others[0]).errors
    compiled, plain = _both(lambda: compile_problem(jobs, sites, series, *others))
    _assert_same_bits(compiled, plain)
    site = np.random.default_rng(seed).integers(-1, len(sites.up), len(jobs.job_id))
    site[compiled.reason != 0] = ANY
    site = np.where(run_slots(jobs, sites, series)[np.arange(len(site)), site] > 0, site, ANY)
    at = site.astype(np.int32)
    whole = np.where(at >= 0, run_slots(jobs, sites, series)[np.arange(len(at)), at], 0)
    for slots in _both(lambda: slots_at(jobs, sites, series, at)):
        _assert_same_bits(slots, whole.astype(np.int32))


@_OFTEN
@given(seed=_SEEDS)
def test_the_compiled_certificate_is_that_of_numpy_bit_for_bit(seed: int) -> None:
    """Of plans that break every kind of constraint too."""
    columns = _columns(seed)
    plan = _random_plan(seed, len(columns[0].job_id), *columns[1].capacity.shape[:2])
    compiled, plain = _both(lambda: certify(*columns, **plan))
    _assert_same_bits(compiled._replace(violations=()), plain._replace(violations=()))
    assert sorted(compiled.violations) == sorted(plain.violations)


def _one_slot(seed: int) -> tuple[Any, ...]:
    """One slot and up to nine sites: of hubs in any order or their own, far apart in rate, or of
    demands too large for what a double holds exactly."""
    random = np.random.default_rng(seed)
    n, m, own = int(random.integers(1, 30)), int(random.integers(1, 10)), random.random() < 0.5
    hubs, rates = int(random.integers(m, 80)), [0, 1, 300_000, 1_000_000, 1_000_000_000]
    demand = random.integers(0, 10 ** random.integers(1, 6, (n, 5)))
    # times 9.999999 it is a whole number, or little more than one
    demand[random.random((n, 5)) < 0.1] = 549_755_000_000 - random.integers(2)
    pue = random.choice([1_000_000, 1_234_567, 9_999_999, 10_000_000], m)
    # what one of the jobs draws there, or almost, or as much as all
    drawn = -(-demand[random.integers(0, n, m)] * pue[:, None] // 1_000_000)
    capacity = np.where(
        random.random((m, 5)) < 0.5, drawn - random.integers(0, 2, m)[:, None], 2**62
    )
    jobs = Jobs.of(
        [f"job-{k:02d}" for k in range(n)],
        demand,
        job_class=random.integers(0, 3, n),
        precision=random.integers(0, 4, n),
        duration_ms=10 ** random.integers(0, 10, n),
        release_slot=random.integers(-1, 2, n),
        deadline_slot=random.integers(-1, 4, n),
        origin_hub=random.integers(-1, hubs, n),
        max_rtt_ms=random.choice([5.0, 15.0, np.inf], n),
        residency=np.where(random.random(n) < 0.3, random.integers(-(2**63), 2**63, n), -1),
        affinity=np.where(random.random(n) < 0.1, random.integers(0, m, n), -1),
        data_gb=random.choice([0.0, 2.5, 40.0], n),
        data_site=random.integers(-1, m, n),
        data_hub=random.integers(-1, hubs, n),
        current_site=random.integers(-1, m, n),
        migration_cost=random.uniform(0, 2, n),
        reject_cost=random.uniform(0, 8, n),
        priority=random.integers(0, 4, n),
    )
    sites = Sites.of(
        [f"site-{k}" for k in range(m)],
        np.maximum(capacity, 0)[:, None],
        1,
        hub=np.arange(m) if own else random.integers(0, hubs, m),
        pue_ppm=pue,
        classes=random.choice([7, 7, 3, 5], m),
        rate_ppm=np.where(
            random.random((1, 3, 4)) < 0.5, 1_000_000, random.choice(rates, (m, 3, 4))
        ),
        up=random.random(m) < 0.9,
    )
    rtt, per_gb = random.uniform(1, 25, (hubs, hubs)), random.uniform(0, 0.05, (hubs, hubs))
    rtt[random.random((hubs, hubs)) < 0.1] = np.inf
    per_gb[random.random((hubs, hubs)) < 0.1] = np.inf
    series = Series.of(1000, random.uniform(-50, 900, (m, 1)), random.uniform(0, 0.9, (m, 1)))
    policy = Policy(carbon_price_per_kg=0.1, latency_price_per_ms=(0.0, 0.01)[seed % 2])
    return jobs, sites, series, Network.of(rtt, per_gb), policy


@_OFTEN
@given(seed=_SEEDS)
def test_one_slot_is_proved_with_the_bits_of_numpy(seed: int) -> None:
    columns = _one_slot(seed)
    at = admit(*columns[:4])
    assert not at.errors
    columns = (at.jobs, at.sites, at.series, *columns[3:])
    plan = _random_plan(seed, len(at.jobs.job_id), len(at.sites.up), 1)
    compiled, plain = _both(lambda: certify(*columns, **plan))
    _assert_same_bits(compiled._replace(violations=()), plain._replace(violations=()))
    assert sorted(compiled.violations) == sorted(plain.violations)


@_OFTEN
@given(seed=_SEEDS)
def test_terms_that_say_nothing_change_no_bit(seed: int) -> None:
    """The compiled pass knows no terms: numpy's, which does, gives the same where they are mute."""
    columns = _columns(seed)
    every = np.ones((1, len(columns[1].up)), np.bool_)
    mute = Terms.of(columns[1], rules=Rules.of([1_000_000], every))
    compiled, plain = compile_problem(*columns), compile_problem(*columns, terms=mute)
    _assert_same_bits(compiled.problem._replace(pools=None), plain.problem._replace(pools=None))
    _assert_same_bits(compiled._replace(problem=None), plain._replace(problem=None))
    plan = _random_plan(seed, len(columns[0].job_id), *columns[1].capacity.shape[:2])
    one, other = certify(*columns, **plan), certify(*columns, **plan, terms=mute)
    _assert_same_bits(one._replace(violations=()), other._replace(violations=()))


@_OFTEN
@given(seed=_SEEDS, per_ms=st.sampled_from([0.0, 0.01]))
def test_under_terms_and_a_price_of_latency_no_switch_changes_a_bit(
    seed: int, per_ms: float
) -> None:
    problem, terms = random_terms(seed)
    at = _admitted(seed, problem)
    held, _ = admit_terms(terms)
    policy = Policy(carbon_price_per_kg=0.1, latency_price_per_ms=per_ms)
    columns = (at.jobs, at.sites, at.series, problem[3], policy)
    _assert_same_bits(*_both(lambda: compile_problem(*columns, held)))
    plan = _random_plan(seed, len(at.jobs.job_id), *at.sites.capacity.shape[:2])
    _assert_same_bits(*_both(lambda: certify(*columns, **plan, terms=held)))


@_OFTEN
@given(values=st.lists(st.floats(-1e300, 1e300), max_size=40), again=st.booleans())
def test_an_exact_sum_is_rounded_once(values: list[float], again: bool) -> None:
    """math.fsum is the oracle; what cancels leaves what is tiny."""
    if again:
        values = [*values, *(-value for value in values), *values[:3]]
    assert exact_sum(np.array(values, np.float64)) == fsum(values)


def test_an_exact_sum_of_millions_has_room_for_them() -> None:
    values = np.full(2_500_000, 2.0 - 2.0**-52)
    values[::3] = -(2.0**-1074)
    assert exact_sum(values) == fsum(values)


@_OFTEN
@given(seed=_SEEDS, gap=st.sampled_from([0.0, 0.05, 1.0]))
def test_the_compiled_reasons_are_those_of_numpy_bit_for_bit(seed: int, gap: float) -> None:
    """Of plans that are far from the best too: more jobs are kept from what they want."""
    *columns, _ = random_problem(seed)
    policy = Policy(gap_target=gap, iterations=20, work=2_000)
    compiled, plain = _both(lambda: match(*columns, policy))
    for name in ("reason", "reason_site", "reason_resource", "second_cost", "relax", "cost_micro"):
        _assert_same_bits(getattr(compiled, name), getattr(plain, name), name)


@_OFTEN
@given(seed=_SEEDS)
def test_the_compiled_telling_is_that_of_numpy_bit_for_bit(seed: int) -> None:
    """Of jobs in any order, some of them left out, joined or bound to a site."""
    (jobs, *columns, policy), terms = random_terms(seed)
    duration = np.where(np.arange(len(jobs.job_id)) % 5 == seed % 9, 0, jobs.duration_ms)
    jobs = replace(jobs, duration_ms=duration, together=jobs.pairing)
    policy = replace(policy, iterations=20, work=2_000)
    one, other = _both(lambda: match(jobs, *columns, policy, terms=terms))
    for field in fields(one):
        _assert_same_bits(getattr(one, field.name), getattr(other, field.name), field.name)


def test_every_column_of_a_job_can_be_spoilt() -> None:
    problem = random_problem(3)
    assert set(_SPOILT) <= {column.name for column in fields(problem[0])}
    spoilt = [_admitted(seed, random_problem(seed)).errors for seed in range(40)]
    assert {error.column for errors in spoilt for error in errors} >= {*_SPOILT, "pue_ppm"}


def _ids(random: np.random.Generator) -> Texts:
    """Mostly ascending, or wholly out of order."""
    size, letters = random.integers(0, random.choice((40, 900))), random.integers(1, 7)
    ids = np.sort(random.integers(0, 2 * size + 1, size)).astype(f"<U{letters}")  # some come twice
    moved = random.random(size) < random.choice((0.0, 0.1, 1.0))
    ids[moved] = random.permutation(ids[moved])
    return ids


@pytest.mark.parametrize("pure", ["0", "1"])
@_OFTEN
@given(_SEEDS)
def test_jobs_in_any_order_are_put_in_the_same_one(pure: str, seed: int) -> None:
    ids = _ids(np.random.default_rng(seed))
    size = len(ids)
    with patch.dict(os.environ, GRIDLOOM_PURE=pure):
        row, twice = order_of(ids)
    assert twice == (len(set(ids.tolist())) < size)
    wanted = sorted(range(size), key=lambda at: (ids[at], at))
    assert wanted == (list(range(size)) if row is None else row.tolist())
    assert (row is None) == (wanted == list(range(size)))


@pytest.mark.parametrize("pure", ["0", "1"])
@_OFTEN
@given(_SEEDS)
def test_ids_are_found_among_others_in_any_order(pure: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    known = random.permutation(np.unique(_ids(random)))
    wanted = np.unique(_ids(random))
    if not len(known):
        return
    with patch.dict(os.environ, GRIDLOOM_PURE=pure):
        found = places_of(known, wanted)
    place = {text: at for at, text in enumerate(known.tolist())}
    assert found.tolist() == [place.get(text, ANY) for text in wanted.tolist()]
