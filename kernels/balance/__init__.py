"""Balance: dispatch, storage, imports, curtailment and flexible load at least cost, certified.

    minimise  cost of imports, supply, wear, links and load not served - exports - what is stored
    subject to  for each region and step: what comes in = load;  storages;  deferrable energy

README.md has the model in formulas, the methods and the figures. A bad value takes its region out
and is named in Dispatch.errors; it never raises and never changes another region's plan.
"""

import numpy as np

from kernels.balance import carbon, highs
from kernels.balance.certificate import lower_bound
from kernels.balance.checks import check
from kernels.balance.columns import F64, BadInput, Dispatch, Network, Prices, Status
from kernels.balance.layout import Programme, places, programme
from kernels.balance.sites import Workspace, balance_sites
from kernels.balance.sites_columns import BadSite, SitePlans, Sites

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
    "balance_sites",
    "lower_bound",
]

GAP_MAX = 1e-7
_SEEN = 1e-6  # MW or MWh: less of shedding, burning or unmet energy is rounding


def balance(network: Network) -> Dispatch:
    """The least-cost plan of a network with its prices, lower bound and residual."""
    net, flags, errors = check(network)
    lp = programme(net)
    x, duals = highs.solve(lp)
    at = places(net)
    rows, steps, _, storages, _ = net.shape
    bus, store, flex = np.split(duals, [rows * steps, rows * steps * (1 + storages)])
    prices = Prices(
        bus.reshape(rows, steps) / net.dt_h, -store.reshape(rows, storages, steps), flex
    )
    objective = float(lp.cost @ x)
    bound = lower_bound(net, prices)
    scale = max(1.0, float(np.abs(lp.cost * x).sum()))
    gap_rel = (objective - bound) / scale
    part = {name: x[index] for name, index in at.items()}
    _flag(flags, part, gap_rel)
    emitted = carbon.emissions_kg(net, part["import"], part["supply"])
    average = carbon.average(net, part["flow"], _served(net, part), emitted)
    return Dispatch(
        import_mw=part["import"],
        export_mw=part["export"],
        ren_used_mw=part["ren"],
        curtailed_mw=net.ren_avail_mw - part["ren"],
        supply_mw=part["supply"],
        charge_mw=part["charge"],
        discharge_mw=part["discharge"],
        soc_mwh=part["soc"],
        flex_mw=part["flex"],
        shed_mw=part["shed"],
        flow_mw=part["flow"],
        prices=prices,
        ci_average=average,
        ci_marginal=carbon.marginal(net, part["import"], part["ren"], part["supply"], average),
        emissions_kg=emitted,
        objective=objective,
        lower_bound=bound,
        gap_rel=gap_rel,
        max_residual=_residual(lp, x),
        status=tuple(flags),
        method="highs",
        errors=errors,
    )


def _residual(lp: Programme, x: F64) -> float:
    """Largest violation of a row; bounds hold exactly."""
    assert (x >= lp.lower).all(), "a variable is below its bound"
    assert (x <= lp.upper).all(), "a variable is above its bound"
    reached = np.zeros(len(lp.rhs))
    np.add.at(reached, lp.row, lp.coefficient * x[lp.column])
    return float(np.abs(reached - lp.rhs).max(initial=0.0))


def _served(net: Network, part: dict[str, F64]) -> F64:
    """[R, T] what reaches each bus: local sources, storage, links."""
    served: F64 = part["import"] + part["ren"] + part["supply"].sum(axis=1)
    served += part["discharge"].sum(axis=1)
    np.add.at(served, net.link_to, part["flow"] * (1 - net.link_loss)[:, None])
    return served


def _flag(flags: list[Status], part: dict[str, F64], gap_rel: float) -> None:
    shed = part["shed"].max(axis=1) > _SEEN
    burn = np.minimum(part["charge"], part["discharge"]).max(axis=(1, 2), initial=0.0) > _SEEN
    unmet = part["unmet"] > _SEEN
    for r in range(len(flags)):
        flags[r] |= Status.SHED if shed[r] else Status(0)
        flags[r] |= Status.BURN if burn[r] else Status(0)
        flags[r] |= Status.FLEX_UNMET if unmet[r] else Status(0)
        flags[r] |= Status.GAP_LOOSE if gap_rel > GAP_MAX else Status(0)
