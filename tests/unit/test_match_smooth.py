"""Prices of one slot: the compiled passes over the jobs beside plain Python."""

import numpy as np
import pytest
from kernels.match._core import Engine as Compiled

from kernels.match import Policy
from kernels.match.prices import PriceTables
from kernels.match.problem import Problem, compile_problem
from kernels.match.reference import Engine as Plain
from tests.bench.instances import network


def _rows(sites: int, seed: int) -> Problem:
    """A problem of which half of the pairs are closed, so that some job has no site left."""
    rows = compile_problem(*network(60, sites, seed), Policy(0.0)).problem
    closed = np.random.default_rng(seed).random(rows.open.shape) < 0.5
    wide = np.where(closed, 0, rows.open).astype(np.uint8)
    return rows._replace(open=wide, fixed=np.where(wide[:, :, 0], rows.fixed, np.inf))


@pytest.mark.parametrize("sites", range(1, 10))
def test_both_engines_price_one_slot_alike(sites: int) -> None:
    rows, random = _rows(sites, sites), np.random.default_rng(sites)
    rows = rows._replace(fixed=np.round(rows.fixed), reject=np.round(rows.reject))  # ties
    for prices in (np.zeros(rows.capacity.shape), random.random(rows.capacity.shape) * 1e-3):
        table = PriceTables(rows).at(prices)
        one, other = Compiled(rows).sweep(table), Plain(rows).sweep(table)
        for name in one._fields:
            assert (getattr(one, name) == getattr(other, name)).all(), name


@pytest.mark.parametrize("tau", [0.5, 0.02, 1e-4])
@pytest.mark.parametrize("sites", [1, 3, 4, 9])
def test_both_engines_smooth_one_slot_alike(sites: int, tau: float) -> None:
    rows = _rows(sites, sites)
    prices = np.random.default_rng(sites).random(rows.capacity.shape) * 1e-3
    priced = np.random.default_rng(1).random((sites, len(rows.active))) < 0.7
    column = np.full(rows.capacity.shape, -1)
    column[:, 0].T[priced.T] = np.arange(priced.sum())
    unit, jobs = np.full(len(rows.active), 1e-4), np.arange(0, len(rows.row), 2)
    given = (jobs, tau, 0.5, column, unit, int(priced.sum()), 2)
    table = PriceTables(rows).at(prices)
    one, other = Compiled(rows).soften(table, *given), Plain(rows).soften(table, *given)
    for name in one._fields:
        assert (getattr(one, name) == getattr(other, name)).all(), name
