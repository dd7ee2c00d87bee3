"""Shares: how many jobs of each kind go where, by the simplex method on a program of kinds.

    minimise    sum over kinds k and options o of n_k cost[k, o] y[k, o]  +  n_k reject[k] y[k]
    subject to  sum over o of y[k, o] + y[k] = 1,  sum of n_k use[k, o] y[k, o] <= capacity

What prices alone cannot tell, how equal jobs are split between options of equal price, is in the
solution. A tableau with a row for each kind and each capacity that could be short, begun with all
jobs rejected, so that every step leaves shares that hold. Elementwise arithmetic only: the same
bits on any machine. Source: Dantzig, Linear Programming and Extensions (1963).
"""

from typing import NamedTuple

import numpy as np

from kernels.match.columns import F64, I32, I64
from kernels.match.kinds import take
from kernels.match.prices import PriceTables
from kernels.match.problem import Problem

_ENTRIES_MAX = 1 << 18  # of the tableau: above it a step costs more than bundles do
_SINGLE = 8  # jobs of a part that are placed one by one
_STEPS_A_ROW = 20  # at most
_LEAST = 1e-9  # of a pivot, and of what a step would gain, in the largest cost


class Shares(NamedTuple):
    """The best split of K kinds found, its prices, and the steps that it took."""

    jobs: F64  # [K, M x T] how many, in fractions
    prices: F64  # [R, T, k] currency per unit
    steps: int


def shares_of(problem: Problem, tables: PriceTables, size: I64) -> Shares | None:
    """Of a problem with a row for each kind; size [K]: its jobs; None where that is too large."""
    if not len(size):
        return None
    kind, site, start = np.nonzero(problem.open)
    if len(size) * (len(kind) + len(size)) > _ENTRIES_MAX:
        return None  # before a use of every capacity by every option is written down
    use = _use(problem, kind, site, start) * size[kind]  # [R x T x k, columns]
    capacity = problem.capacity.ravel().astype(np.float64)
    scarce = np.flatnonzero(_wanted(problem, use, kind) > capacity)
    rows, columns = len(size) + len(scarce), len(kind) + len(size) + len(scarce)
    if rows * columns > _ENTRIES_MAX:
        return None
    cost = problem.fixed[kind, site]
    for k in range(len(problem.active)):
        span = problem.span[kind, site]
        cost = cost + problem.demand[kind, k] * tables.costs[span, k, site, start]
    limit = np.maximum(capacity[scarce], 1.0)
    tableau = np.zeros((rows + 1, columns + 1))
    tableau[kind, np.arange(len(kind))] = 1.0
    tableau[len(size) : rows, : len(kind)] = use[scarce] / limit[:, None]
    tableau[np.arange(rows), len(kind) + np.arange(rows)] = 1.0
    tableau[: len(size), -1] = 1.0
    tableau[len(size) : rows, -1] = capacity[scarce] / limit
    # in costs beyond rejection: what is rejected is in the basis
    scale = float(np.abs(cost * size[kind]).max()) or float((problem.reject * size).max()) or 1.0
    tableau[rows, : len(kind)] = size[kind] * (cost - problem.reject[kind]) / scale
    basis, steps = _descend(tableau)
    found = np.zeros(columns)
    found[basis] = tableau[:rows, -1]
    jobs = np.zeros((len(size), problem.open[0].size))
    jobs[kind, site * problem.open.shape[2] + start] = found[: len(kind)] * size[kind]
    prices = np.zeros(len(capacity))
    prices[scarce] = np.maximum(tableau[rows, len(kind) + len(size) : columns], 0.0)
    prices[scarce] *= scale / limit
    return Shares(jobs, prices.reshape(problem.capacity.shape), steps)


class Parts(NamedTuple):
    """Jobs of one kind at one option, which no search looks at again."""

    kind: I64  # [P] row of the kinds' problem
    option: I32
    times: I64


def parts_of(problem: Problem, shares: Shares, size: I64) -> tuple[Parts, I64, I64]:
    """Whole parts, but for a few jobs of each; the jobs left of a kind [K]; the room left."""
    whole = np.maximum(np.floor(shares.jobs + _LEAST).astype(np.int64) - _SINGLE, 0)
    kind, option = np.nonzero(whole)
    free, times = problem.capacity.copy(), np.zeros(len(kind), np.int64)
    for at in range(len(kind)):
        row, to = int(kind[at]), int(option[at])
        times[at] = take(problem, row, to, int(whole[row, to]), free)
    left = size - np.bincount(kind, times, len(size)).astype(np.int64)
    return Parts(kind, option.astype(np.int32), times), left, free


def _use(problem: Problem, kind: I64, site: I64, start: I64) -> I64:
    """Use [R x T x k, columns] of one job of each kind at each option that it may take."""
    used = np.zeros((*problem.capacity.shape, len(kind)), np.int64)
    need, at = problem.need(kind, site), np.arange(len(kind))
    length = problem.lengths[problem.span[kind, site]]
    pools = problem.pools.rows[problem.pools.signature[kind], site]
    for row in (site, *pools.T):
        for slot in range(problem.capacity.shape[1]):
            runs = (row >= 0) & (start <= slot) & (slot < start + length)
            used[row[runs], slot, :, at[runs]] = need[runs]
    return used.reshape(-1, len(kind))


def _wanted(problem: Problem, use: I64, kind: I64) -> I64:
    """Use [R x T x k] if every job were where it needs most of it."""
    first = np.flatnonzero(np.diff(kind, prepend=-1))
    if not len(first):
        return np.zeros(len(use), np.int64)
    wanted: I64 = np.maximum.reduceat(use, first, axis=1).sum(axis=1)
    return wanted


def _descend(tableau: F64) -> tuple[I64, int]:
    """Pivot until nothing is gained; the column [rows] in the basis of each row, and the steps."""
    rows, columns = tableau.shape[0] - 1, tableau.shape[1] - 1
    basis, steps = np.arange(columns - rows, columns), 0
    while steps < _STEPS_A_ROW * rows:
        enters = int(tableau[rows, :-1].argmin())
        if tableau[rows, enters] >= -_LEAST:
            break
        column = tableau[:rows, enters]
        able = column > _LEAST
        if not able.any():
            break
        room = np.where(able, tableau[:rows, -1], np.inf) / np.where(able, column, 1.0)
        leaves = int(room.argmin())
        pivot = tableau[leaves] / tableau[leaves, enters]
        tableau -= tableau[:, enters : enters + 1] * pivot
        tableau[leaves] = pivot
        np.maximum(tableau[:rows, -1], 0.0, out=tableau[:rows, -1])
        basis[leaves] = enters
        steps += 1
    return basis, steps
