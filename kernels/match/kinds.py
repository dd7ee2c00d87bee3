"""Kinds: jobs that nothing but their id tells apart are solved together.

A kind's jobs become bundles: rows of the problem that stand for `times` jobs at once, large ones
first and single jobs last, so that what is large is placed fast and what is left fits exactly. What
no bundle found room for is then placed job by job, and the places found are handed out in order of
the job ids. The bound is the same: the least price of a bundle is that of its jobs.
"""

from typing import NamedTuple

import numpy as np

from kernels.match.alike import is_mostly_distinct
from kernels.match.columns import ANY, F64, I32, I64, Jobs
from kernels.match.prices import PriceTables
from kernels.match.problem import Compiled, Problem

_JOBS_MIN = 256  # below it there is nothing to win
_SAVED = 2  # rows are to be at least so many times fewer
_LAST = 2**31 - 1  # sorts what is rejected behind every option
_PARTS = 64  # a bundle is at most this part of what is left of its kind


class Kinds(NamedTuple):
    """K kinds of N jobs, which are in order of their id."""

    kind: I64  # [N]
    first: I64  # [K] row of the first job
    size: I64  # [K]
    bundle: I64  # [B] kind of a bundle
    times: I64  # [B] jobs in it

    @property
    def saves(self) -> bool:
        """Whether bundles are few enough to be solved instead of the jobs."""
        return len(self.bundle) * _SAVED <= len(self.kind)


class Placed(NamedTuple):
    """P places: jobs of one kind at one option."""

    kind: I64  # [P] ascending, and in each the options ascending, rejected last
    option: I32  # [P]
    times: I64  # [P]

    def of_jobs(self, kinds: Kinds) -> I64:
        """The place [N] of every job: in order of job ids, as places come."""
        place = np.empty(len(kinds.kind), np.int64)
        place[np.argsort(kinds.kind, kind="stable")] = np.repeat(
            np.arange(len(self.kind)), self.times
        )
        return place


def kinds_of(jobs: Jobs, wanted: I32) -> Kinds | None:
    """The kinds, None where they save too little; wanted [N]: option of the last plan."""
    rows = len(jobs.job_id)
    if rows < _JOBS_MIN:
        return None
    kind = _told_apart(jobs, wanted)
    if kind is None:
        return None
    _, first, size = np.unique(kind, return_index=True, return_counts=True)
    order = np.argsort(first, kind="stable")  # kinds in order of their first job
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    parts = [_bundles(int(count)) for count in size[order]]
    count = np.array([one for part in parts for one in part], np.int64)
    bundle = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Kinds(place[kind], first[order], size[order], bundle, count)


def _told_apart(jobs: Jobs, wanted: I32) -> I64 | None:
    """A number [N] for each kind, equal where all columns are; None where most are of their own."""
    floats = (jobs.reject_cost, jobs.data_gb, jobs.migration_cost, jobs.max_rtt_ms)
    if any(is_mostly_distinct(column, _SAVED) for column in floats):  # those that differ most first
        return None
    own = np.where(jobs.apart == ANY, ANY, np.arange(len(wanted)))  # may not run beside its like
    columns = [*floats, own, wanted, *jobs.demand.T]
    columns += [
        column
        for name in Jobs.__dataclass_fields__
        if name not in ("demand", "apart") and (column := getattr(jobs, name)).dtype.kind == "i"
    ]
    key = np.zeros(len(wanted), np.int64)
    for column in columns:
        whole = column.dtype.kind == "i"
        bits = column.astype(np.int64) if whole else (column + 0.0).view(np.int64)
        if (bits == bits[0]).all():
            continue
        ascending = np.sort(bits)
        if (1 + np.count_nonzero(ascending[1:] > ascending[:-1])) * _SAVED > len(key):
            return None
        _, place = np.unique(bits, return_inverse=True)
        if int(key.max()) * int(place.max() + 1) >= 2**62:
            _, key = np.unique(key, return_inverse=True)
        key = key * int(place.max() + 1) + place
    _, key = np.unique(key, return_inverse=True)
    return None if (int(key.max()) + 1) * _SAVED > len(key) else key


def _bundles(size: int) -> list[int]:
    parts = []
    while size:
        part = max(size // _PARTS, 1)
        parts.append(part)
        size -= part
    return parts


def fill(problem: Problem, tables: PriceTables, kinds: Kinds, option: I32, free: I64) -> Placed:
    """Places of the bundles' options [B], and of jobs that still find room; `free` is changed.

    problem: a row for each kind that has any option; free [R, T, k]: what the bundles leave.
    """
    left = np.zeros(len(kinds.size), np.int64)
    held: dict[tuple[int, int], int] = {}
    for kind, at, count in zip(kinds.bundle, option, kinds.times, strict=True):
        if at < 0:
            left[kind] += count
        else:
            held[int(kind), int(at)] = held.get((int(kind), int(at)), 0) + int(count)
    waiting = np.flatnonzero(left[problem.row] > 0)
    for row in waiting[np.argsort(-problem.reject[waiting], kind="stable")].tolist():
        kind, cost = int(problem.row[row]), _costs_of(problem, tables, row)
        for at in np.argsort(cost, kind="stable").tolist():
            if cost[at] > problem.reject[row] or not left[kind]:
                break
            taken = take(problem, row, at, int(left[kind]), free)
            if taken:
                held[kind, at] = held.get((kind, at), 0) + taken
                left[kind] -= taken
    found = [(kind, at, count) for (kind, at), count in held.items()]
    found += [(int(kind), _LAST, int(left[kind])) for kind in np.flatnonzero(left)]
    column = np.array(sorted(found), np.int64)
    options = np.where(column[:, 1] == _LAST, ANY, column[:, 1])
    return Placed(column[:, 0], options.astype(np.int32), column[:, 2])


def _costs_of(problem: Problem, tables: PriceTables, row: int) -> F64:
    """Cost [M x T] of every option of a row, inf where closed."""
    site, start = np.divmod(np.arange(problem.open[row].size), problem.open.shape[2])
    cost = problem.fixed[row, site]
    for k in range(len(problem.active)):
        cost = cost + problem.demand[row, k] * tables.costs[problem.span[row, site], k, site, start]
    return np.where(problem.open[row].ravel() == 1, cost, np.inf)


def take(problem: Problem, row: int, option: int, most: int, free: I64) -> int:
    """Take room for as many jobs as there is any for, up to `most`; how many."""
    slots = problem.capacity.shape[1]
    site, start = divmod(option, slots)
    end = min(start + int(problem.lengths[problem.span[row, site]]), slots)
    need = problem.need(row, site)
    shared = problem.pools.rows[problem.pools.signature[row], site]
    rows = [site, *shared[shared >= 0].tolist()]
    asked = need > 0
    for one in rows:
        fits = free[one, start:end][:, asked] // need[asked]
        most = max(min(most, int(fits.min(initial=most))), 0)
    for one in rows:
        free[one, start:end] -= most * need
    return most


def places(compiled: Compiled, of: I64) -> Compiled:
    """The kinds' problem with a row for each place; of [P] its kind."""
    problem = compiled.problem
    row_of = np.full(len(compiled.reason), ANY, np.int64)
    row_of[problem.row] = np.arange(len(problem.row))
    row = np.flatnonzero(row_of[of] >= 0)
    taken = row_of[of[row]]
    return Compiled(
        problem.take(taken)._replace(row=row),
        compiled.reason[of],
        compiled.too_large[of],
        compiled.quota[of],
    )
