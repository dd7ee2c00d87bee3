"""Balance: dispatch, storage, imports, curtailment and flexible load at least cost, certified.

    minimise  cost of imports, supply, wear, links and load not served - exports - what is stored
    subject to  for each region and step: what comes in = load;  storages;  deferrable energy

README.md has the model in formulas, the methods and the figures. A bad value takes its region out
and is named in Dispatch.errors; it never raises and never changes another region's plan.
"""

import threading
from typing import NamedTuple

import numpy as np

from kernels.balance import carbon, highs, interior, invariants
from kernels.balance.certificate import lower_bound
from kernels.balance.checks import check
from kernels.balance.columns import BadInput, Dispatch, Network, Prices, Status
from kernels.balance.invariants import Plan
from kernels.balance.machine import Workspace as NetworkWorkspace
from kernels.balance.networks import balance_networks
from kernels.balance.sites import Workspace, balance_sites
from kernels.balance.sites_columns import BadSite, SitePlans, Sites
from schemas.errors import GridloomError

__all__ = [
    "BadInput",
    "BadSite",
    "Dispatch",
    "Network",
    "Prices",
    "SitePlans",
    "Sites",
    "Status",
    "Workspace",
    "balance",
    "balance_networks",
    "balance_sites",
    "lower_bound",
]

GAP_MAX = 1e-7
RESIDUAL_MAX = 1e-9  # of the largest load or storage, at least of 1
SMALL = 300  # variables: below it simplex is as fast, and its vertex has the rounder numbers
_SEEN = 1e-6  # MW or MWh: less of shedding, burning or unmet energy is rounding

_memory = threading.local()


class _Solved(NamedTuple):
    plan: Plan
    prices: Prices
    method: str
    objective: float
    lower_bound: float
    gap_rel: float
    max_residual: float


def balance(network: Network, last: Dispatch | None = None, later: int = 0) -> Dispatch:
    """The least-cost plan of a network with its prices, lower bound and residual.

    last: the plan of an earlier tick to start from, whose step `later` is step 0 now. It makes the
    solve shorter, never the proof weaker; a plan of another shape is passed over.
    """
    net, flags, errors = check(network)
    done = _solve(net, last, later)
    plan = done.plan
    _flag(flags, plan, done.gap_rel)
    emitted = carbon.emissions_kg(net, plan["import"], plan["supply"])
    average = carbon.average(net, plan["flow"], invariants.served(net, plan), emitted)
    return Dispatch(
        import_mw=plan["import"],
        export_mw=plan["export"],
        ren_used_mw=plan["ren"],
        curtailed_mw=net.ren_avail_mw - plan["ren"],
        supply_mw=plan["supply"],
        charge_mw=plan["charge"],
        discharge_mw=plan["discharge"],
        soc_mwh=plan["soc"],
        flex_mw=plan["flex"],
        shed_mw=plan["shed"],
        flow_mw=plan["flow"],
        prices=done.prices,
        ci_average=average,
        ci_marginal=carbon.marginal(net, plan["import"], plan["ren"], plan["supply"], average),
        emissions_kg=emitted,
        objective=done.objective,
        lower_bound=done.lower_bound,
        gap_rel=done.gap_rel,
        max_residual=done.max_residual,
        status=tuple(flags),
        method=done.method,
        errors=errors,
    )


def _solve(net: Network, last: Dispatch | None, later: int) -> _Solved:
    """By simplex where small; else by the interior point, and by simplex where that is loose."""
    rows, steps, units, storages, links = net.shape
    if steps * (rows * (units + 5 + 3 * storages) + links) < SMALL:
        return _measured(net, *highs.solve(net), "highs")
    if not hasattr(_memory, "workspace"):
        _memory.workspace = NetworkWorkspace()
    if last is not None:
        found = interior.solve(net, _memory.workspace, last, later)
        done = _measured(net, *found, "interior, warm")
        if _is_proven(net, done):
            return done
    done = _measured(net, *interior.solve(net, _memory.workspace), "interior")
    if _is_proven(net, done):
        return done
    try:
        return _measured(net, *highs.solve(net), "interior, then highs")
    except GridloomError:
        if not done.max_residual <= _residual_max(net):
            raise
        return done  # a plan that keeps every row; its gap says how far it may be from the least


def _measured(net: Network, plan: Plan, prices: Prices, method: str) -> _Solved:
    """Cost, bound and residual of a plan, by code that no solver shares."""
    objective, scale = invariants.cost(net, plan)
    bound = lower_bound(net, prices)
    residual = invariants.residual(net, plan, invariants.served(net, plan))
    gap_rel = (objective - bound) / max(1.0, scale)
    return _Solved(plan, prices, method, objective, bound, gap_rel, residual)


def _is_proven(net: Network, done: _Solved) -> bool:
    return (
        -1e-9 <= done.gap_rel <= GAP_MAX
        and done.max_residual <= _residual_max(net)
        and invariants.within_limits(net, done.plan)
    )


def _residual_max(net: Network) -> float:
    largest = max(net.load_mw.max(initial=1.0), net.storage_soc_max_mwh.max(initial=1.0))
    return RESIDUAL_MAX * float(largest)


def _flag(flags: list[Status], plan: Plan, gap_rel: float) -> None:
    shed = plan["shed"].max(axis=1) > _SEEN
    burn = np.minimum(plan["charge"], plan["discharge"]).max(axis=(1, 2), initial=0.0) > _SEEN
    for status, where in (
        (Status.SHED, shed),
        (Status.BURN, burn),
        (Status.FLEX_UNMET, plan["unmet"] > _SEEN),
        (Status.GAP_LOOSE, np.full(len(flags), not gap_rel <= GAP_MAX)),
    ):
        for r in np.flatnonzero(where):
            flags[r] |= status
