"""Told: what a plan says of every job, in the order in which the jobs were given."""

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.match.checks import Admitted
from kernels.match.columns import ANY, F64, I32, I64, Bool, Reason
from kernels.match.problem import slots_at

if TYPE_CHECKING:
    from kernels.match.found import Found


class Told(NamedTuple):
    """Columns [N] of columns.Plan, those of rows left out at Reason.BAD_INPUT."""

    site: I32
    slot: I32
    slots: I32
    cost_micro: I64
    reason: npt.NDArray[np.int8]
    reason_site: I32
    reason_resource: npt.NDArray[np.int8]
    reason_quota: I32
    second_cost: F64
    relax: F64


class Counts(NamedTuple):
    """Of the rows that were solved."""

    rejects: int
    moves: int  # jobs that leave a site
    pinned: int  # that have no room at the site that they have to run at


def tell(
    rows: int, admitted: Admitted, found: "Found", first: Bool, quotas: int
) -> tuple[Told, Counts]:
    """Of `rows` jobs given; first [n] as in joint.Joint, the first so many quotas are the given."""
    row, jobs = admitted.row, admitted.jobs
    micro = np.rint(found.cost * 1e6).astype(np.int64)
    slots = slots_at(jobs, admitted.sites, admitted.series, found.site)
    if os.environ.get("GRIDLOOM_PURE") != "1":
        from kernels.match._told import tell as in_one_pass

        place = (found.site, found.slot, slots, micro)
        why = (found.reason, found.reason_site, found.reason_resource, found.reason_quota)
        asked = (jobs.current_site, jobs.affinity, first, quotas)
        told, counts = in_one_pass(rows, row, *place, *why, found.second, found.relax, *asked)
        return Told(*told), Counts(*counts)
    placed, current = found.site >= 0, jobs.current_site
    pinned = (found.reason == Reason.REJECTED_CAPACITY) & (jobs.affinity != ANY)
    moves = first & placed & (current >= 0) & (found.site != current)

    def spread(column: npt.NDArray[Any], absent: int) -> npt.NDArray[Any]:
        whole = np.full(rows, absent, column.dtype)
        whole[row] = column
        return whole

    return Told(
        site=spread(found.site, ANY),
        slot=spread(found.slot, ANY),
        slots=spread(slots, 0),
        cost_micro=spread(micro, 0),
        reason=spread(found.reason, Reason.BAD_INPUT),
        reason_site=spread(found.reason_site, ANY),
        reason_resource=spread(found.reason_resource, ANY),
        reason_quota=spread(np.where(found.reason_quota < quotas, found.reason_quota, ANY), ANY),
        second_cost=spread(found.second, 0),
        relax=spread(found.relax, 0),
    ), Counts(int((~placed).sum()), int(moves.sum()), int(pinned.sum()))
