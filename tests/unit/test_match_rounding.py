"""What whole units add to the bound that the search works towards: never more than they cost."""

import numpy as np
import pytest

from kernels.match import Policy
from kernels.match.columns import POWER
from kernels.match.prices import PriceTables
from kernels.match.primal import Plans
from kernels.match.problem import Problem, compile_problem
from kernels.match.reference import Engine
from tests.bench.instances import lumpy_day, network


def _gain_of(problem: Problem, prices: np.ndarray) -> tuple[float, float]:
    """What Plans adds, and what paying for whole units adds to every job's least price."""
    engine, tables = Engine(problem), PriceTables(problem)
    table = tables.at(prices)
    gain = Plans(problem, engine, tables)._rounded_up(prices, engine.sweep(table))
    before = after = 0.0
    power = problem.active.tolist().index(POWER)
    for job in range(len(problem.row)):
        least = whole = float(problem.reject[job])
        for site in np.flatnonzero(problem.open[job, :, 0]).tolist():
            cost = problem.fixed[job, site]
            cost += problem.watt_cost[site, 0] * problem.demand[job][power]
            drawn = problem.demand[job] * problem.scale_ppm[site] / 1e6
            need = -(-problem.demand[job] * problem.scale_ppm[site] // 10**6)
            least = min(least, float(cost + (prices[site, 0] * drawn).sum()))
            whole = min(whole, float(cost + (prices[site, 0] * need).sum()))
        before, after = before + least, after + whole
    return gain, after - before


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dear", [1e-5, 1e-4, 1e-2])
def test_a_gain_is_no_more_than_whole_units_cost(seed: int, dear: float) -> None:
    problem = compile_problem(*network(60, 5, seed), Policy()).problem
    prices = dear * np.random.default_rng(seed).random(problem.capacity.shape)
    gain, whole = _gain_of(problem, prices)
    assert 0.0 < gain <= whole * (1.0 + 1e-6) + 1e-9
    assert gain >= 0.5 * whole  # it is most of it


def test_free_capacity_and_several_slots_gain_nothing() -> None:
    problem = compile_problem(*network(40, 4, 1), Policy()).problem
    assert _gain_of(problem, np.zeros(problem.capacity.shape))[0] == 0.0
    day = compile_problem(*lumpy_day(30, 4, 24, 1), Policy()).problem
    engine, tables = Engine(day), PriceTables(day)
    prices = np.ones(day.capacity.shape)
    plans = Plans(day, engine, tables)
    assert plans._rounded_up(prices, engine.sweep(tables.at(prices))) == 0.0
