"""Smoothed dual: the bound's prices by an interior-point method, for few prices and one slot.

The least price of a job is smoothed to -tau log sum exp(-price / tau), which has a gradient and a
curvature, and a barrier mu sum log p keeps prices above nothing. Newton steps follow the optimum
while tau = mu shrink together; D itself is evaluated at every point and the best one is kept, so
the bound owes nothing to the smoothing. Two dozen steps do what the volume method does in hundreds,
at the cost of a matrix with a row for each price: hence for few prices only.

Where there are many jobs, a sample of them with its share of the capacity finds most of the way.
Source: Nesterov, Smooth minimization of non-smooth functions, Mathematical Programming 103 (2005);
Wright, Primal-Dual Interior-Point Methods (1997).
"""

from typing import NamedTuple

import numpy as np

from kernels.match.columns import ANY, F64, I64
from kernels.match.prices import PriceTables
from kernels.match.problem import Problem
from kernels.match.reference import Engine
from kernels.match.refine import Followed, refine
from kernels.match.volume import Ascent

PRICES_MAX = 512  # above so many the matrix costs more than it saves
_STEPS = 40  # evaluations at most
_TAU_COLD, _TAU_WARM = 0.5, 0.02  # tau to begin with, in mean costs of a job,
_TAU_LEAST = 2e-5  # and to end with,
_TAU_FINE = 1e-3  # from prices that are nearly right
_PRICE_COLD = 0.1  # prices to begin with: what capacity is worth, in costs of all jobs
_PRICE_CLEARED = 1e-3  # of the highest price: lower ones are cleared, if the bound allows
_SHRINK, _SHRINK_MOST = 0.5, 0.2  # of tau with a full step, and its least share that is left
_TO_BOUNDARY = 0.95  # of the way to a price of nothing
_RIDGE = 1e-9  # of the diagonal
_OVERSHOT = 0.5  # a step that ends on a slope so steep the other way is shortened,
_SHORTER = 4  # so many times at most
_GAIN = 0.04  # of the gap allowed: two steps that gain less are the last
_TAU_THIN = 0.01  # above it the curvature of every _THIN-th job stands for all,
_THIN, _THIN_FROM, _THIN_A_PRICE = 8, 1_000, 4  # where that leaves so many, and so many a price,
_THIN_FEW = 60_000  # and where few prices make a row cheap, so many by their number
_TAU_IDLE = 0.015  # while tau is above it they are not
_SAMPLE_A_PRICE, _SAMPLE_LEAST, _SAMPLE_MOST = 20, 500, 1_000  # jobs of the first sample,
_SAMPLE_FROM = 4  # where all are at least so many times as many
_UNLIKE = 0.3  # of all costs: a bound so much lower than its sample's is no continuation
_SAMPLE_GROWS = 10  # times as many jobs in the next sample
# where quotas bind: few members of each decide its price, so that all jobs are looked at
_TAU_QUOTAS = 5.0  # instead of _TAU_COLD: members without a place are far from having one
_GROWS_QUOTAS = 3.0  # times its price that a step adds to a price, about at most
_JOBS_A_PRICE, _JOBS_LEAST = (
    1,
    32,
)  # fewer jobs: too few answers for a curvature, and volume steps cost little


class Slope(NamedTuple):
    """D at some prices, and the smoothed D's gradient [q] and curvature [q, q] (negated)."""

    bound: float
    gradient: F64
    curvature: F64


class _Point(NamedTuple):
    """Prices [q] in units of a resource's largest capacity, and the barrier's slacks [q]."""

    prices: F64
    slacks: F64


