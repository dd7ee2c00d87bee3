"""Certificate: feasibility, cost and lower bound of a plan, from the columns alone.

    D(p) = sum_i min(reject_i, min_o (cost_io + p . use_io)) - p . capacity  <=  any plan's cost,

for every p >= 0; quotas are capacities too (quota_proof.py). Nothing here is shared with the solver
but the columns: eligibility, run lengths, costs and use are worked out a second time, window by
window. A capacity counts as far as whole needs can fill it: down to a whole step where all who ask
for it do so in steps. A margin for the rounding of every sum is taken off the bound, so that
dual <= primal holds in floats as it does on paper.
"""

import os
from math import fsum
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from kernels.match.columns import (
    F64,
    FACILITY_SIDE,
    I32,
    I64,
    POWER,
    PPM,
    RESOURCES,
    Bool,
    Jobs,
    Network,
    Policy,
    Series,
    Sites,
)
from kernels.match.quota_proof import QuotaProof, latency_of, weight_of
from kernels.match.terms import Terms

_CHUNK = 1 << 20  # options at once
_EPSILON = 2.0**-52
_GLANCE = 64  # jobs that mostly show that demands have no common step


class Certificate(NamedTuple):
    """What a plan costs, what no plan can cost less than, and what is wrong with it."""

    primal: float
    dual: float
    scale: float  # sum |cost|
    used: I64  # [M, T, K]
    quota_used: I64  # [Q, T, 6]
    violations: tuple[str, ...]  # empty = the plan keeps every constraint


class _Windows(NamedTuple):
    """Of runs of one length, by site and start: energy cost of a watt, price, least capacity."""

    energy: F64  # [d, M, T]
    price: F64  # [d, K, M, T]
    room: I64  # [d, K, M, T]


class _Pairs(NamedTuple):
    """Of a job and a site, [part, M]."""

    runs: I64
    moving: F64  # transfer, migration, latency
    allowed: Bool
    weight: F64  # of energy and carbon


