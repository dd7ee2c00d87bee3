"""Certificate of quotas and rules: what they cost, close and forbid, from the columns alone.

As in certificate.py, everything is worked out a second time: nothing is shared with pools.py.
"""

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
    Bool,
    Jobs,
    Network,
    Policy,
    Sites,
)
from kernels.match.terms import Quotas, Rules


class QuotaProof:
    """Quotas of one plan at prices [Q, T, 6]; of runs of the lengths given."""

    def __init__(self, jobs: Jobs, sites: Sites, quotas: Quotas, prices: F64, lengths: I64) -> None:
        self._jobs, self._sites, self._quotas = jobs, sites, quotas
        self._lengths = lengths
        self.prices = np.where(quotas.limit == ANY, 0.0, prices)
        self._members = [np.zeros(len(jobs.job_id), np.bool_) for _ in quotas.quota_id]
        for q, member in enumerate(self._members):
            member[:] = _is_member(jobs, quotas, q)

    def most(self) -> int:
        """Terms that quotas add to the price of an option, at most."""
        of_job = np.zeros(len(self._jobs.job_id), np.int64)
        for member in self._members:
            of_job += member
        return len(LIMITED) * int(of_job.max(initial=0))

    def add(self, priced: F64, magnitude: F64, open_: Bool, part: I64, span: I64) -> None:
        """Add what quotas cost, close what is larger than one; arrays [part, M, T]."""
        for q, member in enumerate(self._members):
            rows, sites = np.flatnonzero(member[part]), np.flatnonzero(self._quotas.covers[q])
            if not len(rows) or not len(sites):
                continue
            pairs = np.ix_(rows, sites)
            length = np.minimum(self._lengths[span[pairs]], open_.shape[2])
            for k in range(len(LIMITED)):
                limit = self._quotas.limit[q, :, k]
                if (limit == ANY).all():
                    continue
                need = self._need(part[rows][:, None], sites[None, :], k)[:, :, None]
                bound = np.where(limit == ANY, np.iinfo(np.int64).max, limit)
                paid, room = _runs(self.prices[q, :, k], bound)
                worth = need * paid[length]
                priced[pairs] += worth
                magnitude[pairs] += worth
                open_[pairs] &= need <= room[length]

    def used(self, site: I32, slot: I32, within: I64, count: I64) -> I64:
        """Use [Q, T, 6] of a plan; within [N, M]: slots of a run inside the horizon."""
        used = np.zeros_like(self._quotas.limit)
        for q, member in enumerate(self._members):
            rows = np.flatnonzero(member & (site >= 0))
            rows = rows[self._quotas.covers[q, site[rows]]]
            end = slot[rows] + within[rows, site[rows]]
            for k in range(len(LIMITED)):
                need = self._need(rows, site[rows], k) * count[rows]
                for t in range(used.shape[1]):
                    used[q, t, k] = need[(slot[rows] <= t) & (t < end)].sum()
        return used

    def violations(self, used: I64) -> list[str]:
        over = (self._quotas.limit != ANY) & (used > self._quotas.limit)
        return [
            f"quota {self._quotas.quota_id[q] or q}, slot {t}: {LIMITED[k]} {used[q, t, k]} "
            "is too much"
            for q, t, k in np.argwhere(over)[:8].tolist()
        ]

    def held(self, has_option: Bool) -> F64:
        """What the limits are worth at the prices, as far as members that have an option fill them.

        A sum of whole needs is a multiple of what divides them all: the rest of a limit is no room.
        """
        limit = np.maximum(self._quotas.limit, 0)
        for q, member in enumerate(self._members):
            rows, sites = (
                np.flatnonzero(member & has_option),
                np.flatnonzero(self._quotas.covers[q]),
            )
            for k in np.flatnonzero(self.prices[q].any(axis=0)).tolist():
                needs = self._need(rows[:, None], sites[None, :], k)
                each = int(np.gcd.reduce(needs, axis=None))
                if each:
                    limit[q, :, k] -= limit[q, :, k] % each
        held: F64 = (self.prices * limit).ravel()
        return held

    def _need(self, rows: I64, site: I64, k: int) -> I64:
        """Of each of these jobs there, either of which may have an axis that the other has not."""
        if k == COUNT:
            return np.ones(rows.shape, np.int64)
        asked = self._jobs.demand[rows, k]
        if k not in FACILITY_SIDE:
            return np.asarray(asked)
        drawn: I64 = (asked * self._sites.pue_ppm[site] + PPM - 1) // PPM
        return drawn


def _is_member(jobs: Jobs, quotas: Quotas, q: int) -> Bool:
    if quotas.apart[q] != ANY:
        return np.asarray(jobs.apart == quotas.apart[q])
    named = np.ones(len(jobs.job_id), np.bool_)
    for name in ("tenant", "pairing", "job_class"):
        asked = getattr(quotas, name)[q]
        named &= (getattr(jobs, name) == asked) | (asked == ANY)
    return np.asarray(named ^ quotas.others[q])


def _runs(price: F64, bound: I64) -> tuple[F64, I64]:
    """Price and least limit [length, T] of runs that start in a slot, as far as there are slots."""
    horizon = len(price)
    paid, room = np.zeros((horizon + 1, horizon)), np.zeros((horizon + 1, horizon), np.int64)
    for start in range(horizon):
        last = np.minimum(np.arange(horizon + 1), horizon - start)
        paid[:, start] = np.concatenate([[0.0], np.cumsum(price[start:])])[last]
        room[:, start] = np.minimum.accumulate(bound[start:])[last - 1]
    return paid, room


def weight_of(jobs: Jobs, rules: Rules, sites: int) -> tuple[F64, Bool]:
    """Factor [N, M] of the cost of energy and carbon, and whether the rules allow the pair."""
    weight = np.ones((len(jobs.job_id), sites))
    allowed = np.ones(weight.shape, np.bool_)
    open_ = np.ones(weight.shape, np.bool_)  # no rule before has named the pair
    for r in range(len(rules.factor_ppm)):
        named = np.ones(len(jobs.job_id), np.bool_)
        for name in ("tenant", "pairing", "job_class"):
            asked = getattr(rules, name)[r]
            named &= (getattr(jobs, name) == asked) | (asked == ANY)
        ruled = open_ & named[:, None] & rules.covers[r][None, :]
        open_ &= ~ruled
        allowed[ruled] = rules.factor_ppm[r] != ANY
        weight[ruled] = rules.factor_ppm[r] / PPM
    return weight, allowed


def latency_of(jobs: Jobs, sites: Sites, network: Network, policy: Policy) -> F64:
    """Currency [N, M] of the round trip, 0 where there is none."""
    cost = np.zeros((len(jobs.job_id), len(sites.up)))
    if policy.latency_price_per_ms:
        for m, hub in enumerate(sites.hub.tolist()):
            rtt = np.where(jobs.origin_hub < 0, 0.0, network.rtt_ms[jobs.origin_hub, hub])
            cost[:, m] = policy.latency_price_per_ms * np.where(np.isfinite(rtt), rtt, 0.0)
    return cost
