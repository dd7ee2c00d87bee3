"""A site as a linear programme for HiGHS: any storages and requirements. README.md has the model.

Variables of a site: import, export, ren, shed, supply K, charge S, discharge S, soc S, flex F, each
over T, then unmet F. Rows: bus T, storage S x T, requirement F.
"""

import numpy as np

from kernels.balance import highs
from kernels.balance.columns import F64, I64
from kernels.balance.layout import Programme
from kernels.balance.sites_columns import SitePlans, Sites
from schemas.errors import GridloomError

_BLOCKS = (
    "import_mw",
    "export_mw",
    "ren_used_mw",
    "shed_mw",
    "supply_mw",
    "charge_mw",
    "discharge_mw",
    "soc_mwh",
    "flex_mw",
)


def solve_row(sites: Sites, plans: SitePlans, row: int) -> bool:
    """Write the row's plan and prices; False, and nothing written, where HiGHS finds none."""
    site = sites.take([row])
    _, steps, _, storages, _ = site.shape
    at = _places(site)
    lp = _programme(site, at)
    try:
        x, duals = highs.optimum(lp)
    except GridloomError:
        return False
    for name in _BLOCKS:
        getattr(plans, name)[row] = x[at[name]].reshape(getattr(plans, name)[row].shape)
    hours = float(site.dt_h[0])
    plans.curtailed_mw[row] = site.ren_avail_mw[0] - plans.ren_used_mw[row]
    plans.bus_price[row] = duals[:steps] / hours
    plans.storage_value[row] = -duals[steps : steps * (1 + storages)].reshape(storages, steps)
    plans.mu[row] = duals[steps * (1 + storages) :]
    carbon = plans.import_mw[row] * site.grid_ci[0] + site.supply_ci[0] @ plans.supply_mw[row]
    plans.emissions_kg[row] = carbon * 1000 * hours
    return True


def _places(site: Sites) -> dict[str, I64]:
    """Block -> index of each of its variables, [things, T]; unmet [F]."""
    _, steps, units, storages, flexes = site.shape
    things = dict(zip(_BLOCKS, (1, 1, 1, 1, units, *[storages] * 3, flexes), strict=True))
    places: dict[str, I64] = {}
    start = 0
    for name, count in things.items():
        size = count * steps
        places[name] = np.arange(start, start + size, dtype=np.int64).reshape(count, steps)
        start += size
    places["unmet"] = np.arange(start, start + flexes, dtype=np.int64)
    return places


def _programme(site: Sites, at: dict[str, I64]) -> Programme:
    steps, hours, carbon = site.shape[1], site.dt_h[0], site.carbon_price[0]
    voll, over = site.voll[0], np.ones(site.shape[1])
    size = sum(block.size for block in at.values())
    cost, lower, upper = np.zeros(size), np.zeros(size), np.zeros(size)
    cost[at["import_mw"]] = hours * (site.import_price + carbon * site.grid_ci)
    cost[at["export_mw"]] = -hours * site.export_price
    cost[at["shed_mw"]], cost[at["unmet"]] = hours * voll, voll
    unit = site.supply_cost[0] + carbon * site.supply_ci[0]
    cost[at["supply_mw"]] = hours * np.outer(unit, over)
    cost[at["discharge_mw"]] = hours * np.outer(site.storage_wear[0], over)
    cost[at["soc_mwh"][:, -1]] = -site.storage_terminal_value[0]
    upper[at["import_mw"]] = np.maximum(site.import_max_mw - site.reserve_up_mw, 0.0)
    upper[at["export_mw"]] = np.maximum(site.export_max_mw - site.reserve_down_mw, 0.0)
    upper[at["ren_used_mw"]], upper[at["shed_mw"]] = site.ren_avail_mw, site.load_mw
    upper[at["supply_mw"]] = np.outer(site.supply_cap_mw[0], over)
    upper[at["charge_mw"]] = np.outer(site.storage_charge_mw[0], over)
    upper[at["discharge_mw"]] = np.outer(site.storage_discharge_mw[0], over)
    upper[at["flex_mw"]], upper[at["unmet"]] = site.flex_max_mw[0], site.flex_energy_mwh[0]
    low, high = site.storage_soc_min_mwh[0], site.storage_soc_max_mwh[0]
    soc0 = np.minimum(np.maximum(site.storage_soc0_mwh[0], low), high)
    retain = site.storage_retain[0]
    # a storage that leaks may fall below its lower limit where nothing is there to charge it
    lower[at["soc_mwh"]] = np.outer(np.minimum(low, soc0 * retain**steps), over)
    upper[at["soc_mwh"]] = np.outer(high, over)
    first = np.zeros((site.shape[3], steps))
    first[:, 0] = retain * soc0
    rhs = np.concatenate([site.load_mw[0], first.ravel(), site.flex_energy_mwh[0]])
    return Programme(cost, lower, upper, rhs, *_entries(site, at))


def _entries(site: Sites, at: dict[str, I64]) -> tuple[I64, I64, F64]:
    _, steps, _, storages, flexes = site.shape
    hours, bus = site.dt_h[0], np.arange(steps, dtype=np.int64)
    store = steps + np.arange(storages * steps, dtype=np.int64).reshape(storages, steps)
    asked = steps + storages * steps + np.arange(flexes, dtype=np.int64)
    soc = at["soc_mwh"]
    entries: list[tuple[I64, I64, F64 | float]] = [
        (bus, at[name], sign)
        for name, sign in (
            ("import_mw", 1.0),
            ("export_mw", -1.0),
            ("ren_used_mw", 1.0),
            ("shed_mw", 1.0),
            ("supply_mw", 1.0),
            ("charge_mw", -1.0),
            ("discharge_mw", 1.0),
            ("flex_mw", -1.0),
        )
    ]
    entries += [
        (store, soc, 1.0),
        (store[:, 1:], soc[:, :-1], -site.storage_retain[0][:, None]),
        (store, at["charge_mw"], -hours * site.storage_eta_c[0][:, None]),
        (store, at["discharge_mw"], hours / site.storage_eta_d[0][:, None]),
        (asked[:, None], at["flex_mw"], hours),
        (asked, at["unmet"], 1.0),
    ]
    parts = [
        [np.broadcast_to(part, np.shape(c)).ravel() for part in (r, c, v)] for r, c, v in entries
    ]
    row, column, coefficient = (np.concatenate(part) for part in zip(*parts, strict=True))
    return row, column, coefficient.astype(np.float64)
