"""Volume method: prices that raise the lower bound D(prices), and the bound they reach.

    D(p) = sum_i min(reject_i, min_o (cost_io + p . use_io)) - p . capacity

A step moves from the best prices so far along the averaged excess use of the relaxed plans, in
units of a resource's largest capacity, so that no unit of measure matters. Source: Barahona and
Anbil, The volume algorithm, Mathematical Programming 87 (2000).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kernels.match.columns import F64, I64
from kernels.match.prices import PriceTables
from kernels.match.problem import Problem
from kernels.match.reference import Engine

_AVERAGE = 0.3  # weight of the newest relaxed plan to begin with,
_AVERAGE_HALVES, _AVERAGE_LEAST = 20, 0.04  # half of it after so many steps, and so much at least
_STEP = 0.3  # share of the distance to the target that a step tries to close, to begin with
_STEP_MIN, _STEP_MAX = 1e-4, 2.0
_GROW, _SHRINK = 1.1, 0.66
_FAILURES = 4  # steps without progress before it shrinks
_TARGET = 0.15  # no step aims further above the bound than this share of the costs
_CHECK_EVERY = 40  # iterations between two looks at the primal


class Costs(NamedTuple):
    """Of a plan: what the bound is compared with."""

    primal: float
    size: float  # sum |cost|


class Ascent(NamedTuple):
    """The best prices [M, T, k], the bound there, and the iterations spent."""

    prices: F64
    bound: float
    iterations: int


def ascend(
    problem: Problem,
    engine: Engine,
    tables: PriceTables,
    start: F64,
    primal_at: Callable[[F64], Costs],
    gap_target: float,
    iterations: int,
) -> Ascent:
    """`primal_at(prices)`: the best plan known after a repair at these prices."""
    capacity = problem.capacity.astype(np.float64)
    unit = _units(capacity)
    best = np.maximum(start, 0.0)
    answers = engine.sweep(tables.at(best))
    bound, used = _bound(answers.least, best, capacity), engine.used(answers.option)
    average = used.astype(np.float64)
    scale = float(np.abs(answers.least).sum())
    primal, size = primal_at(best)
    step, failures, done = _STEP, 0, 0
    for done in range(1, iterations + 1):
        excess = (average - capacity) / unit
        excess[(excess < 0) & (best <= 0)] = 0.0
        norm = float((excess * excess).sum())
        if norm == 0.0 or primal - bound <= gap_target * size:
            break
        length = step * min(primal - bound, _TARGET * scale) / norm
        prices = np.maximum(best + length * excess / unit, 0.0)
        answers = engine.sweep(tables.at(prices))
        used = engine.used(answers.option)
        reached = _bound(answers.least, prices, capacity)
        if reached > bound:
            ahead = float((excess * (used - capacity) / unit).sum()) > 0
            best, bound, failures = prices, reached, 0
            scale = float(np.abs(answers.least).sum())
            step = min(step * _GROW, _STEP_MAX) if ahead else step
        else:
            failures += 1
            if failures == _FAILURES:
                step, failures = max(step * _SHRINK, _STEP_MIN), 0
        weight = max(_AVERAGE / (1.0 + done / _AVERAGE_HALVES), _AVERAGE_LEAST)
        average = weight * used + (1 - weight) * average
        if done % _CHECK_EVERY == 0:
            primal, size = primal_at(best)
    return Ascent(best, bound, done)


def _bound(least: F64, prices: F64, capacity: F64) -> float:
    return float(least.sum() - (prices * capacity).sum())


def _units(capacity: F64) -> F64:
    """The largest capacity of each resource, [1, 1, k]: a small site must not rule the step."""
    largest: F64 = capacity.max(axis=(0, 1), keepdims=True)
    return np.where(largest > 0, largest, 1.0)


def restrict(prices: F64, active: I64, shape: tuple[int, ...]) -> F64:
    """Prices of the active resources as a start; zeros where a start of another shape is given."""
    if prices.shape[:2] != shape[:2] or prices.ndim != 3:
        return np.zeros(shape)
    chosen = prices[:, :, active]
    return np.where(np.isfinite(chosen), chosen, 0.0)
