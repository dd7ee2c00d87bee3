"""Problem: the options (site, start slot) of every job that has any, and what each costs and uses.

An option's cost is

    fixed[i, m] + demand[i, POWER] x sum over the slots it runs of watt_cost[m, t]

and its use of (m, t, k) in every slot it runs is need = ceil(demand[i, k] x scale_ppm[m, k] / 1e6).
Only what differs by (job, site) is stored, so that 100,000 jobs fit; a start's part is the same for
all jobs of one length and is tabled by prices.py.
"""

import os
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

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
    jobs: Jobs, sites: Sites, series: Series, network: Network, policy: Policy
) -> Compiled:
    """Filter the pairs (job, site), in the order of Reason, and price what is left.

    Rows are as checks.admit leaves them: good, and jobs in order of their id.
    """
    if os.environ.get("GRIDLOOM_PURE") != "1":
        from kernels.match._compile import compile_problem as in_one_pass

        compiled: Compiled = in_one_pass(jobs, sites, series, network, policy)
        return compiled
    too_large = np.full(len(jobs.job_id), ANY, np.int8)
    slots = run_slots(jobs, sites, series)
    transfer = transfer_cost(jobs, sites, network)
    pairs = _Pairs(len(jobs.job_id), len(sites.site_id))
    for why, allowed in site_filters(jobs, sites, network, slots, transfer):
        pairs.keep(allowed, why)
    start = _starts(jobs, slots, series.price_per_mwh.shape[1], pairs)
    active = [k for k in range(len(RESOURCES)) if k == POWER or jobs.demand[:, k].any()]
    scale = scale_ppm(sites)
    _close_where_too_large(start, jobs, sites, scale, slots, active)
    fits: Bool = np.logical_or.reduce(start, axis=2) > 0
    large = np.flatnonzero(pairs.alive() & ~fits.any(axis=1))
    too_large[large] = _short_of(jobs, sites, scale, large, pairs.allowed[large])
    pairs.keep(fits, Reason.REJECTED_TOO_LARGE)
    row = np.flatnonzero(pairs.alive())
    problem = _priced(
        jobs, sites, series, policy, row, np.array(active), scale, slots, transfer, start
    )
    return Compiled(problem, pairs.reason, too_large, slots)


