"""Problem: the options (site, start slot) of every job that has any, and what each costs and uses.

An option's cost is

    fixed[i, m] + demand[i, POWER] x factor[i, m] x sum over the slots it runs of watt_cost[m, t]

and its use of (m, t, k) in every slot it runs is need = ceil(demand[i, k] x scale_ppm[m, k] / 1e6).
Only what differs by (job, site) is stored, so that 100,000 jobs fit; a start's part is the same for
all jobs of one length and is tabled by prices.py.
"""

import os
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.match.columns import (
    ANY,
    COUNT,
    F64,
    FACILITY_SIDE,
    I32,
    I64,
    LIMITED,
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
from kernels.match.pools import Pools, left_over, limits_jobs, pools_of
from kernels.match.terms import Quotas, Terms, latency_cost

_CHUNK = 1 << 20  # options a chunk: bounds the memory of the compilation


_BY_ROW = ("row", "demand", "times", "fixed", "span", "open", "reject")


class Problem(NamedTuple):
    """n jobs in order of their id, each with at least one option; k active of what is limited.

    R rows of capacity: the M sites, and behind them the quotas that could bind (pools.py).
    """

    row: I64  # [n] row of Jobs
    active: I64  # [k] index in LIMITED, POWER among them
    demand: I64  # [n, k] of all jobs that the row stands for
    times: I64  # [n] how many these are (kinds.py)
    scale_ppm: I64  # [M, k] facility side / IT side
    capacity: I64  # [R, T, k]
    watt_cost: F64  # [M, T] currency per IT watt and slot
    fixed: F64  # [n, M] transfer, migration, latency, energy past the horizon; inf = no start
    lengths: I64  # [d] slots within the horizon, ascending and distinct in each signature
    of_signature: I64  # [d] the signature whose jobs run so long
    span: I32  # [n, M] index in lengths
    open: npt.NDArray[np.uint8]  # [n, M, T] 1 = may start there
    reject: F64  # [n] reject cost, lifted by priority
    pools: Pools

    def need(self, row: Any, site: Any) -> I64:
        """Whole units of capacity [..., k] that rows take at sites, each job rounded up."""
        times = np.asarray(self.times[row])[..., None]
        need: I64 = times * needs(self.demand[row] // times, self.scale_ppm[site])
        return need

    def take(self, rows: I64) -> "Problem":
        """These rows alone; the capacity is that of all."""
        of = {name: getattr(self, name)[rows] for name in _BY_ROW}
        pools = self.pools._replace(signature=self.pools.signature[rows])
        return self._replace(**of, pools=pools)

    def fillable(self) -> I64:
        """Capacity [R, T, k] that jobs can fill, down to a whole step of what they ask for."""
        each = self.demand
        if (self.times != 1).any():
            each = each // self.times[:, None]
        # what is not drawn as it is asked for is drawn in other steps
        return self.capacity - left_over(self.capacity, each, (self.scale_ppm == PPM).all(axis=0))


class Compiled(NamedTuple):
    """The problem, and what became of the jobs that are not in it."""

    problem: Problem
    reason: npt.NDArray[np.int8]  # [N] Reason; PLACED = in the problem
    too_large: npt.NDArray[np.int8]  # [N] of LIMITED what no site or quota has enough of, or ANY
    quota: I32  # [N] quota that has not enough for the job at any site left, or ANY


def compile_problem(
    jobs: Jobs,
    sites: Sites,
    series: Series,
    network: Network,
    policy: Policy,
    terms: Terms | None = None,
    times: I64 | None = None,
    alike: I64 | None = None,
    threads: int = 1,
) -> Compiled:
    """Filter the pairs (job, site), in the order of Reason, and price what is left.

    Rows are as checks.admit leaves them: good, and jobs in order of their id. A row may stand for
    `times` jobs at once; `alike` is how many jobs are like it where that is more.
    """
    terms = terms or Terms.of(sites)
    plain = terms.is_empty and times is None and alike is None
    if plain and os.environ.get("GRIDLOOM_PURE") != "1":
        from kernels.match._compile import compile_problem as in_one_pass

        compiled: Compiled = in_one_pass(jobs, sites, series, network, policy, threads)
        return compiled
    times = np.ones(len(jobs.job_id), np.int64) if times is None else times
    alike = times if alike is None else alike
    too_large = np.full(len(jobs.job_id), ANY, np.int8)
    quota = np.full(len(jobs.job_id), ANY, np.int32)
    slots = run_slots(jobs, sites, series)
    transfer = transfer_cost(jobs, sites, network)
    pairs = _Pairs(len(jobs.job_id), len(sites.site_id))
    for why, allowed in site_filters(jobs, sites, network, slots, transfer):
        pairs.keep(allowed, why)
    factor = terms.rules.factors(jobs, len(sites.site_id))
    pairs.keep(factor != ANY, Reason.REJECTED_RULE)
    start = _starts(jobs, slots, series.price_per_mwh.shape[1], pairs)
    active = [k for k in range(len(RESOURCES)) if k == POWER or jobs.demand[:, k].any()]
    scale = scale_ppm(sites)
    moving = transfer + latency_cost(jobs, sites, network, policy)
    _close_where_too_large(start, jobs, sites, scale, slots, active)
    fits: Bool = np.logical_or.reduce(start, axis=2) > 0
    large = np.flatnonzero(pairs.alive() & ~fits.any(axis=1))
    too_large[large] = _short_of(jobs, sites, scale, large, pairs.allowed[large])
    pairs.keep(fits, Reason.REJECTED_TOO_LARGE)
    _close_over_quota(start, jobs, scale, slots, terms.quotas, quota)
    within: Bool = np.logical_or.reduce(start, axis=2) > 0
    over = pairs.alive() & ~within.any(axis=1)
    quota[~over] = ANY
    for i in np.flatnonzero(over).tolist():
        too_large[i] = _limit_short(jobs, scale, i, pairs.allowed[i], terms.quotas, quota[i])
    pairs.keep(within, Reason.REJECTED_QUOTA)
    row = np.flatnonzero(pairs.alive())
    bound = _Bound(row, np.array(active), scale, slots, moving, start, factor, times, alike)
    problem = _priced(jobs, sites, series, policy, terms, bound)
    return Compiled(problem, pairs.reason, too_large, quota)


def run_slots(jobs: Jobs, sites: Sites, series: Series) -> I64:
    """Slots [N, M] that a run takes: ceil(duration / (rate x slot)); 0 where the rate is 0."""
    rate = sites.rate_ppm[:, jobs.job_class, jobs.precision].T  # [N, M]
    work = jobs.duration_ms[:, None] * PPM
    return np.where(rate > 0, -(-work // (np.maximum(rate, 1) * series.slot_ms)), 0)


def slots_at(jobs: Jobs, sites: Sites, series: Series, site: I32) -> I32:
    """Slots [N] that the run of each job takes at its site [N], past the horizon too; 0 at none."""
    if os.environ.get("GRIDLOOM_PURE") != "1":
        from kernels.match._compile import slots_at as compiled

        at_site: I32 = compiled(jobs, sites, series, site)
        return at_site
    slots = np.zeros(len(site), np.int32)
    row = np.flatnonzero(site >= 0)
    done = sites.rate_ppm[site[row], jobs.job_class[row], jobs.precision[row]] * series.slot_ms
    slots[row] = -(-(jobs.duration_ms[row] * PPM) // done)
    return slots


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
    """Facility side / IT side of each of LIMITED [M, 6]."""
    scale = np.full((len(sites.site_id), len(LIMITED)), PPM, np.int64)
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
    need = needs(jobs.demand[rows][:, None, :], scale[None, :, : len(RESOURCES)])  # [r, M, K]
    most = np.maximum(sites.capacity.max(axis=1), 0)
    excess = need / np.maximum(most, 0.5)
    worst = np.where(allowed, excess.max(axis=2), np.inf)
    site = worst.argmin(axis=1)
    shortest: I64 = excess[np.arange(len(rows)), site].argmax(axis=1)
    return shortest


def _close_over_quota(
    start: npt.NDArray[np.uint8], jobs: Jobs, scale: I64, slots: I64, quotas: Quotas, quota: I32
) -> None:
    """Close starts of runs larger than a quota; `quota`: the first one that closed any."""
    horizon = start.shape[2]
    for q, rows in enumerate(quotas.members(jobs)):
        limit, covered = quotas.limit[q], np.flatnonzero(quotas.covers[q])
        if not len(rows) or not len(covered) or not (limit != ANY).any():
            continue
        asked = np.column_stack([jobs.demand[rows], np.ones(len(rows), np.int64)])
        most = needs(asked, scale[covered].max(axis=0)).max(axis=0)
        if ((limit == ANY) | (limit >= most)).all():
            continue
        need = needs(asked[:, None, :], scale[None, covered])  # [r, m, 6]
        room = np.ones((len(rows), len(covered), horizon), np.bool_)
        for k in np.flatnonzero((limit != ANY).any(axis=0)).tolist():
            room &= (limit[:, k] == ANY) | (need[:, :, k, None] <= limit[:, k])
        run = np.zeros(room.shape[:2], np.int64)
        row, site = np.ix_(rows, covered)
        for slot in range(horizon - 1, -1, -1):
            run = np.where(room[:, :, slot], run + 1, 0)
            fits = run >= np.minimum(slots[row, site], horizon - slot)
            closed = (start[row, site, slot] == 1) & ~fits
            start[row, site, slot] &= fits
            first = rows[closed.any(axis=1)]
            quota[first] = np.where(quota[first] == ANY, q, quota[first])


def _limit_short(
    jobs: Jobs, scale: I64, job: int, allowed: Bool, quotas: Quotas, quota: int
) -> int:
    """What of LIMITED the quota has least enough of for the job, where it comes nearest."""
    asked = np.append(jobs.demand[job], 1)
    at = np.flatnonzero(allowed & quotas.covers[quota])
    need = needs(asked[None, :], scale[at]).min(axis=0)
    limit = quotas.limit[quota].max(axis=0)
    return int(np.where(limit == ANY, 0.0, need / np.maximum(limit, 0.5)).argmax())


class _Bound(NamedTuple):
    """What the filters left: rows of the problem, and pairs of all jobs."""

    row: I64
    active: I64
    scale: I64
    slots: I64
    moving: F64  # [N, M] transfer, migration, latency
    start: npt.NDArray[np.uint8]
    factor: I64
    times: I64  # [N] as in compile_problem
    alike: I64


def _priced(
    jobs: Jobs, sites: Sites, series: Series, policy: Policy, terms: Terms, bound: _Bound
) -> Problem:
    row, active, scale = bound.row, bound.active, bound.scale
    times, alike = bound.times[row], bound.alike[row]
    horizon = series.price_per_mwh.shape[1]
    watt_cost = _watt_cost(sites, series, policy)
    runs, watts = bound.slots[row], jobs.demand[row, POWER][:, None]
    beyond = np.maximum(runs - horizon, 0) * watt_cost[None, :, -1]
    weighed = np.maximum(bound.factor[row], 0) / PPM
    fixed = bound.moving[row] + watts * (weighed * beyond)
    asked = np.column_stack([jobs.demand[row], np.ones(len(row), np.int64)])
    most = needs(asked, scale.max(axis=0, initial=PPM)) * alike[:, None]
    pools = pools_of(jobs.take(row), sites, most, terms)
    total = int(alike.sum())
    if limits_jobs(pools, total):
        active = np.append(active, COUNT)
    counted = np.full((*sites.capacity.shape[:2], 1), max(total, 1), np.int64)
    capacity = np.concatenate([np.dstack([sites.capacity, counted]), pools.capacity])
    lengths, span = np.unique(np.clip(runs, 1, horizon), return_inverse=True)
    taken = np.arange(len(lengths))
    if len(pools.rows) > 1:  # runs of equal length are told apart by signature
        pair = pools.signature[:, None] * len(lengths) + span.reshape(runs.shape)
        taken, span = np.unique(pair, return_inverse=True)
    return Problem(
        row=row,
        active=active,
        demand=np.ascontiguousarray(asked[:, active] * times[:, None]),
        times=times,
        scale_ppm=np.ascontiguousarray(scale[:, active]),
        capacity=np.ascontiguousarray(capacity[:, :, active]),
        watt_cost=watt_cost,
        fixed=np.where(bound.start[row].any(axis=2), fixed * times[:, None], np.inf),
        lengths=lengths[taken % max(len(lengths), 1)].astype(np.int64),
        of_signature=taken // max(len(lengths), 1),
        span=np.ascontiguousarray(span.reshape(runs.shape).astype(np.int32)),
        open=np.ascontiguousarray(bound.start[row]),
        reject=lifted_reject(jobs.priority[row], jobs.reject_cost[row], alike) * times,
        pools=pools,
    )


def _watt_cost(sites: Sites, series: Series, policy: Policy) -> F64:
    mwh = sites.pue_ppm[:, None] / PPM * (series.slot_ms / 3_600_000) * 1e-6  # of an IT watt
    carbon = 1000.0 * policy.carbon_price_per_kg * series.ci_kg_per_kwh  # currency/MWh
    return mwh * (policy.energy_weight * series.price_per_mwh + carbon)


def lifted_reject(priority: I64, reject_cost: F64, alike: I64) -> F64:
    """Reject cost [n], lifted so that a job of one priority outweighs all jobs below it."""
    if not len(priority) or priority.min() == priority.max():
        return reject_cost + 0.0
    lifted = np.zeros(len(priority))
    below = 0.0
    for level in range(4):
        of_level = priority == level
        if not of_level.any():
            continue
        lifted[of_level] = reject_cost[of_level] + below
        below += float((lifted[of_level] * alike[of_level]).sum())
    return lifted
