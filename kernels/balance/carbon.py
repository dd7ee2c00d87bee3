"""Carbon of a plan: emissions, the average of what serves a region, and of one more MWh."""

import numpy as np

from kernels.balance.columns import F64, Network

_INSIDE = 1e-7  # of a limit: less is at it


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
    rows, steps = served_mw.shape
    own = emitted_kg / (1000 * net.dt_h)
    ci = np.zeros((rows, steps))
    for t in range(steps):
        matrix = np.diag(np.where(served_mw[:, t] > 0, served_mw[:, t], 1.0))
        for n in range(len(net.link_cap_mw)):
            if flow_mw[n, t] > 0 and served_mw[net.link_to[n], t] > 0:
                matrix[net.link_to[n], net.link_from[n]] -= flow_mw[n, t]
        right = np.where(served_mw[:, t] > 0, own[:, t], 0.0)
        ci[:, t] = np.linalg.lstsq(matrix, right, rcond=None)[0]
    return np.maximum(ci, 0.0)


def marginal(net: Network, import_mw: F64, ren_mw: F64, supply_mw: F64, average_ci: F64) -> F64:
    """[R, T] kg/kWh of one more MWh in the region: of the local source that is between its limits.

    Curtailed wind and solar first (0), then a part-loaded unit (the dearest), then imports below
    their limit; where none is, storage or a link is marginal and the average stands in for it.
    """
    ci = average_ci.copy()
    importing = (import_mw > _INSIDE) & (import_mw < net.import_max_mw - _INSIDE)
    ci[importing] = net.grid_ci[importing]
    for r in range(len(net.regions)):
        for k in np.argsort(net.supply_cost[r], kind="stable"):
            cap = net.supply_cap_mw[r, k]
            part = (supply_mw[r, k] > _INSIDE) & (supply_mw[r, k] < cap - _INSIDE)
            ci[r, part] = net.supply_ci[r, k]
    ci[ren_mw < net.ren_avail_mw - _INSIDE] = 0.0
    return ci
