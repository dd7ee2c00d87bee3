"""The proof of a balance: a lower bound on its cost from prices alone.

Weak duality: for ANY prices y, cost(x) >= b.y + sum over variables of min over its box of
(c - A'y) x. Nothing of the solver is used or trusted; a wrong price only makes the bound lower.
"""

import numpy as np

from kernels.balance.columns import F64, Network, Prices


def lower_bound(net: Network, prices: Prices) -> float:
    """No plan of `net` costs less (currency)."""
    dt, mu = net.dt_h, prices.flex
    bus, value = dt * prices.bus, -prices.storage  # duals of the rows as written in README.md
    carbon = net.carbon_price  # kg/kWh = t/MWh, so price per t x ci is per MWh
    bound = float((bus * net.load_mw).sum())
    bound += _box(dt * (net.import_price + carbon * net.grid_ci) - bus, net.import_max_mw)
    bound += _box(bus - dt * net.export_price, net.export_max_mw)
    bound += _box(-bus, net.ren_avail_mw)
    bound += _box(dt * net.voll - bus, np.maximum(net.load_mw, 0.0))
    unit = dt * (net.supply_cost + carbon * net.supply_ci)
    bound += _box(unit[:, :, None] - bus[:, None, :], net.supply_cap_mw[:, :, None])
    bound += float((mu * net.flex_energy_mwh).sum())
    bound += _box(bus - dt * mu[:, None], net.flex_max_mw)
    bound += _box(net.voll - mu, net.flex_energy_mwh)
    bound += _storage_bound(net, bus, value)
    cost = dt * net.link_tariff[:, None] + bus[net.link_from]
    cost -= (1 - net.link_loss[:, None]) * bus[net.link_to]
    return bound + _box(cost, net.link_cap_mw[:, None])


def _storage_bound(net: Network, bus: F64, value: F64) -> float:
    rows, _, _, storages, _ = net.shape
    if not storages:
        return 0.0
    dt = net.dt_h
    into = bus[:, None, :] + dt * net.storage_eta_c[:, :, None] * value
    out = dt * net.storage_wear[:, :, None] - bus[:, None, :]
    out = out - dt / net.storage_eta_d[:, :, None] * value
    bound = _box(into, net.storage_charge_mw[:, :, None])
    bound += _box(out, net.storage_discharge_mw[:, :, None])
    # soc[t] stands in its own row with +1 and in the next with -retain; value left at the end
    later = np.concatenate([value[:, :, 1:], np.zeros((rows, storages, 1))], axis=2)
    soc = -value + net.storage_retain[:, :, None] * later
    soc[:, :, -1] -= net.storage_terminal_value
    low, high = net.storage_soc_min_mwh[:, :, None], net.storage_soc_max_mwh[:, :, None]
    bound += float(np.where(soc > 0, soc * low, soc * high).sum())
    return bound + float((value[:, :, 0] * net.storage_retain * net.storage_soc0_mwh).sum())


def _box(cost: F64, upper: F64) -> float:
    """Sum of the least of cost x over 0 <= x <= upper."""
    return float((np.minimum(cost, 0.0) * upper).sum())
