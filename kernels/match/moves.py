"""Moves budget: a plan in which at most so many jobs leave a site that is up.

    D(p, v) = D(p) with v added to the cost of every option that is a move  -  v x budget

is a lower bound for any v >= 0: the budget has a price of its own. The price is sought by halving;
where none serves, jobs are held where they are.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from kernels.match.certificate import Certificate
from kernels.match.columns import ANY, F64, I32, Bool, Jobs, Sites

_TRIES = 6  # solves in search of the price
_RAISE = 4.0  # of the price while no plan keeps the budget


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
    solve: Callable[[Jobs], tuple[Found, Certificate]], jobs: Jobs, sites: Sites, budget: int
) -> Held[Found]:
    """The cheapest plan met that moves at most `budget` jobs."""
    bound = movable(jobs, sites)
    found, proof = solve(jobs)
    dual, low, high = proof.dual, 0.0, np.inf
    if _moves(found, jobs, bound) <= budget:
        return Held(found, dual)
    price = max(proof.scale, 1e-9) / max(len(jobs.job_id), 1)
    best: Found | None = None
    least = np.inf
    for _ in range(_TRIES):
        dearer = replace(jobs, migration_cost=jobs.migration_cost + np.where(bound, price, 0.0))
        found, proof = solve(dearer)
        dual = max(dual, proof.dual - price * budget)
        moved = _moves(found, jobs, bound)
        if moved > budget:
            low, price = price, price * _RAISE if best is None else (price + high) / 2
            continue
        found.cost[_moved(found, jobs, bound)] -= price
        if proof.primal - price * moved < least:
            best, least = found, proof.primal - price * moved
        high, price = price, (low + price) / 2
    if best is None:
        best, _ = solve(replace(jobs, affinity=np.where(bound, jobs.current_site, jobs.affinity)))
    return Held(best, dual)


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
