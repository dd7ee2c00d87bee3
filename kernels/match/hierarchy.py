"""Hierarchy: what a parent domain's plan hands to its children, national -> hub -> city.

The sites of a parent's match are its children. Of every quota a child gets what the plan uses there
and an equal part of what is left; the parts add up to the quota, never to more. Its own capacity,
as the parent sees it, is one more quota: over all jobs of the child, however much its sites hold.
"""

from typing import NamedTuple

import numpy as np

from kernels.match.columns import ANY, COUNT, I64, LIMITED, Jobs, Plan, Sites
from kernels.match.problem import needs, scale_ppm
from kernels.match.terms import Quotas


class Handed(NamedTuple):
    """What one child is to solve: the same kernel, its own sites, these jobs, these quotas."""

    rows: I64  # jobs of the parent that its plan places there
    limit: I64  # [Q + 1, T, 6] of the parent's quotas, and of the child as a whole

    def quotas(self, parent: Quotas, child: str, sites: int) -> Quotas:
        """As columns of the child's match over so many sites; job columns keep their numbers."""
        ids = [*parent.quota_id.tolist(), child]
        covers = np.ones((len(ids), sites), np.bool_)
        return Quotas.of(
            ids,
            self.limit,
            covers,
            self.limit.shape[1],
            tenant=np.append(parent.tenant, ANY),
            pairing=np.append(parent.pairing, ANY),
            job_class=np.append(parent.job_class, ANY),
            others=np.append(parent.others, False),
        )


def hand_down(jobs: Jobs, sites: Sites, plan: Plan, quotas: Quotas) -> list[Handed]:
    """One for each site of the parent; jobs and quotas as they were matched, no row of them bad."""
    used = _used(jobs, sites, plan, quotas)  # [M, Q, T, 6]
    limit = np.full_like(used, ANY)
    for q in range(used.shape[1]):
        covered = np.flatnonzero(quotas.covers[q])
        limited = quotas.limit[q] != ANY
        if len(covered):
            limit[covered, q] = np.where(limited, parts(used[covered, q], quotas.limit[q]), ANY)
    whole = np.full((len(limit), 1, *limit.shape[2:]), ANY, np.int64)
    whole[:, 0, :, :COUNT] = sites.capacity
    return [
        Handed(np.flatnonzero(plan.site == m), np.concatenate([limit[m], whole[m]]))
        for m in range(len(limit))
    ]


def _used(jobs: Jobs, sites: Sites, plan: Plan, quotas: Quotas) -> I64:
    """Use [M, Q, T, 6] of each quota by site."""
    count, slots, _ = sites.capacity.shape
    edges = np.zeros((count, len(quotas.quota_id), slots + 1, len(LIMITED)), np.int64)
    scale = scale_ppm(sites)
    for q, members in enumerate(quotas.members(jobs)):
        rows = members[plan.site[members] >= 0]
        rows = rows[quotas.covers[q, plan.site[rows]]]
        site, start = plan.site[rows], plan.slot[rows]
        end = np.minimum(start + plan.slots[rows], slots)
        asked = np.column_stack([jobs.demand[rows], np.ones(len(rows), np.int64)])
        need = needs(asked, scale[site])
        np.add.at(edges[:, q], (site, start), need)
        np.subtract.at(edges[:, q], (site, end), need)
    used: I64 = edges.cumsum(axis=2)[:, :, :slots]
    return used


def parts(used: I64, limit: I64) -> I64:
    """Parts [C, T, 6] of a limit [T, 6]: what is used [C, T, 6], and an equal part of the rest.

    Where more is used than the limit, who uses most is served first. What equal parts leave goes to
    the first.
    """
    order = np.argsort(-used, axis=0, kind="stable")
    most = np.take_along_axis(used, order, axis=0)
    before = most.cumsum(axis=0) - most
    kept = np.empty_like(used)
    np.put_along_axis(kept, order, np.clip(limit - before, 0, most), axis=0)
    rest = np.maximum(limit - kept.sum(axis=0), 0)
    made: I64 = kept + rest // len(used)
    made[0] += rest % len(used)
    return made
