"""Reasons: why a job of the problem is where it is, and which constraint kept it from better."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.match.columns import ANY, F64, I32, I64, Reason
from kernels.match.prices import PriceTables
from kernels.match.problem import Problem, needs
from kernels.match.reference import Engine, Sweep


class Explained(NamedTuple):
    """Per job of the problem."""

    reason: npt.NDArray[np.int8]  # Reason
    site: I32  # that was short, ANY = none
    resource: npt.NDArray[np.int8]  # of RESOURCES, that was short there; ANY = none
    second: F64  # currency: the cheapest of the answers at other sites and of rejection
    relax: F64  # units more of what was short, or currency more of reject cost, that place it


def explain(
    problem: Problem,
    engine: Engine,
    tables: PriceTables,
    answers: Sweep,
    prices: F64,
    option: I32,
    free: I64,
) -> Explained:
    """Compare each job's option with the one of `answers`, which it would take if it were alone.

    free [R, T, k]: what the plan leaves.
    """
    n = len(problem.row)
    wanted = answers.option
    cost = engine.costs(tables.costs, np.ascontiguousarray(np.column_stack([wanted, option])))
    reason = np.full(n, Reason.PLACED, np.int8)
    reason[option < 0] = Reason.REJECTED_CAPACITY
    reason[(option < 0) & (wanted < 0)] = Reason.REJECTED_COST
    site, resource = np.full(n, ANY, np.int32), np.full(n, ANY, np.int8)
    missed = np.flatnonzero((wanted >= 0) & (wanted != option) & (cost[:, 0] <= cost[:, 1]))
    short, binding, lacking = _binding(problem, free, prices, missed, wanted, option)
    site[missed[short]] = wanted[missed[short]] // problem.capacity.shape[1]
    resource[missed[short]] = problem.active[binding[short]]
    relax = np.zeros(n)
    relax[missed[short]] = lacking[short]
    relax[option >= 0] = 0.0
    refused = np.flatnonzero(reason == Reason.REJECTED_COST)
    relax[refused] = answers.second[refused] - problem.reject[refused]
    slots = problem.capacity.shape[1]
    best = (wanted >= 0) & (option >= 0) & (wanted // slots == option // slots)
    second = np.where(best | (option < 0) & (wanted < 0), answers.second, answers.least)
    return Explained(reason, site, resource, second, relax)


def _binding(
    problem: Problem, free: I64, prices: F64, job: I64, wanted: I32, option: I32
) -> tuple[npt.NDArray[np.bool_], I64, F64]:
    """Whether a wanted option lacks room, and the active resource it lacks at the highest price.

    And how many units of it, in the slot that lacks most; 0 where it lacks others too.
    """
    site, inside = _window(problem, job, wanted[job])
    need = needs(problem.demand[job], problem.scale_ppm[site])[:, None, :]
    own_site, own = _window(problem, job, np.maximum(option[job], 0))
    own &= ((option[job] >= 0) & (own_site == site))[:, None]
    room = free[site] + np.where(own[:, :, None], need, 0)  # [j, T, k]
    lacking = (room < need) & inside[:, :, None]
    worth = np.where(lacking, prices[site] * need, 0.0).sum(axis=1)
    missing = np.where(lacking, (need - room) / np.maximum(need, 1), 0.0).max(axis=1, initial=0.0)
    # the price decides; where nothing short has one, the largest missing share does
    key = np.where(worth.any(axis=1)[:, None], worth, missing)
    units = np.where(lacking, need - room, 0).max(axis=1, initial=0).astype(np.float64)
    alone = (units > 0).sum(axis=1) == 1
    return np.logical_or.reduce(lacking, axis=(1, 2)), key.argmax(axis=1), units.sum(axis=1) * alone


def _window(problem: Problem, job: I64, option: I32) -> tuple[I64, npt.NDArray[np.bool_]]:
    """Site [j] of options, and the slots [j, T] that they run in."""
    slots = problem.capacity.shape[1]
    site, start = np.divmod(option.astype(np.int64), slots)
    end = start + problem.lengths[problem.span[job, site]]
    slot = np.arange(slots)
    return site, (slot >= start[:, None]) & (slot < end[:, None])
