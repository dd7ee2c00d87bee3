"""Balance: dispatch, storage, imports, curtailment and flexible load at least cost, certified.

    minimise  cost of imports, supply, wear, links and load not served - exports - what is stored
    subject to  for each region and step: what comes in = load;  storages;  deferrable energy

README.md has the model in formulas, the methods and the figures. A bad value takes its region out
and is named in Dispatch.errors; it never raises and never changes another region's plan.
"""

import threading
from typing import NamedTuple

from kernels.balance import carbon, highs, interior
from kernels.balance._proof import Proof, prove
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
    "NetworkWorkspace",
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

_memory = threading.local()


class _Solved(NamedTuple):
    plan: Plan
    prices: Prices
    method: str
    proof: Proof
    gap_rel: float


def balance(
    network: Network,
    last: Dispatch | None = None,
    later: int = 0,
    workspace: NetworkWorkspace | None = None,
) -> Dispatch:
    """The least-cost plan of a network with its prices, lower bound and residual.

    last: the plan of an earlier tick to start from, whose step `later` is step 0 now. It makes the
    solve shorter, never the proof weaker; a plan of another shape is passed over.
    workspace: memory of the solve, for one thread at a time; none = one that the thread keeps. No
    result depends on it.
    """
    net, flags, errors = check(network)
    done = _solve(net, last, later, workspace)
    plan = done.plan
    proof = done.proof
    for r, seen in enumerate(proof.seen):
        if seen:
            flags[r] |= Status(seen)
    if not done.gap_rel <= GAP_MAX:
        flags = [flag | Status.GAP_LOOSE for flag in flags]
    emitted = carbon.emissions_kg(net, plan["import"], plan["supply"])
    average = carbon.average(net, plan["flow"], proof.served_mw, emitted)
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
        objective=proof.objective,
        lower_bound=proof.lower_bound,
        gap_rel=done.gap_rel,
        max_residual=proof.residual,
        status=tuple(flags),
        method=done.method,
        errors=errors,
    )


def _solve(
    net: Network, last: Dispatch | None, later: int, workspace: NetworkWorkspace | None
) -> _Solved:
    """By simplex where small; else by the interior point, and by simplex where that is loose."""
    rows, steps, units, storages, links = net.shape
    if steps * (rows * (units + 5 + 3 * storages) + links) < SMALL:
        return _measured(net, *highs.solve(net), "highs")
    if workspace is None:
        if not hasattr(_memory, "workspace"):
            _memory.workspace = NetworkWorkspace()
        workspace = _memory.workspace
    if last is not None:
        found = interior.solve(net, workspace, last, later)
        done = _measured(net, *found, "interior, warm")
        if _is_proven(done):
            return done
    done = _measured(net, *interior.solve(net, workspace), "interior")
    if _is_proven(done):
        return done
    try:
        return _measured(net, *highs.solve(net), "interior, then highs")
    except GridloomError:
        if not _keeps_rows(done):
            raise
        return done  # a plan that keeps every row; its gap says how far it may be from the least


def _measured(net: Network, plan: Plan, prices: Prices, method: str) -> _Solved:
    """Cost, bound and residual of a plan, by code that no solver shares."""
    proof = prove(net, plan, prices)
    gap_rel = (proof.objective - proof.lower_bound) / max(1.0, proof.scale)
    return _Solved(plan, prices, method, proof, gap_rel)


def _is_proven(done: _Solved) -> bool:
    return -1e-9 <= done.gap_rel <= GAP_MAX and _keeps_rows(done) and done.proof.is_within


def _keeps_rows(done: _Solved) -> bool:
    kept: bool = done.proof.residual <= RESIDUAL_MAX * done.proof.largest
    return kept
