"""The proof of a batch of plans: a lower bound on each site's cost from prices alone.

Weak duality, site by site: for ANY prices (bus pi, storage value v, requirement mu) no plan costs
less than

    sum over t of dt (pi load + sum over sources min(0, cost - pi) limit)
    + storage     dt min(0, pi - eta_c v) charge_max
                  + dt min(0, wear - pi + v / eta_d) discharge_max
                  + (v[t] - retain v[t+1]) x its least soc within limits - v[0] retain soc0
    + requirement mu energy + dt min(0, pi - mu) flex_max + min(0, voll - mu) energy

The limit of imports is import_max less reserve_up, of exports export_max less reserve_down.
Nothing of a solver is used or trusted, the kernel's certificate included: a wrong price only makes
the bound lower. The plan's own rows and bounds are checked in the same pass. GRIDLOOM_PURE=1 runs
what stands here instead of the compiled twin in _certificate.pyx.
"""

import os
from collections.abc import Callable

import numpy as np

from kernels.balance.columns import F64, Status
from kernels.balance.sites_columns import GAP_MAX, PLAN_AXES, SEEN, U8, UNMET_MIN, Sites

Columns = tuple[F64, ...]
Shape = tuple[int, int, int, int, int]
Prover = Callable[[Columns, Columns, U8, Shape, int, int], int]


def prover() -> Prover:
    """prove_rows, or its compiled twin."""
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return prove_rows
    from kernels.balance._certificate import prove_rows as compiled

    proof: Prover = compiled
    return proof


def prove_rows(
    given: Columns, found: Columns, status: U8, shape: Shape, first: int, last: int
) -> int:
    """Fill objective, lower_bound, gap_rel, max_residual of rows first to last; add to status.

    given, found: the columns of Sites and SitePlans in their order. Rows left out (BAD_INPUT) have
    no proof. Returns how many rows are GAP_LOOSE.
    """
    assert shape[0] == len(status)
    rows = np.arange(first, last)[(status[first:last] & Status.BAD_INPUT.value) == 0]
    sites = Sites(*(column[rows] for column in given))
    plan = {name: column[rows] for name, column in zip(PLAN_AXES, found, strict=True)}
    flags = _fill(sites, plan)
    for name, column in zip(PLAN_AXES, found, strict=True):
        if PLAN_AXES[name] == "N":
            column[rows] = plan[name]
    status[rows] |= flags
    return int(((flags & Status.GAP_LOOSE.value) > 0).sum())


def _fill(sites: Sites, plan: dict[str, F64]) -> U8:
    """The proof's figures into the plan; [N] its bits of status."""
    costs = _costs(sites, plan)
    plan["objective"] = sum((cost.sum(axis=1) for cost in costs), np.zeros(len(sites.dt_h)))
    bound = lower_bounds(sites, plan["bus_price"], plan["storage_value"], plan["mu"])
    size = sum((np.abs(cost).sum(axis=1) for cost in costs), np.zeros(len(sites.dt_h)))
    plan["lower_bound"] = bound
    plan["gap_rel"] = gap = (plan["objective"] - bound) / np.maximum(1.0, size)
    plan["max_residual"] = worst = _residuals(sites, plan)
    loose = ~((np.abs(gap) <= GAP_MAX) & (worst <= GAP_MAX * _largest(sites, plan)))
    flags = _flags(sites, plan)
    flags[loose] |= Status.GAP_LOOSE.value
    return flags


def _largest(sites: Sites, plan: dict[str, F64]) -> F64:
    """[N] MW or MWh that residuals are measured against."""
    sizes = [
        sites.load_mw + plan["export_mw"],
        sites.storage_soc_max_mwh,
        sites.storage_charge_mw,
        sites.storage_discharge_mw,
        sites.flex_energy_mwh,
    ]
    found: F64 = np.max([size.max(axis=1, initial=1.0) for size in sizes], axis=0)
    return found


def _flags(sites: Sites, plan: dict[str, F64]) -> U8:
    shed = plan["shed_mw"] > SEEN * (sites.load_mw + _grid(sites)[1])
    charging = plan["charge_mw"] > SEEN * sites.storage_charge_mw[:, :, None]
    discharging = plan["discharge_mw"] > SEEN * sites.storage_discharge_mw[:, :, None]
    served = sites.dt_h[:, None] * plan["flex_mw"].sum(axis=2)
    unmet = sites.flex_energy_mwh - served > SEEN * sites.flex_energy_mwh
    flags = shed.any(axis=1) * Status.SHED.value
    flags |= (charging & discharging).any(axis=(1, 2)) * Status.BURN.value
    flags |= unmet.any(axis=1) * Status.FLEX_UNMET.value
    bits: U8 = flags.astype(np.uint8)
    return bits