def run_slots(jobs: Jobs, sites: Sites, series: Series) -> I64:
    """Slots [N, M] that a run takes: ceil(duration / (rate x slot)); 0 where the rate is 0."""
    rate = sites.rate_ppm[:, jobs.job_class, jobs.precision].T  # [N, M]
    work = jobs.duration_ms[:, None] * PPM
    return np.where(rate > 0, -(-work // (np.maximum(rate, 1) * series.slot_ms)), 0)


def transfer_cost(jobs: Jobs, sites: Sites, network: Network) -> F64:
    """Currency [N, M] of moving the data to the site and the job off its current one."""
    here = np.arange(len(sites.site_id))[None, :]
    if not here.size:
        return np.zeros((len(jobs.job_id), 0))
    place = np.where(jobs.data_site >= 0, sites.hub[jobs.data_site], jobs.data_hub)
    kept = (place >= 0) & (jobs.data_gb > 0)
    fetched = (jobs.data_site[:, None] != here) & kept[:, None]
    per_gb = network.price_per_gb[place][:, sites.hub]
    cost = np.multiply(jobs.data_gb[:, None], per_gb, where=fetched, out=np.zeros(fetched.shape))
    moved = (jobs.current_site[:, None] != here) & (jobs.current_site >= 0)[:, None]
    return cost + np.where(moved, jobs.migration_cost[:, None], 0.0)


def site_filters(
    jobs: Jobs, sites: Sites, network: Network, slots: I64, transfer: F64
) -> list[tuple[Reason, Bool]]:
    """What a site must be for a job, [N, M] each, in the order in which they are named."""
    own = (jobs.affinity == ANY)[:, None] | (jobs.affinity[:, None] == np.arange(len(sites.up)))
    held = (jobs.residency[:, None] >> np.minimum(sites.hub, 63)) & 1 == 1
    taken = (sites.classes[None, :] >> jobs.job_class[:, None]) & 1 == 1
    rtt = network.rtt_ms[jobs.origin_hub][:, sites.hub]
    near = (rtt <= jobs.max_rtt_ms[:, None]) & np.isfinite(rtt)
    near |= (jobs.origin_hub == ANY)[:, None]
    return [
        (Reason.REJECTED_AFFINITY, own),
        (Reason.REJECTED_SITE_DOWN, np.broadcast_to(sites.up, own.shape)),
        (Reason.REJECTED_RESIDENCY, held),
        (Reason.REJECTED_CLASS, taken),
        (Reason.REJECTED_PRECISION, slots > 0),
        (Reason.REJECTED_LATENCY, near & np.isfinite(transfer)),
    ]


class _Pairs:
    """Pairs (job, site) still allowed, and for each job the filter that took its last one."""

    def __init__(self, jobs: int, sites: int) -> None:
        self.allowed: Bool = np.ones((jobs, sites), np.bool_)
        self.reason = np.zeros(jobs, np.int8)
        if not sites:
            self.reason[:] = Reason.REJECTED_SITE_DOWN

    def keep(self, allowed: Bool, why: Reason) -> None:
        self.allowed &= allowed
        self.reason[self.alive() & ~self.allowed.any(axis=1)] = why

    def alive(self) -> Bool:
        alive: Bool = self.reason == Reason.PLACED
        return alive


def _starts(jobs: Jobs, slots: I64, horizon: int, pairs: _Pairs) -> npt.NDArray[np.uint8]:
    """Starts [N, M, T] between release and deadline; jobs without any are marked in `pairs`."""
    first = np.maximum(jobs.release_slot, 0)
    pairs.keep((first < horizon)[:, None], Reason.REJECTED_RELEASE)
    deadline = jobs.deadline_slot[:, None]
    last = np.where(deadline == ANY, horizon - 1, deadline - slots)  # [N, M]
    slot = np.arange(horizon)
    start = (slot >= first[:, None, None]) & (slot <= last[:, :, None]) & pairs.allowed[:, :, None]
    pairs.keep(np.logical_or.reduce(start, axis=2), Reason.REJECTED_DEADLINE)
    return start.view(np.uint8)


def scale_ppm(sites: Sites) -> I64:
    """Facility side / IT side of each resource [M, K]."""
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
    active: list[int],
) -> None:
    """Close starts of runs that the site could not hold even if it were empty; chunks of jobs."""
    rows, count, horizon = start.shape
    step = max(1, _CHUNK // max(1, count * horizon))
    for at in range(0, rows, step):
        chunk = slice(at, at + step)
        room = np.ones((len(slots[chunk]), count, horizon), np.bool_)
        for k in active:
            need = needs(jobs.demand[chunk, k][:, None], scale[None, :, k])
            room &= need[:, :, None] <= sites.capacity[None, :, :, k]
        run = np.zeros(room.shape[:2], np.int64)  # slots with room from here to the end
        for slot in range(horizon - 1, -1, -1):
            run = np.where(room[:, :, slot], run + 1, 0)
            start[chunk, :, slot] &= run >= np.minimum(slots[chunk], horizon - slot)


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
        fixed=np.ascontiguousarray(np.where(start[row].any(axis=2), fixed, 0.0)),
        lengths=lengths.astype(np.int64),
        span=np.ascontiguousarray(span.reshape(runs.shape).astype(np.int32)),
        open=np.ascontiguousarray(start[row]),
        reject=lifted_reject(jobs.priority[row], jobs.reject_cost[row]),
    )


def _watt_cost(sites: Sites, series: Series, policy: Policy) -> F64:
    mwh = sites.pue_ppm[:, None] / PPM * (series.slot_ms / 3_600_000) * 1e-6  # of an IT watt
    carbon = 1000.0 * policy.carbon_price_per_kg * series.ci_kg_per_kwh  # currency/MWh
    return mwh * (series.price_per_mwh + carbon)


def lifted_reject(priority: I64, reject_cost: F64) -> F64:
    """Reject cost [n], lifted so that a job of one priority outweighs all jobs below it."""
    lifted = np.zeros(len(priority))
    below = 0.0
    for level in range(4):
        of_level = priority == level
        lifted[of_level] = reject_cost[of_level] + below
        below += float(lifted[of_level].sum())
    return lifted
