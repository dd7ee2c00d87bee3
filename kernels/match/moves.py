"""Moves budget: a plan in which at most so many jobs leave a site that is up.

    D(p, v) = D(p) with v added to the cost of every option that is a move  -  v x budget

is a lower bound for any v >= 0: the budget has a price of its own. The price is sought between one
that is too low and one that is too high; where none serves, jobs are held where they are.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from kernels.match.certificate import Certificate
from kernels.match.columns import ANY, F64, I32, Bool, Jobs, Sites

_TRIES = 6  # solves in search of the price
_RAISE = 4.0  # of the price while no plan keeps the budget
_USED = 0.95  # of the budget is aimed at,
_ENOUGH = 0.85  # and so much of it is enough
_LEAST, _MOST = 0.05, 0.9  # of the way from a price too low to one too high: the next one


class Placed(Protocol):
    """What a solve found, by row of the jobs."""

    site: I32
    cost: F64


Found = TypeVar("Found", bound=Placed)


class Held(NamedTuple, Generic[Found]):
    """A plan within the budget, and the best bound met on the way to it."""

    found: Found
    dual: float


def hold(
    solve: Callable[[Jobs, Found | None], tuple[Found, Certificate]],
    jobs: Jobs,
    sites: Sites,
    budget: int,
    gap_target: float,
) -> Held[Found]:
    """The cheapest plan met that moves at most `budget` jobs.

    solve(jobs, before): a plan, that may start from the prices of the one before. The search ends
    where a plan is as near to the bound as asked, or makes use of nearly all of the budget.
    """
    bound = movable(jobs, sites)
    found, proof = solve(jobs, None)
    moved, dual = _moves(found, jobs, bound), proof.dual
    if moved <= budget:
        return Held(found, dual)
    if budget == 0:  # no price needed
        found, proof = solve(_pinned(jobs, bound), found)
        return Held(found, max(dual, proof.dual))
    low, moved_low, high, moved_high = 0.0, moved, np.inf, 0
    price = max(proof.scale, 1e-9) / max(len(jobs.job_id), 1)
    best: Found | None = None
    least = np.inf
    for _ in range(_TRIES):
        dearer = replace(jobs, migration_cost=jobs.migration_cost + np.where(bound, price, 0.0))
        found, proof = solve(dearer, found)
        dual = max(dual, proof.dual - price * budget)
        moved = _moves(found, jobs, bound)
        if moved <= budget:
            found.cost[_moved(found, jobs, bound)] -= price
            if proof.primal - price * moved < least:
                best, least = found, proof.primal - price * moved
            high, moved_high = price, moved
            near = least - dual <= gap_target * proof.scale
            if near or moved >= _ENOUGH * budget:
                break
        else:
            low, moved_low = price, moved
        if best is None:
            price *= _RAISE
        else:
            price = low + (high - low) * _part(moved_low, moved_high, _USED * budget)
    if best is None:
        best, _ = solve(_pinned(jobs, bound), found)
    return Held(best, dual)


def _pinned(jobs: Jobs, bound: Bool) -> Jobs:
    """The jobs that are somewhere stay there or are rejected."""
    elsewhere = bound & (jobs.affinity != ANY) & (jobs.affinity != jobs.current_site)
    return replace(
        jobs,
        affinity=np.where(bound & ~elsewhere, jobs.current_site, jobs.affinity),
        residency=np.where(elsewhere, 0, jobs.residency),  # may neither stay nor leave
    )


def _part(moved_low: int, moved_high: int, wanted: float) -> float:
    """Of the way up to the price too high: moves fall about as exp(-price) does."""
    ends = np.log(max(moved_low, 1.0)), np.log(max(moved_high, 0.5))
    part = (ends[0] - np.log(max(wanted, 0.5))) / max(ends[0] - ends[1], 1e-9)
    return float(np.clip(part, _LEAST, _MOST))


def movable(jobs: Jobs, sites: Sites) -> Bool:
    """Jobs [N] whose move counts: they are somewhere, and it is up."""
    at = jobs.current_site
    if not len(sites.up):
        return np.zeros(len(at), np.bool_)
    return np.asarray((at != ANY) & sites.up[np.maximum(at, 0)])


def _moved(found: Placed, jobs: Jobs, bound: Bool) -> Bool:
    return np.asarray(bound & (found.site >= 0) & (found.site != jobs.current_site))


def _moves(found: Placed, jobs: Jobs, bound: Bool) -> int:
    return int(_moved(found, jobs, bound).sum())
