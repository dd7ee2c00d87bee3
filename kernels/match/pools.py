"""Pools: quotas as further rows of capacity, and what jobs under the same terms have in common.

The capacity of a problem has a row for each site and behind them one for each quota that could
bind. A job's signature says by which of them it is bound at every site, and at which factor of the
costs: with the prices of its quotas added to those of the sites, pricing is the same for all.
"""

from typing import NamedTuple

import numpy as np

from kernels.match.columns import (
    ANY,
    COUNT,
    F64,
    FACILITY_SIDE,
    I32,
    I64,
    LIMITED,
    PPM,
    RESOURCES,
    Bool,
    Jobs,
    Sites,
)
from kernels.match.terms import Quotas, Terms

_GLANCE = 64  # jobs


class Pools(NamedTuple):
    """S signatures, P quotas that could bind."""

    quota: I64  # [P] index in Quotas
    capacity: I64  # [P, T, 6] of the limit, what whole demands could use
    spare: I64  # [P, T, 6] the rest of the limit
    signature: I32  # [n]
    rows: I32  # [S, M, L] rows of capacity that an option at a site uses too, ANY pads
    factor: F64  # [S, M] of the cost of energy and carbon

    def members(self, row: int) -> I64:
        """Jobs that a row of capacity behind the sites binds at any of them, ascending."""
        bound = (self.rows == row).any(axis=(1, 2))
        return np.flatnonzero(bound[self.signature])


def pools_of(jobs: Jobs, sites: Sites, need_most: I64, terms: Terms) -> Pools:
    """Of the jobs of a problem; need_most [n, 6]: of each at the site where it needs most."""
    quota, members, limit = _binding(jobs, need_most, terms.quotas)
    spare = _spare(jobs, members, limit)
    kind, first = _kinds(jobs, terms)
    count = len(sites.up)
    of_kind: list[list[int]] = [[] for _ in first]
    for p, counted in enumerate(members):
        for at in np.unique(kind[counted]).tolist():
            of_kind[at].append(p)
    factor = np.maximum(terms.rules.factors(jobs.take(first), count), 0) / PPM
    merged: dict[tuple[tuple[int, ...], bytes], int] = {}
    of = [
        merged.setdefault((tuple(held), factor[at].tobytes()), len(merged))
        for at, held in enumerate(of_kind)
    ]
    at_site = [
        [[count + p for p in held if terms.quotas.covers[quota[p], m]] for m in range(count)]
        for held, _ in merged
    ]
    most = max((len(rows) for by_site in at_site for rows in by_site), default=0)
    rows: I32 = np.full((len(merged), count, most), ANY, np.int32)
    for s, by_site in enumerate(at_site):
        for m, held in enumerate(by_site):
            rows[s, m, : len(held)] = held
    kept = np.array([of.index(s) for s in range(len(merged))], np.int64)
    signature: I32 = np.array(of, np.int32)[kind]
    return Pools(quota, limit - spare, spare, signature, rows, factor[kept])


def no_pools(jobs: int, sites: int, slots: int) -> Pools:
    """Pools where there are no terms: one signature, bound by nothing."""
    kinds = min(jobs, 1)
    return Pools(
        quota=np.empty(0, np.int64),
        capacity=np.empty((0, slots, len(LIMITED)), np.int64),
        spare=np.empty((0, slots, len(LIMITED)), np.int64),
        signature=np.zeros(jobs, np.int32),
        rows=np.full((kinds, sites, 0), ANY, np.int32),
        factor=np.ones((kinds, sites)),
    )


def _binding(jobs: Jobs, need_most: I64, quotas: Quotas) -> tuple[I64, list[I64], I64]:
    """Quotas that their members could exceed, these members, and limits; what is free is enough."""
    enough = need_most.sum(axis=0)
    found, members, limits = [], [], []
    for q, rows in enumerate(quotas.members(jobs)):
        wanted, limit = need_most[rows].sum(axis=0), quotas.limit[q]
        if ((limit != ANY) & (limit < wanted)).any():
            found.append(q)
            members.append(rows)
            limits.append(np.where(limit == ANY, enough, np.minimum(limit, enough)))
    slots = quotas.limit.shape[1]
    capacity = np.array(limits, np.int64).reshape(-1, slots, len(LIMITED))
    return np.array(found, np.int64), members, capacity


def _spare(jobs: Jobs, members: list[I64], limit: I64) -> I64:
    """What no set of members can use [P, T, 6]."""
    spare, asked = np.zeros_like(limit), slice(len(RESOURCES))
    as_asked = ~np.isin(np.arange(len(RESOURCES)), FACILITY_SIDE)
    for p, rows in enumerate(members):
        spare[p, :, asked] = left_over(limit[p, :, asked], jobs.demand[rows], as_asked)
    return spare


def left_over(capacity: I64, demand: I64, as_asked: Bool) -> I64:
    """What is left of capacity [..., k] however whole demands [n, k] fill it.

    That is where they have a common divisor; what a facility draws is rounded up for each job and
    has none worth looking for, which `as_asked` [k] tells apart.
    """
    step = np.ones(demand.shape[1], np.int64)
    for k in np.flatnonzero(as_asked):
        few = np.gcd.reduce(demand[:_GLANCE, k])  # mostly enough to see that there is none
        step[k] = few if few == 1 else np.gcd.reduce(demand[:, k])
    return capacity % np.maximum(step, 1)


def _kinds(jobs: Jobs, terms: Terms) -> tuple[I64, I64]:
    """Kind [n] of each job, equal where no quota or rule can tell two apart; a row of each kind."""
    key = np.zeros(len(jobs.job_id), np.int64)
    if len(terms.quotas.quota_id) or len(terms.rules.factor_ppm):
        for column in (jobs.job_class, jobs.tenant, jobs.pairing, jobs.apart):
            _, place = np.unique(column, return_inverse=True)
            _, key = np.unique(key * (len(jobs.job_id) + 1) + place, return_inverse=True)
    _, first = np.unique(key, return_index=True)
    return key, first


def limits_jobs(pools: Pools, jobs: int) -> bool:
    """Whether a quota counts jobs."""
    return bool((pools.capacity[:, :, COUNT] < jobs).any())