def lower_bounds(sites: Sites, bus: F64, value: F64, mu: F64) -> F64:
    """[N] no plan costs less (currency). bus [N, T], value [N, S, T], mu [N, F]."""
    hours, carbon = sites.dt_h[:, None], sites.carbon_price[:, None]
    voll = sites.voll[:, None]
    step = bus * sites.load_mw
    import_max, export_max = _grid(sites)
    step += _box(sites.import_price + carbon * sites.grid_ci - bus, import_max)
    step += _box(bus - sites.export_price, export_max)
    step += _box(-bus, sites.ren_avail_mw) + _box(voll - bus, sites.load_mw)
    unit = (sites.supply_cost + carbon * sites.supply_ci)[:, :, None] - bus[:, None, :]
    step += _box(unit, sites.supply_cap_mw[:, :, None]).sum(axis=1)
    step += _box(bus[:, None, :] - mu[:, :, None], sites.flex_max_mw).sum(axis=1)
    asked = sites.flex_energy_mwh
    whole: F64 = (mu * asked + _box(voll - mu, asked)).sum(axis=1)
    into = bus[:, None, :] - sites.storage_eta_c[:, :, None] * value
    out = sites.storage_wear[:, :, None] - bus[:, None, :] + value / sites.storage_eta_d[:, :, None]
    step += _box(into, sites.storage_charge_mw[:, :, None]).sum(axis=1)
    step += _box(out, sites.storage_discharge_mw[:, :, None]).sum(axis=1)
    soc0, low = _limits(sites)
    kept = sites.storage_retain[:, :, None] * value[:, :, 1:]
    later = np.concatenate([kept, sites.storage_terminal_value[:, :, None]], axis=2)
    held = value - later
    whole += (
        held * np.where(held > 0, low[:, :, None], sites.storage_soc_max_mwh[:, :, None])
    ).sum(axis=(1, 2))
    whole -= (value[:, :, 0] * sites.storage_retain * soc0).sum(axis=1)
    bound: F64 = (hours * step).sum(axis=1) + whole
    return bound


def _grid(sites: Sites) -> tuple[F64, F64]:
    """[N, T] what the reserves leave of the limits of import and export."""
    return (
        np.maximum(sites.import_max_mw - sites.reserve_up_mw, 0.0),
        np.maximum(sites.export_max_mw - sites.reserve_down_mw, 0.0),
    )


def _limits(sites: Sites) -> tuple[F64, F64]:
    """soc0 within its limits; the lower limit of a storage that leaks and may not be charged."""
    soc0 = np.minimum(
        np.maximum(sites.storage_soc0_mwh, sites.storage_soc_min_mwh), sites.storage_soc_max_mwh
    )
    left = soc0 * sites.storage_retain ** sites.load_mw.shape[1]
    return soc0, np.minimum(sites.storage_soc_min_mwh, left)


def _costs(sites: Sites, plan: dict[str, F64]) -> list[F64]:
    """The terms c x, [N, ...] each."""
    hours = sites.dt_h[:, None]
    carbon, voll = sites.carbon_price[:, None], sites.voll[:, None]
    unit = sites.supply_cost + carbon * sites.supply_ci
    served = hours * plan["flex_mw"].sum(axis=2)
    unmet = sites.flex_energy_mwh - served
    left = plan["soc_mwh"][:, :, -1]
    return [
        hours * (sites.import_price + carbon * sites.grid_ci) * plan["import_mw"],
        -hours * sites.export_price * plan["export_mw"],
        hours * voll * plan["shed_mw"],
        hours * unit * plan["supply_mw"].sum(axis=2),
        hours * sites.storage_wear * plan["discharge_mw"].sum(axis=2),
        -sites.storage_terminal_value * left,
        voll * np.where(unmet > UNMET_MIN * sites.flex_energy_mwh, unmet, 0.0),
    ]


def _residuals(sites: Sites, plan: dict[str, F64]) -> F64:
    """[N] largest violation of a row or a bound."""
    hours = sites.dt_h[:, None]
    charge, discharge, soc = plan["charge_mw"], plan["discharge_mw"], plan["soc_mwh"]
    comes = plan["import_mw"] - plan["export_mw"] + plan["ren_used_mw"] + plan["shed_mw"]
    comes = comes + plan["supply_mw"].sum(axis=1) + (discharge - charge).sum(axis=1)
    soc0, low = _limits(sites)
    before = np.concatenate([soc0[:, :, None], soc[:, :, :-1]], axis=2)
    into = sites.storage_eta_c[:, :, None] * charge - discharge / sites.storage_eta_d[:, :, None]
    kept = sites.storage_retain[:, :, None] * before + hours[:, :, None] * into
    served = hours * plan["flex_mw"].sum(axis=2)
    unmet = sites.flex_energy_mwh - served
    high = sites.storage_soc_max_mwh[:, :, None]
    import_max, export_max = _grid(sites)
    violations = [
        np.abs(comes - plan["flex_mw"].sum(axis=1) - sites.load_mw),
        np.abs(soc - kept),
        np.maximum(low[:, :, None] - soc, soc - high),
        np.where(unmet > UNMET_MIN * sites.flex_energy_mwh, 0.0, np.abs(unmet)),
        *(
            np.maximum(-plan[name], plan[name] - limit)
            for name, limit in (
                ("import_mw", import_max),
                ("export_mw", export_max),
                ("ren_used_mw", sites.ren_avail_mw),
                ("shed_mw", sites.load_mw),
                ("flex_mw", sites.flex_max_mw),
                ("supply_mw", sites.supply_cap_mw[:, :, None]),
                ("charge_mw", sites.storage_charge_mw[:, :, None]),
                ("discharge_mw", sites.storage_discharge_mw[:, :, None]),
            )
        ),
    ]
    worst = [v.max(axis=tuple(range(1, v.ndim)), initial=0.0) for v in violations]
    found: F64 = np.max(worst, axis=0)
    return found


def _box(cost: F64, upper: F64) -> F64:
    """The least of cost x over 0 <= x <= upper."""
    least: F64 = np.minimum(cost, 0.0) * upper
    return least
