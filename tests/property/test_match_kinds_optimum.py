"""Many jobs of few kinds keep every constraint together; the optimum lies between the bounds."""

from dataclasses import replace
from itertools import product

import highspy
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernels.match import Plan, Terms, match, shares
from kernels.match import kinds as bundling
from kernels.match.kinds import kinds_of
from tests.property.match_cases import Problem, random_terms
from tests.property.match_oracle import is_member, need, options_of

_SLOWLY = settings(
    max_examples=14, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
_SEEDS = st.integers(0, 2**32 - 1)
_TIMES = 60
_SEED = 17  # nine kinds, most of their jobs placed


@pytest.fixture(autouse=True, params=["shares", "bundles"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Kinds split by their program, and in bundles as where it is too large; few jobs too."""
    monkeypatch.setattr(bundling, "_PARTS", 8)
    monkeypatch.setattr(bundling, "_JOBS_MIN", 2)
    if request.param == "bundles":
        monkeypatch.setattr(shares, "_ENTRIES_MAX", 0)
    return str(request.param)


def _many(seed: int) -> tuple[Problem, Problem, Terms]:
    """A small problem, the same with every job many times in an order of its own, and its terms."""
    (jobs, sites, series, network, policy), terms = random_terms(seed)
    random = np.random.default_rng(seed)
    jobs = replace(
        jobs,
        apart=np.full(len(jobs.job_id), -1),
        priority=np.zeros_like(jobs.priority),
        current_site=np.full(len(jobs.job_id), -1),
    )
    rows = random.permutation(np.repeat(np.arange(len(jobs.job_id)), _TIMES))
    many = replace(jobs.take(rows), job_id=np.array([f"{k:05d}" for k in range(len(rows))]))
    wide = replace(sites, capacity=sites.capacity * _TIMES)
    limit = terms.quotas.limit
    quotas = replace(terms.quotas, limit=np.where(limit == -1, -1, limit * _TIMES))
    one = (jobs, wide, series, network, policy)
    return one, (many, wide, series, network, policy), Terms(quotas, terms.rules)


def _optimum(problem: Problem, terms: Terms, *, whole: bool = True) -> tuple[float, float]:
    """HiGHS, numbers of jobs of each kind at each option: its bound and its best."""
    jobs, sites, series = problem[:3]
    options = options_of(problem, terms)
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("threads", 1)
    highs.setOptionValue("mip_rel_gap", 1e-5)
    highs.setOptionValue("time_limit", 5.0)
    number = highs.addIntegral if whole else highs.addVariable
    place = [number(lb=0, ub=_TIMES, obj=cost) for *_, cost in options]
    refuse = [number(lb=0, ub=_TIMES, obj=cost) for cost in jobs.reject_cost.tolist()]
    for i in range(len(jobs.job_id)):
        mine = [x for x, option in zip(place, options, strict=True) if option[0] == i]
        highs.addConstr(sum(mine, refuse[i] * 1.0) == _TIMES)

    def keep(limit: int, k: int, t: int, counted: list[bool]) -> None:
        use = [
            x * float([*need(jobs, sites, i, m), 1][k])
            for x, (i, m, start, runs, _), of in zip(place, options, counted, strict=True)
            if of and start <= t < start + runs
        ]
        if use and limit != -1:
            highs.addConstr(sum(use[1:], use[0]) <= float(limit))

    slots = range(series.price_per_mwh.shape[1])
    for m, t, k in product(range(len(sites.site_id)), slots, range(5)):
        keep(int(sites.capacity[m, t, k]), k, t, [option[1] == m for option in options])
    for q, t, k in product(range(len(terms.quotas.quota_id)), slots, range(6)):
        of = [
            bool(terms.quotas.covers[q, m]) and is_member(terms, q, jobs, i) for i, m, *_ in options
        ]
        keep(int(terms.quotas.limit[q, t, k]), k, t, of)
    highs.run()
    return float(highs.getInfo().mip_dual_bound), float(highs.getInfo().objective_function_value)


@_SLOWLY
@given(seed=_SEEDS)
def test_the_optimum_of_whole_numbers_lies_between_dual_and_primal(seed: int) -> None:
    one, many, terms = _many(seed)
    plan = match(*many, terms=terms)
    least, found = _optimum(one, terms)
    slack = 1e-6 * (1.0 + float(many[0].reject_cost.sum()))
    assert plan.dual <= found + slack
    assert least <= plan.primal + slack


@_SLOWLY
@given(seed=_SEEDS)
def test_the_bound_of_shares_is_the_optimum_with_fractions_of_jobs(seed: int, way: str) -> None:
    """Or more, where a quota's limit is no multiple of what its members ask for."""
    one, many, terms = _many(seed)
    if way == "shares":
        plan, (_, linear) = match(*many, terms=terms), _optimum(one, terms, whole=False)
        assert plan.dual >= linear - 1e-6 * (1.0 + float(many[0].reject_cost.sum()))


@_SLOWLY
@given(seed=_SEEDS)
def test_every_capacity_and_quota_is_kept_job_by_job(seed: int) -> None:
    _, many, terms = _many(seed)
    jobs, sites = many[:2]
    plan = match(*many, terms=terms)
    used = np.zeros((*sites.capacity.shape[:2], 6), np.int64)
    counted = np.zeros(terms.quotas.limit.shape, np.int64)
    for i in np.flatnonzero(plan.site >= 0).tolist():
        m, s, runs = int(plan.site[i]), int(plan.slot[i]), int(plan.slots[i])
        taken = np.array([*need(jobs, sites, i, m), 1])
        for t in range(s, min(s + runs, used.shape[1])):
            used[m, t] += taken
            for q in range(len(counted)):
                if terms.quotas.covers[q, m] and is_member(terms, q, jobs, i):
                    counted[q, t] += taken
    assert (used[:, :, :5] == plan.used).all()
    assert (plan.used <= sites.capacity).all()
    assert (counted == plan.quota_used).all()
    assert ((terms.quotas.limit == -1) | (counted <= terms.quotas.limit)).all()


@_SLOWLY
@given(seed=_SEEDS)
def test_jobs_told_apart_by_nothing_that_matters_give_a_plan_within_the_gap(seed: int) -> None:
    _, (jobs, *columns), terms = _many(seed)
    early = np.where(jobs.release_slot <= 0, -np.arange(len(jobs.job_id)), jobs.release_slot)
    together = match(jobs, *columns, terms=terms)
    each = match(replace(jobs, release_slot=early), *columns, terms=terms)
    slack = 1e-9 * (1.0 + float(jobs.reject_cost.sum()))
    assert together.dual <= each.primal + slack
    assert each.dual <= together.primal + slack


@settings(_SLOWLY, max_examples=6)
@given(seed=_SEEDS)
def test_both_engines_and_any_order_give_the_same_plan(seed: int) -> None:
    _, (jobs, *columns, policy), terms = _many(seed)
    jobs, columns = jobs.take(np.arange(60)), [*columns, replace(policy, work=2_000, passes=1)]
    compiled = match(jobs, *columns, terms=terms)
    order = np.random.default_rng(seed).permutation(len(jobs.job_id))
    turned = match(jobs.take(order), *columns, terms=terms)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRIDLOOM_PURE", "1")
        plain = match(jobs, *columns, terms=terms)
    for name in ("site", "slot", "reason", "reason_quota", "cost_micro", "second_cost", "relax"):
        assert (getattr(compiled, name) == getattr(plain, name)).all(), name
        assert (getattr(compiled, name)[order] == getattr(turned, name)).all(), name
    assert (compiled.primal, compiled.dual) == (plain.primal, plain.dual)


def _places(plan: Plan, rows: np.ndarray) -> list[tuple[int, int]]:
    return [(int(plan.site[i]), int(plan.slot[i])) for i in rows]


def test_places_are_handed_out_in_order_of_the_job_ids() -> None:
    _, (jobs, *columns), terms = _many(_SEED)
    plan = match(jobs, *columns, terms=terms)
    kinds = kinds_of(jobs, np.full(len(jobs.job_id), -1, np.int32))
    assert kinds is not None
    for kind in range(len(kinds.first)):
        given = _places(plan, np.flatnonzero(kinds.kind == kind))
        placed = [place for place in given if place[0] >= 0]
        assert placed == sorted(placed)
        assert given[: len(placed)] == placed


def test_a_warm_start_keeps_many_jobs_of_few_kinds_where_they_are() -> None:
    _, (jobs, *columns), terms = _many(_SEED)
    before = match(jobs, *columns, terms=terms)
    again = match(jobs, *columns, terms=terms, warm=before.warm())
    assert again.primal <= before.primal * (1 + 1e-12)
    stayed = (again.site == before.site) & (again.slot == before.slot)
    assert stayed.mean() > 0.95


def test_jobs_that_may_not_share_a_site_are_never_bundled() -> None:
    _, (jobs, *_), _ = _many(_SEED)
    apart = replace(jobs, apart=np.zeros(len(jobs.job_id), np.int64))
    assert kinds_of(apart, np.full(len(jobs.job_id), -1, np.int32)) is None
