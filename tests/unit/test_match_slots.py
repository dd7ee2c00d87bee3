"""The match over many slots: alike jobs are priced as one, and long runs are placed first."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from kernels.match import Jobs, Network, Policy, Series, Sites, match
from kernels.match.alike import by_kind
from kernels.match.prices import PriceTables
from kernels.match.problem import Problem, compile_problem
from kernels.match.reference import Engine
from kernels.match.shares import shares_of

HOUR_MS = 3_600_000
SLOTS = 12


def _day(count: int = 300, copies: int = 12, seed: int = 1) -> tuple[Jobs, Sites, Series, Network]:
    """Jobs of few kinds over half a day at three sites, in any order; they just about fit."""
    draw = np.random.default_rng(seed)
    kinds = count // copies
    cores, runs = draw.choice([2000, 3000, 5000], kinds), draw.integers(1, 5, kinds)
    release = draw.integers(0, SLOTS - 5, kinds)
    wait = draw.choice([0, 2, 4], kinds)
    of = draw.permutation(np.arange(count) % kinds)
    demand = np.zeros((count, 5), np.int64)
    demand[:, 0], demand[:, 2] = cores[of], cores[of] // 100
    total = int((demand[:, 0] * runs[of]).sum())
    capacity = np.zeros((3, 5), np.int64)
    capacity[:, 0], capacity[:, 2] = total / SLOTS * np.array([0.3, 0.4, 0.5]), 10**6
    price = draw.uniform(200, 800, (3, 1)) * draw.uniform(0.5, 1.5, (1, SLOTS))
    return (
        Jobs.of(
            [f"job-{k:04d}" for k in range(count)],
            demand,
            duration_ms=runs[of] * HOUR_MS,
            release_slot=release[of],
            deadline_slot=release[of] + runs[of] + wait[of],
            reject_cost=0.2 * runs[of] + 0.001 * of,
        ),
        Sites.of(["a", "b", "c"], capacity, SLOTS),
        Series.of(HOUR_MS, price, 0.3),
        Network.of(),
    )


def _problem(columns: tuple[Jobs, Sites, Series, Network]) -> Problem:
    return compile_problem(*columns, Policy()).problem


def test_jobs_that_are_alike_are_priced_once_and_counted_as_often_as_they_come() -> None:
    problem = _problem(_day())
    kinds = by_kind(problem)
    assert len(problem.row) == 300
    assert len(kinds.row) == 25
    assert kinds.times.tolist() == [12] * 25
    table = PriceTables(problem).at(np.random.default_rng(3).uniform(0, 1e-5, (3, SLOTS, 2)))
    each, once = Engine(problem).sweep(table), Engine(kinds).sweep(table)
    assert once.least.sum() == pytest.approx(each.least.sum(), rel=1e-12)
    assert (Engine(kinds).used(once.option) == Engine(problem).used(each.option)).all()


@pytest.mark.parametrize("column", ["release_slot", "deadline_slot", "reject_cost", "migration"])
def test_a_job_that_differs_in_anything_that_is_priced_is_a_kind_of_its_own(column: str) -> None:
    jobs, *rest = _day()
    if column == "migration":  # is no cost until there is something to leave
        current, cost = np.full(300, -1), np.zeros(300)
        current[7], cost[7] = 1, 0.5
        changed = replace(jobs, current_site=current, migration_cost=cost)
    else:
        values = getattr(jobs, column).copy()
        values[7] += 1
        changed = replace(jobs, **{column: values})
    assert len(by_kind(_problem((changed, *rest))).row) == 26


def test_a_programme_of_kinds_that_is_too_large_is_never_written_down() -> None:
    problem = _problem(_day(6_000, 2))
    tables, size = PriceTables(problem), np.full(len(problem.row), 2)
    use_bytes = problem.capacity.size * int(problem.open.sum()) * 8
    tracemalloc.start()
    found = shares_of(problem, tables, size)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found is None
    assert peak < use_bytes / 4


def test_jobs_all_of_their_own_kind_are_left_as_they_are() -> None:
    jobs, *rest = _day()
    problem = _problem((replace(jobs, reject_cost=1.0 + np.arange(300.0)), *rest))
    assert by_kind(problem) is problem


def test_both_engines_and_any_order_give_the_same_plan_over_many_slots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    columns = _day(256, 8)
    policy = Policy(iterations=40, gap_target=0.35)  # prices and repairs, no search
    compiled = match(*columns, policy)
    order = np.random.default_rng(2).permutation(256)
    shuffled = match(columns[0].take(order), *columns[1:], policy)
    monkeypatch.setenv("GRIDLOOM_PURE", "1")
    plain = match(*columns, policy)
    for plan, rows in ((plain, np.arange(256)), (shuffled, np.argsort(order))):
        assert (plan.site[rows] == compiled.site).all()
        assert (plan.slot[rows] == compiled.slot).all()
        assert (plan.prices == compiled.prices).all()
        assert (plan.primal, plan.dual) == (compiled.primal, compiled.dual)


def test_starts_that_the_site_is_closed_in_between_are_no_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Hours without capacity in the middle of a job's window."""
    jobs, sites, *rest = _day(96, 8)
    capacity = sites.capacity.copy()
    capacity[:2, 4:6, 0] = 1000
    holed = replace(sites, capacity=capacity)
    policy = Policy(iterations=20, passes=1, work=500)
    compiled = match(jobs, holed, *rest, policy)
    running = (compiled.site >= 0) & (compiled.site < 2)
    ends = compiled.slot + compiled.slots
    assert running.any()
    assert not (running & (compiled.slot < 6) & (ends > 4)).any()
    monkeypatch.setenv("GRIDLOOM_PURE", "1")
    plain = match(jobs, holed, *rest, policy)
    assert (plain.site == compiled.site).all()
    assert (plain.slot == compiled.slot).all()


@pytest.mark.parametrize("seed", [2, 3, 5])
def test_a_full_day_of_small_jobs_leaves_a_small_gap_and_hardly_anybody_out(seed: int) -> None:
    """At the prices a job has many starts of equal cost; room for long runs is kept first."""
    plan = match(*_day(3_000, 3, seed=seed), Policy(gap_target=0.01))
    assert 0 <= plan.gap_rel <= 0.01
    assert plan.rejects <= 1