class Smooth:
    """The smoothed dual of one problem, over the prices that can be above nothing."""

    def __init__(self, problem: Problem, engine: Engine, tables: PriceTables) -> None:
        self.engine, self._tables = engine, tables
        capacity = problem.fillable().astype(np.float64)
        self.scarce = _scarce(problem, engine)  # [q] of R x T x k
        largest: F64 = capacity[: len(problem.watt_cost)].max(axis=(0, 1))  # of sites
        self._unit = np.broadcast_to(np.where(largest > 0, largest, 1.0), capacity.shape)
        column = np.full(capacity.size, ANY, np.int64)
        column[self.scarce] = np.arange(len(self.scarce))
        self.pooled = bool(problem.pools.rows.shape[2])
        shape = capacity.shape if self.pooled else (len(capacity), capacity.shape[2])
        self._column = column.reshape(shape)
        self._capacity = (capacity / self._unit).ravel()[self.scarce]
        self.jobs = len(problem.row)

    def slope(self, prices: F64, tau: float, mean: float, stride: int) -> Slope:
        """Over every stride-th job, with as large a share of the capacity."""
        rows = np.arange(0, self.jobs, stride)
        share = len(rows) / self.jobs
        table = self._tables.at(self.full(prices))
        inverse, count = 1.0 / self._unit[0, 0], len(self.scarce)
        few = max(_THIN_FROM, _THIN_A_PRICE * count, _THIN_FEW // count)
        thin = 1
        if tau > _TAU_THIN * mean and not self.pooled:
            thin = min(_THIN, max(len(rows) // few, 1))
        soft = self.engine.soften(table, rows, tau, self._column, inverse, count, thin)
        least = float(soft.least.sum())
        bound = least - share * float((prices * self._capacity).sum())
        return Slope(bound, soft.use - share * self._capacity, soft.curvature)

    def full(self, prices: F64) -> F64:
        """Prices [R, T, k] in currency per unit."""
        whole = np.zeros(self._unit.size)
        whole[self.scarce] = prices
        per_unit: F64 = whole.reshape(self._unit.shape) / self._unit
        return per_unit

    def scaled(self, prices: F64) -> F64:
        """The other way."""
        return np.asarray((prices * self._unit).ravel()[self.scarce])

    def begin(self, scale: float) -> F64:
        """Equal prices, at which all capacity is worth a share of the costs."""
        worth = _PRICE_COLD * scale / float(self._capacity.sum())
        return np.full(len(self.scarce), worth)


def is_smooth_better(problem: Problem) -> bool:
    """Whether there are few prices, and one slot, or quotas and enough jobs."""
    rows, slots, kinds = problem.capacity.shape
    pooled = bool(problem.pools.rows.shape[2])
    alone = rows == len(problem.watt_cost)  # not even quotas that count nowhere
    prices = rows * slots * kinds
    enough = len(problem.row) >= max(_JOBS_A_PRICE * prices, _JOBS_LEAST)
    shape = enough if pooled else slots == 1 and alone
    return bool(shape and prices <= PRICES_MAX)


def climb(
    problem: Problem,
    engine: Engine,
    tables: PriceTables,
    least: F64,
    start: F64,
    gap_target: float,
) -> Ascent:
    """Prices [R, T, k] from `start`, zeros = cold; exact enough for a gap of gap_target.

    least [n]: what each job would cost if it were alone.
    """
    smooth = Smooth(problem, engine, tables)
    flat = np.zeros(problem.capacity.shape)
    scale = float(np.abs(least).sum()) or float(problem.reject.sum())
    if not len(smooth.scarce) or scale == 0.0:
        return Ascent(flat, float(least.sum()), 0)
    gain, mean = _GAIN * gap_target * scale, scale / smooth.jobs
    warm = smooth.scaled(np.maximum(start, 0.0))
    found = Followed(warm, warm, -np.inf, 0, False)
    if warm.any():
        found = _from(smooth, warm, _TAU_WARM * mean, mean, 1, gain)
    if not found.settled:
        # nothing to start from, or the world is another one
        cold = _cold(smooth, scale, mean, gain)
        found = max(found, cold, key=lambda followed: followed.bound)
    found = _cleared(smooth, found, mean, gain)
    return Ascent(smooth.full(found.best), found.bound, found.steps)


def _cold(smooth: Smooth, scale: float, mean: float, gain: float) -> Followed:
    prices, tau = smooth.begin(scale), (_TAU_QUOTAS if smooth.pooled else _TAU_COLD) * mean
    sample = min(max(_SAMPLE_A_PRICE * len(prices), _SAMPLE_LEAST), _SAMPLE_MOST)
    stride = max(smooth.jobs // sample, 1)
    whole = _Point(prices, tau / prices)
    if stride < _SAMPLE_FROM or smooth.pooled:
        return _follow(smooth, whole, tau, _TAU_LEAST * mean, mean, 1, gain)
    # prices of a sample are off by its noise, which is a width of the smoothing
    width, steps = _TAU_WARM * mean, 0
    found = _follow(smooth, whole, tau, width, mean, stride, gain)
    while stride > 1:
        steps += found.steps
        expected = found.bound * stride
        stride = stride // _SAMPLE_GROWS if stride >= _SAMPLE_FROM * _SAMPLE_GROWS else 1
        found = _from(smooth, found.last, width, mean, stride, gain)
        unlike = found.bound * stride < expected - _UNLIKE * scale
        if unlike and not found.settled:  # a sample of another world
            stride, found = 1, _follow(smooth, whole, tau, _TAU_LEAST * mean, mean, 1, gain)
        width /= _SAMPLE_GROWS**0.5
    return found._replace(steps=steps + found.steps)


def _from(smooth: Smooth, near: F64, tau: float, mean: float, stride: int, gain: float) -> Followed:
    """From prices that are nearly right."""
    least = tau / _SAMPLE_GROWS**0.5 if stride > 1 else _TAU_FINE * mean
    return refine(smooth, near, tau, least, mean, stride, gain)


def _follow(
    smooth: Smooth,
    point: _Point,
    tau: float,
    tau_least: float,
    mean: float,
    stride: int,
    gain: float,
) -> Followed:
    """Newton steps while tau shrinks to tau_least; the best prices seen."""
    prices, slacks = point
    here = smooth.slope(prices, tau, mean, stride)
    best, bound, steps, idle = prices, here.bound, 1, 0
    while steps < _STEPS and tau > tau_least and idle < 2:
        step = _newton(smooth, here, prices, slacks, tau)
        change = tau / prices - slacks - slacks * step / prices
        length, slack_length = _within(prices, step), _within(slacks, change)
        uphill = float(((here.gradient + tau / prices) * step).sum())
        tau *= max(1.0 - _SHRINK * min(length, slack_length), _SHRINK_MOST)
        gained = False
        for _ in range(_SHORTER):
            ahead = prices + length * step
            there = smooth.slope(ahead, tau, mean, stride)
            steps += 1
            gained |= there.bound > bound + gain / stride
            if there.bound > bound:
                best, bound = ahead, there.bound
            onward = float(((there.gradient + tau / ahead) * step).sum())
            if not onward < -_OVERSHOT * uphill:
                break
            length *= min(max(uphill / (uphill - onward), 0.1), 0.7)
        prices, slacks = ahead, np.maximum(slacks + slack_length * change, 1e-300)
        idle = 0 if gained or tau > _TAU_IDLE * mean else idle + 1
        here = there
    return Followed(best, prices, bound, steps, steps < _STEPS)


def _cleared(smooth: Smooth, found: Followed, mean: float, gain: float) -> Followed:
    """The same with nothing for what the barrier alone gives a price."""
    faint = found.best <= _PRICE_CLEARED * found.best.max()
    if not found.best[faint].any():
        return found
    prices = np.where(faint, 0.0, found.best)
    bound = smooth.slope(prices, _TAU_LEAST * mean, mean, 1).bound
    if bound < found.bound - gain:
        return found
    return found._replace(best=prices, bound=bound, steps=found.steps + 1)


def _newton(smooth: Smooth, here: Slope, prices: F64, slacks: F64, tau: float) -> F64:
    matrix = here.curvature.copy()
    diagonal = np.einsum("ii->i", matrix)
    diagonal += slacks / prices
    if smooth.pooled:
        diagonal += np.maximum(here.gradient, 0.0) / (_GROWS_QUOTAS * prices)
    diagonal *= 1.0 + _RIDGE
    return smooth.engine.solve(matrix, here.gradient + tau / prices)


def _within(values: F64, step: F64) -> float:
    """The length up to 1 that keeps values above nothing."""
    down = step < 0
    return min(1.0, _TO_BOUNDARY * float((values[down] / -step[down]).min(initial=np.inf)))


def _scarce(problem: Problem, engine: Engine) -> I64:
    """Indices in R x T x k of what would be short if every job came that may."""
    return np.flatnonzero(engine.wanted().ravel() > problem.capacity.ravel())
