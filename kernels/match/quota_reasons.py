"""Reasons by quota: which jobs a quota, or their own group, kept from their cheapest option."""

from typing import NamedTuple

import numpy as np

from kernels.match.columns import ANY, F64, I32, I64, Jobs, Reason
from kernels.match.problem import Problem
from kernels.match.reasons import Explained
from kernels.match.terms import Quotas, Rules


class ByQuota(NamedTuple):
    """Explained, and the quota [n] that binds a job of the problem."""

    why: Explained
    quota: I32


def explain_quotas(
    problem: Problem,
    quotas: Quotas,
    free: I64,
    prices: F64,
    wanted: I32,
    option: I32,
    why: Explained,
) -> ByQuota:
    """The quota is named where the site had room, or what it lacks is worth less there.

    free [R, T, k]: what the plan leaves; wanted [n]: the options that jobs alone would take.
    """
    quota = np.full(len(option), ANY, np.int32)
    found = why._replace(
        reason=why.reason.copy(),
        site=why.site.copy(),
        resource=why.resource.copy(),
        relax=why.relax.copy(),
    )
    slots = problem.capacity.shape[1]
    for job in np.flatnonzero((wanted >= 0) & (wanted != option)).tolist():
        want = int(wanted[job])
        lacking = _short_at(problem, free, prices, job, want, int(option[job]))
        if not lacking:
            continue
        short = max(lacking, key=lambda one: (one.worth, one.share, -one.pool, -one.kind))
        site = want // slots
        if why.site[job] >= 0 and short.worth < _site_worth(problem, prices, free, why, job, want):
            continue
        quota[job] = problem.pools.quota[short.pool]
        found.site[job], found.resource[job] = site, problem.active[short.kind]
        found.relax[job] = 0.0
        if option[job] < 0:
            grouped = quotas.apart[quota[job]] != ANY
            found.reason[job] = Reason.REJECTED_APART if grouped else Reason.REJECTED_QUOTA
            if why.site[job] < 0 and len(lacking) == 1 and not grouped:
                found.relax[job] = short.units
    return ByQuota(found, quota)


class _Short(NamedTuple):
    pool: int
    kind: int  # active
    worth: float  # of what the job needs, at the quota's prices
    units: int  # lacking in the slot that lacks most
    share: float  # of the need


def _short_at(
    problem: Problem, free: I64, prices: F64, job: int, want: int, now: int
) -> list[_Short]:
    """What the job's quotas lack at the wanted option."""
    slots, sites = problem.capacity.shape[1], len(problem.watt_cost)
    site, start = divmod(want, slots)
    need = problem.need(job, site)
    end = min(start + int(problem.lengths[problem.span[job, site]]), slots)
    signature = problem.pools.signature[job]
    own = np.zeros((slots, len(need)), np.int64)
    held: list[int] = []
    if now >= 0:
        at, begun = divmod(now, slots)
        ended = min(begun + int(problem.lengths[problem.span[job, at]]), slots)
        own[begun:ended] = problem.need(job, at)
        held = problem.pools.rows[signature, at].tolist()
    found: list[_Short] = []
    for row in problem.pools.rows[signature, site].tolist():
        if row < 0:
            continue
        room = free[row, start:end] + (own[start:end] if row in held else 0)
        lacking = np.maximum(need - room, 0)
        worth = np.where(lacking > 0, prices[row, start:end] * need, 0.0).sum(axis=0)
        most = lacking.max(axis=0)
        found += [
            _Short(row - sites, k, float(worth[k]), int(most[k]), int(most[k]) / int(need[k]))
            for k in np.flatnonzero(most).tolist()
        ]
    return found


def _site_worth(
    problem: Problem, prices: F64, free: I64, why: Explained, job: int, want: int
) -> float:
    """What the resource that the site lacks is worth to the job where it is short."""
    site, start = divmod(want, problem.capacity.shape[1])
    end = start + int(problem.lengths[problem.span[job, site]])
    kind = problem.active.tolist().index(int(why.resource[job]))
    need = int(problem.need(job, site)[kind])
    short = free[site, start:end, kind] < need
    return float((prices[site, start:end, kind] * short).sum()) * need


def but_forbidden(
    rules: Rules, jobs: Jobs, sites: int, amount: F64, nearest: I64
) -> tuple[F64, I64]:
    """No amount helps where a rule of the policy forbids the site too."""
    rows = np.flatnonzero(nearest >= 0)
    if len(rows) and len(rules.factor_ppm):
        factor = rules.factors(jobs.take(rows), sites)
        forbidden = rows[factor[np.arange(len(rows)), nearest[rows]] == ANY]
        amount[forbidden], nearest[forbidden] = 0.0, ANY
    return amount, nearest
