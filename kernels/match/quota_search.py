"""Search by quota: of each quota that binds, the members on the edge are placed anew together.

What a quota leaves no room for is a choice among its members, wherever they run, and most of them
are far from being chosen otherwise. So the few that lose most at the prices, or would lose least by
another answer, become a problem of their own with the room that all others leave. Source: Balas and
Zemel, An algorithm for large zero-one knapsack problems, Operations Research 28 (1980): the core.
"""

from dataclasses import replace
from math import inf

import numpy as np

from kernels.match.columns import ANY, F64, I32, I64, Policy
from kernels.match.prices import PriceTables
from kernels.match.primal import Plans
from kernels.match.problem import Problem
from kernels.match.reference import Engine

_EDGE = 64  # members on the edge
_QUOTAS = 64  # at most: those whose limits are worth most
_LOOKED_AT = 32  # options of a member, the cheapest at the prices
_ROUNDS = 4  # over all quotas
_WORK_A_MEMBER = 300  # of ruin and recreate


def is_choice_by_quota(problem: Problem) -> bool:
    """Whether there are quotas and more jobs than one such problem would hold a fair part of."""
    return bool(problem.pools.rows.shape[2]) and len(problem.row) > 4 * _EDGE


def improve_by_quota(
    plans: Plans,
    problem: Problem,
    engine: Engine,
    tables: PriceTables,
    prices: F64,
    bound: float,
    policy: Policy,
) -> None:
    """The cheapest plan of `plans` made cheaper, until the gap to `bound` or the work is done."""
    table, sites = tables.at(prices), len(problem.watt_cost)
    least, second = engine.sweep(table)[:2]
    options = engine.candidates(table, min(sites * problem.capacity.shape[1], _LOOKED_AT))
    priced = engine.costs(table, options)
    worth = (prices * problem.capacity)[sites:].sum(axis=(1, 2))
    most = np.argsort(-worth, kind="stable")[:_QUOTAS]
    groups = []
    for row in (sites + most[worth[most] > 0.0]).tolist():
        rows = problem.pools.members(row)
        distance = _distance(problem, row, rows, options[rows], priced[rows])
        groups.append((rows, (distance, (second - least)[rows])))
    work = replace(policy, work=min(policy.work // max(len(groups), 1), _WORK_A_MEMBER * _EDGE))
    for turn in range(_ROUNDS):
        for rows, distances in groups:
            if plans.is_near(bound, policy):
                return
            lost = engine.costs(table, plans.option[:, None])[rows, 0] - least[rows]
            key = np.where(lost > 0.0, -lost, distances[turn % 2])
            edge = np.sort(rows[np.argsort(key, kind="stable")[:_EDGE]])
            option = plans.option.copy()
            option[edge] = _anew(problem, engine, option, edge, prices, work)
            plans.offer(option)


def _distance(problem: Problem, row: int, rows: I64, options: I32, priced: F64) -> F64:
    """How far apart the best answers that use a row of capacity and that do not are, [rows]."""
    site = np.maximum(options, 0) // problem.capacity.shape[1]
    used = (problem.pools.rows[problem.pools.signature[rows][:, None], site] == row).any(axis=2)
    inside = np.where((options >= 0) & used, priced, inf).min(axis=1)
    outside = np.where((options >= 0) & ~used, priced, inf).min(axis=1)
    distance: F64 = np.abs(np.minimum(outside, problem.reject[rows]) - inside)
    return distance


def _anew(
    problem: Problem, engine: Engine, option: I32, edge: I64, prices: F64, policy: Policy
) -> I32:
    """Options of the jobs on the edge, where all others stay where they are."""
    others = option.copy()
    others[edge] = ANY
    core = problem.take(edge)
    core = core._replace(capacity=problem.capacity - engine.used(others))
    plans = Plans(core, type(engine)(core), PriceTables(core))
    return plans.rework(np.ascontiguousarray(option[edge]), prices, -inf, policy)
