"""Carbon of a plan: emissions, the average of what serves a region, and of one more MWh."""

from kernels.balance._carbon import average as _average
from kernels.balance._carbon import marginal as _marginal
from kernels.balance.columns import F64, Network


def emissions_kg(net: Network, import_mw: F64, supply_mw: F64) -> F64:
    """[R, T] of imports and local supply: MW x h x 1000 x kg/kWh."""
    emitted: F64 = import_mw * net.grid_ci + (supply_mw * net.supply_ci[:, :, None]).sum(axis=1)
    return emitted * (1000 * net.dt_h)


def average(net: Network, flow_mw: F64, served_mw: F64, emitted_kg: F64) -> F64:
    """[R, T] kg/kWh by proportional sharing: what a link sends has its sender's average.

    served_mw [R, T] is what reaches the bus, link arrivals included. Storage gives back without
    carbon: it was counted when it was charged. ci x served = own emissions + sum of sent x ci of
    the sender; a region that nothing reaches has 0.
    """
    ci: F64 = _average(net, flow_mw, served_mw, emitted_kg / (1000 * net.dt_h))
    return ci


def marginal(net: Network, import_mw: F64, ren_mw: F64, supply_mw: F64, average_ci: F64) -> F64:
    """[R, T] kg/kWh of one more MWh in the region: of the local source that is between its limits.

    Curtailed wind and solar first (0), then a part-loaded unit (the dearest), then imports below
    their limit; where none is, storage or a link is marginal and the average stands in for it.
    """
    ci: F64 = _marginal(net, import_mw, ren_mw, supply_mw, average_ci)
    return ci
