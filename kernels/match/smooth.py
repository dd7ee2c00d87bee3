"""Smoothed dual: the bound's prices by an interior-point method, for few prices and one slot.

The least price of a job is smoothed to -w log sum exp(-price / w), which has a gradient and a
curvature, and a barrier mu sum log p keeps prices above nothing. The width w is tau times what the
job pays at the prices: so jobs of all sizes, and those at dear sites, are smoothed over an equal
share of their price. Newton steps follow the optimum while tau and mu shrink together; D itself is
evaluated at every point and the best one is kept, so the bound owes nothing to the smoothing. Two
dozen steps do what the volume method does in hundreds, at the cost of a matrix with a row for each
price: hence for few prices only.

Where there are many jobs, steps begin on a sample of them, with as much of each capacity as the
sample asks of all demand. It grows as tau shrinks: prices of a sample are off by its noise.
Source: Nesterov, Smooth minimization of non-smooth functions, Mathematical Programming 103 (2005);
Wright, Primal-Dual Interior-Point Methods (1997).
"""

from math import inf, isqrt, sqrt
from typing import NamedTuple

import numpy as np

from kernels.match.columns import ANY, F64, I64
from kernels.match.prices import PriceTables
from kernels.match.problem import Problem
from kernels.match.reference import Engine
from kernels.match.refine import Followed, refine
from kernels.match.volume import Ascent

PRICES_MAX = 512  # above so many the matrix costs more than it saves
_STEPS = 60  # evaluations at most
_TAU_WARM, _TAU_FINE = 0.02, 2e-4  # tau from prices that are nearly right on, and at the end
_SMALL = 0.1  # in mean costs: a job that pays less is smoothed as if it paid so much,
_SMALL_FEW, _JOBS_FEW = 0.5, 10  # or so much, where that many jobs or fewer come on a price
_PRICE_COLD = 0.1  # prices to begin with: what capacity is worth, in costs of all jobs
_PRICE_CLEARED = 1e-3  # of the highest price: lower ones are cleared, if the bound allows
_SHRINK_MOST = 0.2  # of tau, that is left by a step
_TO_BOUNDARY = 0.95  # of the way to a price of nothing
_RIDGE = 1e-9  # of the diagonal
_OVERSHOT, _SHORTER = 0.5, 4  # a step that ends on a slope so steep the other way is too long
_TAU_IDLE = 0.008  # at no larger tau two steps that gain nothing are the last
_TAU_THIN = 0.01  # above it the curvature of every n-th job stands for all, n up to
_THIN = 4  # and no more than the root of the jobs
_THIN_FROM, _THIN_A_PRICE = 250, 4  # in so many, and than leaves so many jobs a price
_SAMPLE, _SAMPLE_GROWS = 300, 4  # jobs of the first sample, at least; times as many in the next
_SHARE_LEAST = 0.5  # of a sample's share of the jobs: its least share of a capacity
_GROWS_QUOTAS = 3.0  # times its price that a step adds to a quota's price, about at most
# with fewer jobs there are too few answers for a curvature, and volume steps cost little
_JOBS_A_PRICE, _JOBS_LEAST = 1, 32


class _Pace(NamedTuple):
    """How fast tau, in what a job pays, is to shrink."""

    first: float
    last: float
    wide: float  # share that a full step takes off it, above 1 / 20
    narrow: float  # and below
    fine: float  # below it tau stays after a step that was too long
    reach: float  # times as long as such a step the next one may be
    gain: float  # of the gap allowed: steps that gain less are idle,
    rough: float  # or up to so much where jobs are few:
    lump: float  # of a job's mean cost, as rounding to whole jobs loses more
    whole: float  # share of a full step, for which one idle step is enough
    crowd: float  # jobs for which the barrier is as tau; for more it is as much stronger


_PLAIN = _Pace(0.5, 1e-4, 0.5, 0.7, 0.005, 2.0, 0.1, 0.4, 0.5, 0.8, 1_000.0)
# few members of a quota decide its price, and those without a place are far from having one
_QUOTAS = _Pace(5.0, 2e-5, 0.5, 0.5, 0.0, inf, 0.04, 0.04, 0.0, inf, inf)


class Slope(NamedTuple):
    """D at some prices, and the smoothed D's gradient [q] and curvature [q, q] (negated)."""

    bound: float
    gradient: F64
    curvature: F64