def certify(
    jobs: Jobs,
    sites: Sites,
    series: Series,
    network: Network,
    policy: Policy,
    site: I32,
    slot: I32,
    prices: F64,
    terms: Terms | None = None,
    quota_prices: F64 | None = None,
    count: I64 | None = None,
    threads: int = 1,
) -> Certificate:
    """Plan (site, slot) [N] at prices [M, T, K], [Q, T, 6], for columns without a bad row.

    Each row stands for `count` [N] jobs that are alike and have the same place; none = one.
    """
    terms = terms or Terms.of(sites)
    if quota_prices is None:
        quota_prices = np.zeros(terms.quotas.limit.shape)
    plain = terms.is_empty and count is None
    if plain and os.environ.get("GRIDLOOM_PURE") != "1":
        from kernels.match._certificate import certify as in_one_pass

        columns = (jobs, sites, series, network, policy)
        return Certificate(*in_one_pass(*columns, site, slot, prices, threads))
    if count is None:
        count = np.ones(len(jobs.job_id), np.int64)
    rows = len(jobs.job_id)
    horizon = series.price_per_mwh.shape[1]
    runs = _runs(jobs, sites, series)
    weight, ruled = weight_of(jobs, terms.rules, len(sites.site_id))
    moving = _moving_cost(jobs, sites, network)
    allowed = _allowed(jobs, sites, network, runs, moving) & ruled
    moving += latency_of(jobs, sites, network, policy)
    watt = _watt_cost(sites, series, policy)
    within = np.clip(runs, 1, horizon)
    lengths = np.unique(within) if runs.size else np.ones(1, np.int64)
    windows = _windows(lengths, watt, prices, sites.capacity)
    quotas = QuotaProof(jobs, sites, terms.quotas, quota_prices, lengths)
    least = np.full(rows, np.inf)
    chosen = np.full(rows, np.inf)
    size = np.zeros(rows)
    violations: list[str] = []
    step = max(1, _CHUNK // max(1, runs.shape[1] * horizon))
    for at in range(0, rows if runs.size else 0, step):
        part = np.arange(at, min(at + step, rows))
        span = np.searchsorted(lengths, within[part])
        pairs = _Pairs(runs[part], moving[part], allowed[part], weight[part])
        cost, open_ = _options(jobs, sites, watt, pairs, part, span, windows)
        priced, magnitude = cost.copy(), np.abs(cost)
        index = (span, np.arange(runs.shape[1])[None, :])
        quotas.add(priced, magnitude, open_, part, span)
        for k in range(len(RESOURCES)):
            if jobs.demand[part, k].any():
                worth = _need(jobs, sites, part, k)[:, :, None] * windows.price[:, k][index]
                priced += worth
                magnitude += worth
        least[part] = np.where(open_, priced, np.inf).min(axis=(1, 2))
        size[part] = np.where(open_, magnitude, 0.0).max(axis=(1, 2), initial=0.0)
        _choose(part, site, slot, cost, open_, chosen, violations)
    has_option = np.isfinite(least)
    reject = _outweighing(jobs, has_option, count)
    least, chosen = np.minimum(least, reject), np.where(site >= 0, chosen, reject)
    least, chosen = least * count, chosen * count
    size, reject = size * count, reject * count
    used = _used(jobs, sites, within, site, slot, horizon, count)
    for m, t, k in np.argwhere(used > sites.capacity)[:8].tolist():
        violations.append(f"site {m}, slot {t}: {RESOURCES[k]} {used[m, t, k]} is too much")
    quota_used = quotas.used(site, slot, within, count)
    violations += quotas.violations(quota_used)
    fillable = _fillable(jobs, sites.capacity)
    held = np.concatenate([(prices * fillable).ravel(), quotas.held(has_option)])
    operations = 2 * horizon + 4 * (len(RESOURCES) + quotas.most()) + 16
    margin = 2 * operations * _EPSILON * (fsum(size) + fsum(reject) + fsum(held))
    if not (prices >= 0).all() or not (quotas.prices >= 0).all():
        violations.append("a price is below zero")
    return Certificate(
        primal=fsum(chosen),
        dual=fsum([fsum(least), -fsum(held), -margin]),
        scale=fsum(np.abs(chosen)),
        used=used,
        quota_used=quota_used,
        violations=tuple(violations),
    )


def _runs(jobs: Jobs, sites: Sites, series: Series) -> I64:
    rate = sites.rate_ppm[:, jobs.job_class, jobs.precision].T
    done_a_slot = rate * series.slot_ms  # [N, M] in ms x ppm
    work = jobs.duration_ms[:, None] * PPM
    return np.where(rate > 0, (work + done_a_slot - 1) // np.maximum(done_a_slot, 1), 0)


def _moving_cost(jobs: Jobs, sites: Sites, network: Network) -> F64:
    cost = np.zeros((len(jobs.job_id), len(sites.site_id)))
    hub = sites.hub
    for m in range(len(sites.site_id)):
        moved = (jobs.data_gb > 0) & (jobs.data_site != m)
        from_site = moved & (jobs.data_site >= 0)
        per_gb = network.price_per_gb[hub[jobs.data_site[from_site]], hub[m]]
        cost[from_site, m] = jobs.data_gb[from_site] * per_gb
        from_hub = moved & (jobs.data_site < 0) & (jobs.data_hub >= 0)
        per_gb = network.price_per_gb[jobs.data_hub[from_hub], hub[m]]
        cost[from_hub, m] = jobs.data_gb[from_hub] * per_gb
        cost[:, m] += jobs.migration_cost * ((jobs.current_site >= 0) & (jobs.current_site != m))
    return cost


def _allowed(jobs: Jobs, sites: Sites, network: Network, runs: I64, moving: F64) -> Bool:
    allowed: Bool = (runs > 0) & np.isfinite(moving) & sites.up[None, :]
    for m, hub in enumerate(sites.hub.tolist()):
        rtt = network.rtt_ms[jobs.origin_hub, hub]
        allowed[:, m] &= (jobs.origin_hub < 0) | (np.isfinite(rtt) & (rtt <= jobs.max_rtt_ms))
        held = jobs.residency < 0 if hub > 62 else (jobs.residency & (1 << hub)) != 0
        allowed[:, m] &= held
        allowed[:, m] &= (sites.classes[m] & (1 << jobs.job_class)) != 0
        allowed[:, m] &= (jobs.affinity == -1) | (jobs.affinity == m)
    return allowed


def _watt_cost(sites: Sites, series: Series, policy: Policy) -> F64:
    per_mwh = policy.energy_weight * series.price_per_mwh
    per_mwh = per_mwh + 1000.0 * policy.carbon_price_per_kg * series.ci_kg_per_kwh
    hours = series.slot_ms / 3_600_000
    return per_mwh * (sites.pue_ppm[:, None] / PPM) * hours / 1e6


def _windows(lengths: I64, watt: F64, prices: F64, capacity: I64) -> _Windows:
    sites, slots = watt.shape
    shape = (len(lengths), len(RESOURCES), sites, slots)
    windows = _Windows(
        np.empty((len(lengths), sites, slots)), np.empty(shape), np.empty(shape, int)
    )
    by_resource = (2, 0, 1)
    if slots == 1:  # nothing to sum
        priced = np.ascontiguousarray(prices.transpose(by_resource)[None])
        room = np.ascontiguousarray(capacity.transpose(by_resource)[None])
        return _Windows(watt[None], priced, room)
    for d, length in enumerate(lengths.tolist()):
        after = [(0, 0), (0, length - 1)]
        windows.energy[d] = sliding_window_view(np.pad(watt, after, "edge"), length, 1).sum(-1)
        priced = np.pad(prices.transpose(by_resource), [(0, 0), *after])
        windows.price[d] = sliding_window_view(priced, length, 2).sum(-1)
        unbound = np.iinfo(np.int64).max
        free = np.pad(capacity.transpose(by_resource), [(0, 0), *after], constant_values=unbound)
        windows.room[d] = sliding_window_view(free, length, 2).min(-1)
    return windows


def _fillable(jobs: Jobs, capacity: I64) -> I64:
    """Capacity [M, T, K] down to a whole step of what is asked for; facility-side use has none."""
    filled = capacity.copy()
    for k in range(len(RESOURCES)):
        few = np.gcd.reduce(jobs.demand[:_GLANCE, k])  # mostly enough to see that there is none
        if k in FACILITY_SIDE or few == 1 or not (few or jobs.demand[:, k].any()):
            continue
        step = int(np.gcd.reduce(jobs.demand[:, k]))
        if step > 1:
            filled[:, :, k] -= filled[:, :, k] % step
    return filled


def _need(jobs: Jobs, sites: Sites, part: I64, k: int) -> I64:
    asked = jobs.demand[part, k][:, None]
    if k not in FACILITY_SIDE:
        return np.broadcast_to(asked, (len(part), len(sites.site_id)))
    drawn: I64 = (asked * sites.pue_ppm[None, :] + PPM - 1) // PPM
    return drawn


def _options(
    jobs: Jobs,
    sites: Sites,
    watt: F64,
    pairs: _Pairs,
    part: I64,
    span: I64,
    windows: _Windows,
) -> tuple[F64, Bool]:
    """Cost [part, M, T] of every option, and whether it is one."""
    runs, moving, allowed, weight = pairs
    horizon = watt.shape[1]
    index = (span, np.arange(runs.shape[1])[None, :])
    slot = np.arange(horizon)
    late = np.maximum(runs - horizon, 0) * watt[:, -1]  # beyond what the window holds
    energy = (windows.energy[index] + late[:, :, None]) * weight[:, :, None]
    cost = np.where(allowed, moving, 0.0)[:, :, None] + (
        jobs.demand[part, POWER][:, None, None] * energy
    )
    open_ = allowed[:, :, None] & (slot >= jobs.release_slot[part][:, None, None])
    deadline = jobs.deadline_slot[part][:, None, None]
    open_ &= (deadline == -1) | (slot + runs[:, :, None] <= deadline)
    for k in range(len(RESOURCES)):
        if jobs.demand[part, k].any():
            open_ &= _need(jobs, sites, part, k)[:, :, None] <= windows.room[:, k][index]
    return cost, open_


def _choose(
    part: I64, site: I32, slot: I32, cost: F64, open_: Bool, chosen: F64, violations: list[str]
) -> None:
    placed = np.flatnonzero(site[part] >= 0)
    at = (placed, site[part[placed]], slot[part[placed]])
    chosen[part[placed]] = cost[at]
    for job in part[placed[~open_[at]]][:8].tolist():
        violations.append(f"job {job} may not start at site {site[job]} in slot {slot[job]}")


def _used(
    jobs: Jobs, sites: Sites, within: I64, site: I32, slot: I32, horizon: int, count: I64
) -> I64:
    used = np.zeros((len(sites.site_id), horizon, len(RESOURCES)), np.int64)
    placed = np.flatnonzero(site >= 0)
    at, start = site[placed], slot[placed]
    need = np.empty((len(placed), len(RESOURCES)), np.int64)
    for k in range(len(RESOURCES)):
        pue = sites.pue_ppm[at] if k in FACILITY_SIDE else PPM
        need[:, k] = (jobs.demand[placed, k] * pue + PPM - 1) // PPM * count[placed]
    end = np.minimum(start + within[placed, at], horizon)
    for t in range(horizon):
        runs = (start <= t) & (t < end)
        np.add.at(used[:, t], at[runs], need[runs])
    return used


def _outweighing(jobs: Jobs, has_option: Bool, count: I64) -> F64:
    """Reject cost [N] of a job; of those with options, one outweighs all of lower priority."""
    cost = jobs.reject_cost.copy()
    below = 0.0
    for priority in range(4):
        of_class = has_option & (jobs.priority == priority)
        cost[of_class] += below
        below += fsum(cost[of_class] * count[of_class])
    return cost
