"""Problem: the options (site, start slot) of every job that has any, and what each costs and uses.

An option's cost is

    fixed[i, m] + demand[i, POWER] x sum over the slots it runs of watt_cost[m, t]

and its use of (m, t, k) in every slot it runs is need = ceil(demand[i, k] x scale_ppm[m, k] / 1e6).
Only what differs by (job, site) is stored, so that 100,000 jobs fit; a start's part is the same for
all jobs of one length and is tabled by prices.py.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.match.checks import HUB_MAX, Checked
from kernels.match.columns import (
    ANY,
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
    Reason,
    Series,
    Sites,
)

_CHUNK = 1 << 20  # options a chunk: bounds the memory of the compilation


class Problem(NamedTuple):
    """n jobs in order of their id, each with at least one option; k active resources."""

    row: I64  # [n] row of Jobs
    active: I64  # [k] index in RESOURCES, POWER among them
    demand: I64  # [n, k]
    scale_ppm: I64  # [M, k] facility side / IT side
    capacity: I64  # [M, T, k]
    watt_cost: F64  # [M, T] currency per IT watt and slot
    fixed: F64  # [n, M] transfer, migration, energy past the horizon
    lengths: I64  # [d] slots within the horizon, distinct, ascending
    span: I32  # [n, M] index in lengths
    open: npt.NDArray[np.uint8]  # [n, M, T] 1 = may start there
    reject: F64  # [n] reject cost, lifted by priority


class Compiled(NamedTuple):
    """The problem, and what became of the jobs that are not in it."""

    problem: Problem
    reason: npt.NDArray[np.int8]  # [N] Reason; PLACED = in the problem
    too_large: npt.NDArray[np.int8]  # [N] resource of RESOURCES that no site has enough of, or ANY
    slots: I64  # [N, M] slots a run takes, past the horizon too


def compile_problem(
    jobs: Jobs, sites: Sites, series: Series, network: Network, policy: Policy, checked: Checked
) -> Compiled:
    """Filter the pairs (job, site), in the order of Reason, and price what is left."""
    good = np.flatnonzero(checked.jobs)
    order = good[np.argsort(jobs.job_id[good], kind="stable")]
    reason = np.full(len(jobs.job_id), Reason.BAD_INPUT, np.int8)
    too_large = np.full(len(jobs.job_id), ANY, np.int8)
    up = sites.up & checked.sites
    slots = run_slots(jobs, sites, series)
    transfer = transfer_cost(jobs, sites, network)
    pairs = _Pairs(order, len(sites.site_id))
    for why, allowed in _site_filters(jobs, sites, network, up, slots, transfer):
        pairs.keep(allowed[order], why)
    start = _starts(jobs, slots, order, pairs.allowed, series.price_per_mwh.shape[1], pairs)
    active = np.array(
        [k for k in range(len(RESOURCES)) if k == POWER or jobs.demand[order, k].any()], np.int64
    )
    scale = _scale_ppm(sites)
    _close_where_too_large(start, jobs, sites, scale, slots, order, active)
    fits: Bool = np.logical_or.reduce(start, axis=2) > 0
    large = pairs.alive() & ~fits.any(axis=1)
    too_large[order[large]] = _short_of(jobs, sites, scale, order[large], pairs.allowed[large])
    pairs.keep(fits, Reason.REJECTED_TOO_LARGE)
    reason[order] = pairs.reason
    inside = pairs.alive()
    row = order[inside]
    reject = lifted_reject(jobs, order)
    problem = _priced(
        jobs, sites, series, policy, row, active, scale, slots, transfer, start[inside], reject
    )
    return Compiled(problem, reason, too_large, slots)


def run_slots(jobs: Jobs, sites: Sites, series: Series) -> I64:
    """Slots [N, M] that a run takes: ceil(duration / (rate x slot)); 0 where the rate is 0."""
    known = np.clip(jobs.job_class, 0, 2), np.clip(jobs.precision, 0, 3)
    rate = sites.rate_ppm[:, known[0], known[1]].T  # [N, M]
    work = np.clip(jobs.duration_ms, 1, None)[:, None] * PPM
    per_slot = np.maximum(rate, 1) * series.slot_ms
    return np.where(rate > 0, -(-work // per_slot), 0)


def transfer_cost(jobs: Jobs, sites: Sites, network: Network) -> F64:
    """Currency [N, M] of moving the data to the site and the job off its current one."""
    count = len(sites.site_id)
    here = np.arange(count)[None, :]
    cost = np.zeros((len(jobs.job_id), count))
    away = (jobs.data_site[:, None] != here) & (jobs.data_site >= 0)[:, None]
    away &= (jobs.data_gb > 0)[:, None]
    hub = np.clip(sites.hub, 0, len(network.rtt_ms) - 1)
    if away.any():
        source = hub[np.clip(jobs.data_site, 0, count - 1)]
        cost += np.where(away, jobs.data_gb[:, None] * network.price_per_gb[source][:, hub], 0.0)
    moved = (jobs.current_site[:, None] != here) & (jobs.current_site >= 0)[:, None]
    return cost + np.where(moved, jobs.migration_cost[:, None], 0.0)


def _site_filters(
    jobs: Jobs, sites: Sites, network: Network, up: Bool, slots: I64, transfer: F64
) -> list[tuple[Reason, Bool]]:
    """What a site must be for a job, [N, M] each, in the order in which they are named."""
    count, hubs = len(sites.site_id), len(network.rtt_ms)
    hub = np.clip(sites.hub, 0, hubs - 1)
    own = (jobs.affinity == ANY)[:, None] | (jobs.affinity[:, None] == np.arange(count))
    held = (jobs.residency[:, None] >> np.minimum(hub, HUB_MAX)) & 1 == 1
    taken = (sites.classes[None, :] >> np.clip(jobs.job_class, 0, 2)[:, None]) & 1 == 1
    rtt = network.rtt_ms[np.clip(jobs.origin_hub, 0, hubs - 1)][:, hub]
    near = (rtt <= jobs.max_rtt_ms[:, None]) & np.isfinite(rtt)
    near |= (jobs.origin_hub == ANY)[:, None]
    return [
        (Reason.REJECTED_AFFINITY, own),
        (Reason.REJECTED_SITE_DOWN, np.broadcast_to(up, own.shape)),
        (Reason.REJECTED_RESIDENCY, held),
        (Reason.REJECTED_CLASS, taken),
        (Reason.REJECTED_PRECISION, slots > 0),
        (Reason.REJECTED_LATENCY, near & np.isfinite(transfer)),
    ]


class _Pairs:
    """Pairs (job, site) still allowed, and for each job the filter that took its last one."""

    def __init__(self, order: I64, sites: int) -> None:
        self.allowed: Bool = np.ones((len(order), sites), np.bool_)
        self.reason = np.zeros(len(order), np.int8)
        if not sites:
            self.reason[:] = Reason.REJECTED_SITE_DOWN

    def keep(self, allowed: Bool, why: Reason) -> None:
        self.allowed &= allowed
        self.reason[self.alive() & ~self.allowed.any(axis=1)] = why

    def alive(self) -> Bool:
        alive: Bool = self.reason == Reason.PLACED
        return alive


def _starts(
    jobs: Jobs, slots: I64, order: I64, allowed: Bool, horizon: int, pairs: _Pairs
) -> npt.NDArray[np.uint8]:
    """Starts [n, M, T] between release and deadline; jobs without any are marked in `pairs`."""
    first = np.maximum(jobs.release_slot[order], 0)
    pairs.keep((first < horizon)[:, None] & allowed, Reason.REJECTED_RELEASE)
    deadline = jobs.deadline_slot[order]
    last = np.where(
        (deadline == ANY)[:, None], horizon - 1, deadline[:, None] - slots[order]
    )  # [n, M]
    slot = np.arange(horizon)
    start = (slot >= first[:, None, None]) & (slot <= last[:, :, None]) & allowed[:, :, None]
    pairs.keep(np.logical_or.reduce(start, axis=2), Reason.REJECTED_DEADLINE)
    return start.view(np.uint8)


def _scale_ppm(sites: Sites) -> I64:
    scale = np.full((len(sites.site_id), len(RESOURCES)), PPM, np.int64)
    scale[:, list(FACILITY_SIDE)] = sites.pue_ppm[:, None]
    return scale


def needs(demand: I64, scale_ppm: I64) -> I64:
    """Whole units of capacity: ceil(demand x scale)."""
    return -(-(demand * scale_ppm) // PPM)


def _close_where_too_large(
    start: npt.NDArray[np.uint8],
    jobs: Jobs,
    sites: Sites,
    scale: I64,
    slots: I64,
    order: I64,
    active: I64,
) -> None:
    """Close starts of runs that the site could not hold even if it were empty; chunks of jobs."""
    rows, count, horizon = start.shape
    step = max(1, _CHUNK // max(1, count * horizon))
    for at in range(0, rows, step):
        chunk = order[at : at + step]
        room = np.ones((len(chunk), count, horizon), np.bool_)
        for k in active.tolist():
            need = needs(jobs.demand[chunk, k][:, None], scale[None, :, k])
            room &= need[:, :, None] <= sites.capacity[None, :, :, k]
        run = np.zeros((len(chunk), count), np.int64)  # slots with room from here to the end
        for slot in range(horizon - 1, -1, -1):
            run = np.where(room[:, :, slot], run + 1, 0)
            start[at : at + step, :, slot] &= run >= np.minimum(slots[chunk], horizon - slot)


def _short_of(jobs: Jobs, sites: Sites, scale: I64, rows: I64, allowed: Bool) -> I64:
    """Resource that is shortest at the site where the job comes closest to fitting."""
    if not len(rows):
        return np.empty(0, np.int64)
    need = needs(jobs.demand[rows][:, None, :], scale[None])  # [r, M, K]
    most = np.maximum(sites.capacity.max(axis=1), 0)
    excess = need / np.maximum(most, 0.5)
    worst = np.where(allowed, excess.max(axis=2), np.inf)
    site = worst.argmin(axis=1)
    shortest: I64 = excess[np.arange(len(rows)), site].argmax(axis=1)
    return shortest


def _priced(
    jobs: Jobs,
    sites: Sites,
    series: Series,
    policy: Policy,
    row: I64,
    active: I64,
    scale: I64,
    slots: I64,
    transfer: F64,
    start: npt.NDArray[np.uint8],
    reject: F64,
) -> Problem:
    horizon = series.price_per_mwh.shape[1]
    watt_cost = _watt_cost(sites, series, policy)
    runs = slots[row]
    beyond = np.maximum(runs - horizon, 0) * watt_cost[None, :, -1]
    fixed = transfer[row] + jobs.demand[row, POWER][:, None] * beyond
    lengths, span = np.unique(np.clip(runs, 1, horizon), return_inverse=True)
    return Problem(
        row=row,
        active=active,
        demand=np.ascontiguousarray(jobs.demand[row][:, active]),
        scale_ppm=np.ascontiguousarray(scale[:, active]),
        capacity=np.ascontiguousarray(sites.capacity[:, :, active]),
        watt_cost=watt_cost,
        fixed=np.ascontiguousarray(np.where(start.any(axis=2), fixed, 0.0)),
        lengths=lengths.astype(np.int64),
        span=np.ascontiguousarray(span.reshape(runs.shape).astype(np.int32)),
        open=np.ascontiguousarray(start),
        reject=reject[row],
    )


def _watt_cost(sites: Sites, series: Series, policy: Policy) -> F64:
    mwh = sites.pue_ppm[:, None] / PPM * (series.slot_ms / 3_600_000) * 1e-6  # of an IT watt
    carbon = 1000.0 * policy.carbon_price_per_kg * series.ci_kg_per_kwh  # currency/MWh
    return np.where(
        np.isfinite(series.price_per_mwh + carbon), mwh * (series.price_per_mwh + carbon), 0.0
    )


def lifted_reject(jobs: Jobs, rows: I64) -> F64:
    """Reject cost [N] of `rows`, lifted: a job of one priority outweighs all jobs below it."""
    lifted = np.zeros(len(jobs.job_id))
    below = 0.0
    for priority in range(4):
        of_class = rows[jobs.priority[rows] == priority]
        lifted[of_class] = jobs.reject_cost[of_class] + below
        below += float(lifted[of_class].sum())
    return lifted
