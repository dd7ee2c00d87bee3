"""Quotas, rules, weights, groups apart: kept to the unit, HiGHS' optimum between the bounds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernels.match import Plan, Reason, Terms, match
from kernels.match.joint import SAME
from tests.property.match_cases import Problem, random_terms
from tests.property.match_oracle import is_member, lifted, need, optimum_of, options_of

_SLOWLY = settings(
    max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
_SEEDS = st.integers(0, 2**32 - 1)


def _use(problem: Problem, plan: Plan, job: int) -> list[tuple[int, list[int]]]:
    """(slot, units of what quotas may limit) of a placed job."""
    horizon = problem[2].price_per_mwh.shape[1]
    site, start = int(plan.site[job]), int(plan.slot[job])
    taken = [*need(problem[0], problem[1], job, site), 1]
    return [(t, taken) for t in range(start, min(start + int(plan.slots[job]), horizon))]


def _assert_kept(problem: Problem, terms: Terms, plan: Plan) -> None:
    jobs, sites = problem[:2]
    cost_of = {(i, m, s): cost for i, m, s, _, cost in options_of(problem, terms)}
    used = np.zeros((*sites.capacity.shape[:2], 6), dtype=object)
    counted = np.zeros(terms.quotas.limit.shape, dtype=object)
    at_once: dict[tuple[int, int, int], int] = {}
    for i in np.flatnonzero(plan.site >= 0).tolist():
        m, s = int(plan.site[i]), int(plan.slot[i])
        assert abs(plan.cost_micro[i] - cost_of[i, m, s] * 1e6) <= 1
        for t, taken in _use(problem, plan, i):
            used[m, t] += np.array(taken, dtype=object)
            for q in range(len(counted)):
                if terms.quotas.covers[q, m] and is_member(terms, q, jobs, i):
                    counted[q, t] += np.array(taken, dtype=object)
            if jobs.apart[i] >= 0:
                place = (int(jobs.apart[i]), m, t)
                at_once[place] = at_once.get(place, 0) + 1
    assert (used[:, :, :5] <= sites.capacity).all()
    assert ((terms.quotas.limit == -1) | (counted <= terms.quotas.limit)).all()
    assert (counted == plan.quota_used).all()
    assert max(at_once.values(), default=0) <= 1


@_SLOWLY
@given(seed=_SEEDS)
def test_every_quota_is_kept_and_the_optimum_lies_between_dual_and_primal(seed: int) -> None:
    problem, terms = random_terms(seed)
    plan = match(*problem, terms=terms)
    _assert_kept(problem, terms, plan)
    optimum, slack = optimum_of(problem, terms), 1e-7 * (1.0 + sum(lifted(problem, terms)))
    assert plan.dual <= optimum + slack
    assert optimum <= plan.primal + slack


@_SLOWLY
@given(seed=_SEEDS)
def test_both_engines_give_the_same_plan_under_terms(seed: int) -> None:
    problem, terms = random_terms(seed)
    compiled = match(*problem, terms=terms)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRIDLOOM_PURE", "1")
        plain = match(*problem, terms=terms)
    for name in Plan.__dataclass_fields__:
        left, right = getattr(compiled, name), getattr(plain, name)
        assert np.array_equal(left, right) if isinstance(left, np.ndarray) else left == right, name


@settings(_SLOWLY, max_examples=40)
@given(seed=_SEEDS)
def test_under_terms_the_order_of_the_jobs_does_not_matter(seed: int) -> None:
    problem, terms = random_terms(seed)
    order = np.random.default_rng(seed).permutation(len(problem[0].job_id))
    one = match(*problem, terms=terms)
    other = match(problem[0].take(order), *problem[1:], terms=terms)
    for name in ("site", "slot", "reason", "reason_quota", "relax"):
        assert (getattr(one, name)[order] == getattr(other, name)).all(), name
    assert (one.quota_prices == other.quota_prices).all()
    assert (one.primal, one.dual) == (other.primal, other.dual)


@settings(_SLOWLY, max_examples=40)
@given(seed=_SEEDS, budget=st.integers(0, 2))
def test_a_warm_start_and_a_moves_budget_go_with_terms(seed: int, budget: int) -> None:
    (*columns, policy), terms = random_terms(seed)
    problem = (*columns, replace(policy, max_moves=budget))
    before = match(*problem, terms=terms)
    again = match(*problem, terms=terms, warm=before.warm())
    _assert_kept(problem, terms, again)
    optimum, slack = optimum_of(problem, terms), 1e-7 * (1.0 + sum(lifted(problem, terms)))
    assert again.dual <= optimum + slack
    assert optimum <= again.primal + slack


@settings(_SLOWLY, max_examples=60)
@given(seed=_SEEDS)
def test_a_job_rejected_by_quota_has_no_room_for_that_reason(seed: int) -> None:
    """With one more of what is named, the job could be added to the plan as it is."""
    problem, terms = random_terms(seed)
    jobs, sites = problem[:2]
    plan = match(*problem, terms=terms)
    for i in np.flatnonzero(plan.reason == Reason.REJECTED_QUOTA).tolist():
        q = int(plan.reason_quota[i])
        assert is_member(terms, q, jobs, i)
        assert (terms.quotas.limit[q, :, plan.reason_resource[i]] != -1).any()
        if plan.relax[i] == 0.0:
            continue
        limit = terms.quotas.limit.copy()
        some = limit[q, :, plan.reason_resource[i]]
        some[some != -1] += int(plan.relax[i])
        wider = Terms(replace(terms.quotas, limit=limit), terms.rules)
        free = sites.capacity - plan.used
        assert any(
            job == i
            and (free[m, s : s + runs] >= need(jobs, sites, i, m)).all()
            and not _over(problem, wider, plan, i, m, range(s, min(s + runs, free.shape[1])))
            for job, m, s, runs, _ in options_of(problem, wider)
        )


def _over(problem: Problem, terms: Terms, plan: Plan, job: int, site: int, slots: range) -> bool:
    taken = np.array([*need(*problem[:2], job, site), 1])
    limit = np.where(terms.quotas.limit == -1, 2**62, terms.quotas.limit)
    return any(
        (plan.quota_used[q, t] + taken > limit[q, t]).any()
        for q in range(len(limit))
        if terms.quotas.covers[q, site] and is_member(terms, q, problem[0], job)
        for t in slots
    )


@settings(_SLOWLY, max_examples=50)
@given(seed=_SEEDS)
def test_groups_that_run_together_lie_around_the_optimum_of_one_site_each(seed: int) -> None:
    """The oracle places every job by itself and asks that those of a group choose alike."""
    (jobs, sites, *columns), terms = random_terms(seed)
    n = len(jobs.job_id)
    random = np.random.default_rng(seed)
    group = np.where(random.random(n) < 0.6, random.integers(0, 3, n), -1)
    leader = np.arange(n)
    for g in range(3):  # the first by id leads
        rows = np.flatnonzero(group == g)
        leader[rows] = rows[np.argsort(jobs.job_id[rows])[:1]].repeat(len(rows))
    alike = {name: getattr(jobs, name)[leader] for name in SAME}
    jobs = replace(jobs, **alike, together=group)
    jobs = replace(jobs, apart=np.full(n, -1), priority=np.zeros(n, np.int64))
    # whole watts at every site, so that a sum of rounded watts is the rounded sum
    sites = replace(sites, pue_ppm=np.full(len(sites.up), 1_000_000))
    problem = (jobs, sites, *columns[:-1], replace(columns[-1], latency_price_per_ms=0.0))
    terms.quotas.limit[:, :, 5] = -1  # a group is one job to a quota
    plan = match(*problem, terms=terms)
    for g in range(3):
        members = np.flatnonzero(group == g)
        assert len({(int(plan.site[i]), int(plan.slot[i])) for i in members}) <= 1
    optimum = optimum_of(problem, terms, leader.tolist())
    slack = 1e-7 * (1.0 + float(jobs.reject_cost.sum()))
    assert plan.dual <= optimum + slack
    assert optimum <= plan.primal + slack
