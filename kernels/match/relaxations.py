"""Relaxations: how much less strict the filter that rejects a job must be, to leave it an option.

In the unit of the constraint: ms of round trip, slots of deadline or release, units of the resource
that is short. 0 where it is no matter of amount (class, precision, residency, affinity, site down).
"""

import numpy as np
import numpy.typing as npt

from kernels.match.columns import F64, I64, Bool, Jobs, Network, Reason, Series, Sites
from kernels.match.problem import needs, run_slots, scale_ppm, site_filters, transfer_cost


def relaxations(
    jobs: Jobs, sites: Sites, series: Series, network: Network, reason: npt.NDArray[np.int8]
) -> tuple[F64, I64]:
    """Amount [N] for jobs that a filter rejected, 0 for others; and the site nearest, or -1."""
    amount, nearest = np.zeros(len(reason)), np.full(len(reason), -1, np.int64)
    told = np.bincount(reason, minlength=len(Reason)).tolist()
    for why, measure in _MEASURES.items():
        if not told[why] or not len(sites.site_id):
            continue
        rows = np.flatnonzero(reason == why)
        some = jobs.take(rows)
        lacking = measure(some, sites, series, network)
        allowed = _allowed_before(some, sites, series, network, why)
        lacking = np.where(allowed & np.isfinite(lacking), lacking, np.inf)
        best = lacking.argmin(axis=1)
        least = lacking[np.arange(len(rows)), best]
        found = np.isfinite(least)
        amount[rows[found]], nearest[rows[found]] = least[found], best[found]
    return amount, nearest


def _allowed_before(
    jobs: Jobs, sites: Sites, series: Series, network: Network, why: Reason
) -> Bool:
    """Sites [n, M] that the filters named before this one leave."""
    allowed: Bool = np.ones((len(jobs.job_id), len(sites.site_id)), np.bool_)
    slots = run_slots(jobs, sites, series)
    for name, kept in site_filters(
        jobs, sites, network, slots, transfer_cost(jobs, sites, network)
    ):
        if name < why:
            allowed &= kept
    return allowed


def _milliseconds(jobs: Jobs, sites: Sites, series: Series, network: Network) -> F64:
    rtt = network.rtt_ms[jobs.origin_hub][:, sites.hub]
    stands = jobs.max_rtt_ms[:, None]
    over = np.isfinite(rtt) & (rtt > stands)
    lacking: F64 = np.subtract(rtt, stands, out=np.full(rtt.shape, np.inf), where=over)
    return lacking


def _slots_of_release(jobs: Jobs, sites: Sites, series: Series, network: Network) -> F64:
    late = jobs.release_slot - (series.price_per_mwh.shape[1] - 1)
    return np.repeat(late[:, None].astype(np.float64), len(sites.site_id), axis=1)


def _slots_of_deadline(jobs: Jobs, sites: Sites, series: Series, network: Network) -> F64:
    ends = np.maximum(jobs.release_slot, 0)[:, None] + run_slots(jobs, sites, series)
    return (ends - jobs.deadline_slot[:, None]).astype(np.float64)


def _units(jobs: Jobs, sites: Sites, series: Series, network: Network) -> F64:
    """Of the one resource that is short; where several are, no single amount helps."""
    scale = scale_ppm(sites)[:, : jobs.demand.shape[1]]
    need = needs(jobs.demand[:, None, :], scale[None])
    short = np.maximum(need - sites.capacity.max(axis=1)[None], 0)
    several = (short > 0).sum(axis=2) != 1
    return np.where(several, np.inf, short.sum(axis=2))


_MEASURES = {
    Reason.REJECTED_LATENCY: _milliseconds,
    Reason.REJECTED_RELEASE: _slots_of_release,
    Reason.REJECTED_DEADLINE: _slots_of_deadline,
    Reason.REJECTED_TOO_LARGE: _units,
}
