"""Joint jobs: a group that must share a site runs as one, from one start.

Its demands, data and costs add up; the strictest deadline, latency and residency hold. What has to
be the same in all of a group is checked. Power is summed before it is rounded up to whole watts,
and the group is one job to a quota
of jobs, and one move.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from kernels.match.checks import DEMAND_MAX
from kernels.match.columns import ANY, F64, I64, BadInput, Bool, Jobs

SAME = (
    "job_class",
    "precision",
    "duration_ms",
    "release_slot",
    "origin_hub",
    "data_site",
    "data_hub",
    "current_site",
    "priority",
    "tenant",
    "pairing",
    "apart",
)
_NOWHERE = 2**31  # the affinity of a group whose jobs are bound to several sites


class Joint(NamedTuple):
    """J rows of N jobs."""

    jobs: Jobs  # [J] in order of their first job's id
    row: I64  # [N] of each job
    first: Bool  # [N] its row bears the group's cost


def join(jobs: Jobs) -> Joint:
    """A row for each group and for each job of none. `jobs` are in order of their id, and alike."""
    own = np.arange(len(jobs.job_id))
    if (jobs.together == ANY).all():
        return Joint(jobs, own, np.ones(len(own), np.bool_))
    leader = own.copy()
    grouped = np.flatnonzero(jobs.together != ANY)
    _, first, group = np.unique(jobs.together[grouped], return_index=True, return_inverse=True)
    leader[grouped] = grouped[first[group]]
    leaders, row = np.unique(leader, return_inverse=True)
    made = jobs.take(leaders)
    demand = np.zeros_like(made.demand)
    np.add.at(demand, row, jobs.demand)
    late = np.iinfo(np.int64).max
    deadline = np.full(len(leaders), late)
    np.minimum.at(deadline, row, np.where(jobs.deadline_slot == ANY, late, jobs.deadline_slot))
    rtt = np.full(len(leaders), np.inf)
    np.minimum.at(rtt, row, jobs.max_rtt_ms)
    residency = np.full(len(leaders), ANY)
    np.bitwise_and.at(residency, row, jobs.residency)
    joined = replace(
        made,
        demand=demand,
        deadline_slot=np.where(deadline == late, ANY, deadline),
        max_rtt_ms=rtt,
        residency=residency,
        affinity=_affinity(jobs, row, len(leaders)),
        together=np.full(len(leaders), ANY),
        data_gb=_sums(jobs.data_gb, row, len(leaders)),
        migration_cost=_sums(jobs.migration_cost, row, len(leaders)),
        reject_cost=_sums(jobs.reject_cost, row, len(leaders)),
    )
    return Joint(joined, row, leader == own)


def unlike(jobs: Jobs, row: I64) -> tuple[Bool, tuple[BadInput, ...]]:
    """Jobs [n] that differ from the first of their group, or whose group asks too much; and why.

    row [n]: of the jobs as they were given.
    """
    bad, errors = np.zeros(len(row), np.bool_), []
    grouped = np.flatnonzero(jobs.together != ANY)
    if not len(grouped):
        return bad, ()
    _, first, group = np.unique(jobs.together[grouped], return_index=True, return_inverse=True)
    leader = grouped[first[group]]
    for name in SAME:
        column = getattr(jobs, name)
        for at in np.flatnonzero(column[grouped] != column[leader]).tolist():
            i, told = grouped[at], f"send {column[leader[at]]}, as {jobs.job_id[leader[at]]} has"
            errors.append(BadInput("jobs", int(row[i]), name, str(column[i]), told))
            bad[i] = True
    total = np.zeros((len(first), jobs.demand.shape[1]))
    np.add.at(total, group, jobs.demand[grouped].astype(np.float64))
    for at in np.flatnonzero(total.max(axis=1)[group] > DEMAND_MAX).tolist():
        i = grouped[at]
        told = f"send a group that asks for at most {DEMAND_MAX} in all"
        errors.append(BadInput("jobs", int(row[i]), "together", str(jobs.together[i]), told))
        bad[i] = True
    return bad, tuple(errors)


def _sums(column: F64, row: I64, count: int) -> F64:
    return np.bincount(row, column, count).astype(np.float64)


def _affinity(jobs: Jobs, row: I64, count: int) -> I64:
    bound = np.flatnonzero(jobs.affinity != ANY)
    site = np.full(count, ANY)
    site[row[bound]] = jobs.affinity[bound]
    torn = bound[site[row[bound]] != jobs.affinity[bound]]
    site[row[torn]] = _NOWHERE
    return site