class Smooth:
    """The smoothed dual of one problem, over the prices that can be above nothing."""

    def __init__(self, problem: Problem, engine: Engine, tables: PriceTables) -> None:
        self.engine, self._tables = engine, tables
        capacity = problem.fillable().astype(np.float64)
        self.scarce = _scarce(problem, engine)  # [q] of R x T x k
        largest: F64 = capacity[: len(problem.watt_cost)].max(axis=(0, 1))  # of sites
        self._unit = np.broadcast_to(np.where(largest > 0, largest, 1.0), capacity.shape)
        self._inverse = 1.0 / self._unit[0, 0]
        column = np.full(capacity.size, ANY, np.int64)
        column[self.scarce] = np.arange(len(self.scarce))
        self.pooled = bool(problem.pools.rows.shape[2])
        self._column = column.reshape(capacity.shape)
        self._capacity = (capacity / self._unit).ravel()[self.scarce]
        self.jobs = len(problem.row)
        self._demand, self._resource = problem.demand, self.scarce % capacity.shape[2]
        self._shares: dict[int, F64] = {1: np.ones(len(self.scarce))}

    def _share(self, stride: int) -> F64:
        """Of the capacity [q], for every stride-th job: what they ask of all that is asked."""
        if stride not in self._shares:
            part = self._demand[::stride].sum(axis=0) / np.maximum(self._demand.sum(axis=0), 1)
            self._shares[stride] = np.maximum(part, _SHARE_LEAST / stride)[self._resource]
        return self._shares[stride]

    def slope(self, prices: F64, tau: float, mean: float, stride: int) -> Slope:
        """Of every stride-th job with their share of the capacity, times as much."""
        rows = np.arange(0, self.jobs, stride)
        capacity = self._share(stride) * self._capacity
        table = self._tables.at(self.full(prices))
        count, thin = len(self.scarce), 1
        small = _SMALL_FEW if self.jobs <= _JOBS_FEW * count else _SMALL
        small = mean if self.pooled else small * mean
        if tau > _TAU_THIN * mean and not self.pooled:
            most = min(_THIN, len(rows) // (_THIN_A_PRICE * count))
            thin = max(min(most, isqrt(len(rows) // _THIN_FROM)), 1)
        soft = self.engine.soften(
            table, rows, tau / mean, small, self._column, self._inverse, count, thin
        )
        bound = float(soft.least.sum()) - float((prices * capacity).sum())
        times = self.jobs / len(rows)
        return Slope(bound * times, (soft.use - capacity) * times, soft.curvature * times)

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
    pace = _QUOTAS if smooth.pooled else _PLAIN
    mean, allowed = scale / smooth.jobs, gap_target * scale
    gain = max(pace.gain * allowed, min(pace.rough * allowed, pace.lump * mean))
    warm = smooth.scaled(np.maximum(start, 0.0))
    found = Followed(warm, -np.inf, 0, False)
    if warm.any():
        found = refine(smooth, warm, _TAU_WARM * mean, _TAU_FINE * mean, mean, gain)
    if not found.settled:
        # nothing to start from, or the world is another one
        cold = _follow(smooth, pace, scale, mean, gain)
        found = max(found, cold, key=lambda followed: followed.bound)
    found = _cleared(smooth, found, mean, gain)
    return Ascent(smooth.full(found.best), found.bound, found.steps)


def _follow(smooth: Smooth, pace: _Pace, scale: float, mean: float, gain: float) -> Followed:
    """Newton steps while tau shrinks, on samples that grow as it does; the best prices seen."""
    prices, tau, least = smooth.begin(scale), pace.first * mean, pace.last * mean
    barrier = max(smooth.jobs / pace.crowd, 1.0)
    slacks, stride = barrier * tau / prices, _first_stride(smooth)
    here = smooth.slope(prices, tau, mean, stride)
    best, bound, steps, reach, idle = prices, -np.inf, 1, 1.0, 0
    while steps < _STEPS and tau > least and idle < 2:
        push = barrier * tau
        step = _newton(smooth, here, prices, slacks, push)
        change = push / prices - slacks - slacks * step / prices
        length, slack_length = _within(prices, step), _within(slacks, change)
        length = min(length, reach)
        uphill = float(((here.gradient + push / prices) * step).sum())
        if reach == 1.0 or tau > pace.fine * mean:
            shrink = pace.wide if tau > mean / 20 else pace.narrow
            tau *= max(1.0 - shrink * min(length, slack_length), _SHRINK_MOST)
        # prices of a sample are off by its noise, which is a width of the smoothing
        noise = mean * sqrt(stride / smooth.jobs)
        if stride > 1 and tau < noise:
            tau, stride = noise, stride // _SAMPLE_GROWS
        push = barrier * tau
        gained, reach = stride > 1, 1.0
        for _ in range(_SHORTER):
            ahead = prices + length * step
            there = smooth.slope(ahead, tau, mean, stride)
            steps += 1
            if stride == 1:
                gained |= there.bound > bound + gain
                if there.bound > bound:
                    best, bound = ahead, there.bound
            onward = float(((there.gradient + push / ahead) * step).sum())
            if not onward < -_OVERSHOT * uphill:
                break
            length *= min(max(uphill / (uphill - onward), 0.1), 0.7)
            reach = min(pace.reach * length, 1.0)
        prices, slacks = ahead, np.maximum(slacks + slack_length * change, 1e-300)
        idle = 0 if gained or tau > _TAU_IDLE * mean else idle + (2 if length > pace.whole else 1)
        here = there
    if stride > 1:  # no steps were left for all jobs
        best, bound = prices, smooth.slope(prices, tau, mean, 1).bound
    return Followed(best, bound, steps, steps < _STEPS)


def _first_stride(smooth: Smooth) -> int:
    """A power of _SAMPLE_GROWS, so that a sample is part of the next one."""
    stride = 1
    while not smooth.pooled and smooth.jobs >= _SAMPLE * _SAMPLE_GROWS * stride:
        stride *= _SAMPLE_GROWS
    return stride


def _cleared(smooth: Smooth, found: Followed, mean: float, gain: float) -> Followed:
    """The same with nothing for what the barrier alone gives a price."""
    faint = found.best <= _PRICE_CLEARED * found.best.max()
    if not found.best[faint].any():
        return found
    prices = np.where(faint, 0.0, found.best)
    bound = smooth.slope(prices, _PLAIN.last * mean, mean, 1).bound
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
    """Indices in R x T x k of what would be short if every job came that may.

    Without quotas one resource after the other, as the engine has them.
    """
    short = np.flatnonzero(engine.wanted().ravel() > problem.capacity.ravel())
    if problem.pools.rows.shape[2]:
        return short
    return short[np.argsort(short % problem.capacity.shape[2], kind="stable")]
