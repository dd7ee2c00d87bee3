"""Refine: the smoothed dual's optimum from prices that are nearly right.

Newton steps on the smoothed D with prices held at nothing where they would fall below it: a set of
prices is held, the others take the step, and the set is mended until each held price pulls down and
none of the others falls below nothing (a primal-dual active set). A barrier would have to be
unlearnt first wherever the start is near the boundary; here a handful of steps is enough. Steps
that would leave the neighbourhood are damped; a price that went too far keeps the curvature that it
met on the way, so that the others need not wait for it. Source: Hintermueller, Ito and Kunisch, The
primal-dual active set strategy as a semismooth Newton method, SIAM J. Optimization 13 (2002).
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kernels.match.columns import F64

if TYPE_CHECKING:
    from kernels.match.smooth import Slope, Smooth

_STEPS = 40  # evaluations at most
_SETS = 12  # sets of held prices tried
_SHRINK = 0.3  # of tau, where a step would gain no more than the smoothing hides,
_HIDDEN = 0.1  # which is this share of tau for each job
_OVERSHOT, _SHORTER = 0.5, 4  # a step that ends on a slope so steep the other way is too long
_RELAXED = 0.1  # what is left at the next step of the curvature met by going too far
_IDLE = 0.015  # in mean costs: below it, two steps that gain nothing are the last
_RIDGE = 1e-3  # of the curvature
_NEAR, _FARTHEST = (
    0.1,
    5.0,
)  # a price changes by so many times itself, or of their mean to begin with
_DAMPED, _DAMPING = 12, 10.0  # or the step is damped, so much more each time


class Followed(NamedTuple):
    """Where steps on the smoothed dual led."""

    best: F64
    bound: float
    steps: int
    settled: bool  # it ended since nothing was left to gain


def refine(
    smooth: "Smooth",
    near: F64,
    tau: float,
    tau_least: float,
    mean: float,
    gain: float,
) -> Followed:
    """Steps from the prices `near` [q] while tau shrinks to tau_least; the best prices seen."""
    prices, here = near, smooth.slope(near, tau, mean, 1)
    best, bound, steps, idle, short = prices, here.bound, 1, 0, False
    stiff, least_reach = np.zeros(len(near)), _NEAR * float(near.mean())
    hidden = _HIDDEN * smooth.jobs
    while steps < _STEPS and idle < 2:
        step, damped = _damped(smooth, here, prices, tau, stiff, least_reach)
        uphill = float((here.gradient * step).sum())
        if tau <= tau_least and uphill < gain:
            break
        if not short and not damped and uphill < 3 * hidden * tau:
            tau = max(tau * (_SHRINK if uphill < hidden * tau else _SHRINK**0.5), tau_least)
        before, short, stiff = bound, False, stiff * _RELAXED
        for trial in range(_SHORTER):
            ahead = np.maximum(prices + step, 0.0)
            there = smooth.slope(ahead, tau, mean, 1)
            steps += 1
            if there.bound > bound:
                best, bound = ahead, there.bound
            onward = there.gradient * step
            uphill, beyond = float((here.gradient * step).sum()), float(onward.sum())
            if not beyond < -_OVERSHOT * uphill:
                break
            short = True
            if trial > 0:
                step = step * min(max(uphill / (uphill - beyond), 0.1), 0.7)
                continue
            # on the way there was more curvature than here, for each price that went too far
            over = onward < -_OVERSHOT * np.abs(here.gradient * step)
            change = (here.gradient - there.gradient) / np.where(step == 0.0, 1.0, step)
            stiff = np.where(over, np.maximum(stiff, change), stiff)
            step, damped = _damped(smooth, here, prices, tau, stiff, least_reach)
        prices, here = ahead, there
        gained = bound > before + gain
        if tau <= tau_least and not gained:
            break
        idle = 0 if gained or tau > _IDLE * mean else idle + 1
    return Followed(best, bound, steps, steps < _STEPS)


def _damped(
    smooth: "Smooth", here: "Slope", prices: F64, tau: float, stiff: F64, least_reach: float
) -> tuple[F64, bool]:
    """A step [q] that goes not too far, and whether it had to be damped."""
    upper = np.triu(here.curvature)
    matrix = upper + np.triu(upper, 1).T
    diagonal = np.einsum("ii->i", matrix)
    diagonal *= 1.0 + _RIDGE
    np.maximum(diagonal, stiff, out=diagonal)
    reach = np.maximum(prices, least_reach)
    damping = tau / (reach * reach)
    diagonal += damping
    step = _not_below_nothing(smooth, matrix, here.gradient, prices)
    turns = 0
    while turns < _DAMPED and float(np.abs(step / reach).max()) > _FARTHEST:
        damping, turns = damping * _DAMPING, turns + 1
        diagonal += damping
        step = _not_below_nothing(smooth, matrix, here.gradient, prices)
    return step, turns > 0


def _not_below_nothing(smooth: "Smooth", matrix: F64, gradient: F64, prices: F64) -> F64:
    """The step [q] to the optimum of the quadratic model with prices + step >= 0."""
    held = (prices <= 0.0) & (gradient <= 0.0)
    for _ in range(_SETS):
        free = ~held
        fixed = np.where(held, -prices, 0.0)
        reduced = np.where(free[:, None] & free, matrix, 0.0)
        np.einsum("ii->i", reduced)[held] = 1.0
        right = np.where(held, fixed, gradient - (matrix * fixed).sum(axis=1))
        step = smooth.engine.solve(reduced, right)
        pull = gradient - (matrix * step).sum(axis=1)
        wrong = np.where(held, pull > 0.0, prices + step < 0.0)
        if not wrong.any():
            break
        held = held ^ wrong
    return np.maximum(step, -prices)
