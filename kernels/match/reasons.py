"""Reasons: why a job of the problem is where it is, and which constraint kept it from better."""

import os
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
    cost: F64  # currency: what its option costs, or its rejection


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
    if os.environ.get("GRIDLOOM_PURE") != "1":
        from kernels.match._reasons import explain as in_one_pass

        whole = np.ascontiguousarray(prices), option, np.ascontiguousarray(free)
        given = (engine, tables.costs, answers, problem.active, *whole)
        return Explained(*in_one_pass(*given))
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
    return Explained(reason, site, resource, second, relax, cost[:, 1])


def _binding(
    problem: Problem, free: I64, prices: F64, job: I64, wanted: I32, option: I32
) -> tuple[npt.NDArray[np.bool_], I64, F64]:
    """Whether a wanted option lacks room, and the active resource it lacks at the highest price.

    And how many units of it, in the slot that lacks most; 0 where it lacks others too.
    """
    site, start, end = _run(problem, job, wanted[job])
    own_site, own_start, own_end = _run(problem, job, np.maximum(option[job], 0))
    beside = (option[job] >= 0) & (own_site == site)
    need = needs(problem.demand[job], problem.scale_ppm[site])
    # a row for each slot that a job would run in, one job's rows together
    first = np.append(0, np.cumsum(end - start)[:-1])[: len(job)]
    of = np.repeat(np.arange(len(job)), end - start)
    slot = np.arange(len(of)) - first[of] + start[of]
    own = beside[of] & (slot >= own_start[of]) & (slot < own_end[of])
    asked = need[of]
    room = free[site[of], slot] + np.where(own[:, None], asked, 0)
    lacking = room < asked
    worth = np.add.reduceat(np.where(lacking, prices[site[of], slot] * asked, 0.0), first)
    lacks = np.where(lacking, asked - room, 0)
    missing = np.maximum.reduceat(lacks / np.maximum(asked, 1), first)
    # the price decides; where nothing short has one, the largest missing share does
    key = np.where((worth.sum(axis=1) > 0)[:, None], worth, missing)
    units = np.maximum.reduceat(lacks, first).astype(np.float64)
    short = (units > 0).sum(axis=1)
    return short > 0, key.argmax(axis=1), units.sum(axis=1) * (short == 1)


def _run(problem: Problem, job: I64, option: I32) -> tuple[I64, I64, I64]:
    """Site [j] of options, the slot they start in and the one past their last."""
    slots = problem.capacity.shape[1]
    site, start = np.divmod(option.astype(np.int64), slots)
    end = np.minimum(start + problem.lengths[problem.span[job, site]], slots)
    return site, start, end
