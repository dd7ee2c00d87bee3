"""The plain twin of _sites.pyx: the same method in the order of its formulas, one site at a time.

    g(mu)     least cost with the requirement priced at mu, by the passes of sites_passes.py:
              concave and piecewise linear; the mu where its tangents meet, the mix of both plans

Same tie-breaking (energy is kept; supply in the order ren, export, units, import, flex, shed at
equal prices) and so the same cost; figures agree to rounding.
"""

from math import inf, isfinite
from typing import Any

import numpy as np

from kernels.balance.columns import F64, Status
from kernels.balance.sites_checks import bad_rows
from kernels.balance.sites_columns import COLUMNS, HIGHS, PLAN_AXES, SitePlans, Sites
from kernels.balance.sites_passes import Site

_TIE = 1e-14  # of the cost: tangents that are this close meet
_TANGENTS_MAX = 80


class Workspace:
    """Nothing is kept from call to call."""


def empty_columns(shape: tuple[int, int, int, int, int]) -> list[Any]:
    """The columns of SitePlans up to method, in their order."""
    width = dict(zip("NTKSF", shape, strict=True))
    columns: list[Any] = [np.empty([width[a] for a in axes]) for axes in PLAN_AXES.values()]
    return [*columns, np.empty(shape[0], np.uint8), np.empty(shape[0], np.uint8)]


def solve_rows(
    given: tuple[F64, ...],
    found: tuple[F64, ...],
    status_method: tuple[Any, Any],
    shape: tuple[int, int, int, int, int],
    warm_mu: F64 | None,
    first: int,
    last: int,
    workspace: Workspace,
) -> int:
    """Fill the plans and prices of rows first to last; returns how many it left out or to HiGHS."""
    assert 0 <= first <= last <= shape[0]
    status, method = status_method
    sites = Sites(*given)
    columns: list[Any] = [*found, status, method]
    plans = SitePlans(*columns)
    status[first:last] = bad_rows(sites.take(np.arange(first, last)))
    method[first:last] = 0
    special = 0
    for row in range(first, last):
        for column in found:
            column[row] = 0.0
        if status[row]:
            special += 1
            continue
        low, high = sites.storage_soc_min_mwh[row], sites.storage_soc_max_mwh[row]
        soc0 = sites.storage_soc0_mwh[row]
        if ((soc0 < low) | (soc0 > high)).any():
            status[row] = Status.SOC0_CLAMPED.value
        up, down = sites.reserve_up_mw[row], sites.reserve_down_mw[row]
        if ((up > sites.import_max_mw[row]) | (down > sites.export_max_mw[row])).any():
            status[row] |= Status.RESERVE_SHORT.value
        moves = (sites.storage_charge_mw[row] > 0) | (sites.storage_discharge_mw[row] > 0)
        asks = sites.flex_energy_mwh[row] > 0
        if moves.sum() > 1 or asks.sum() > 1:
            method[row] = HIGHS
            special += 1
            continue
        site = Site({name: getattr(sites, name)[row] for name in COLUMNS}, moves, asks)
        start = None if warm_mu is None or not asks.any() else float(warm_mu[row][asks][0])
        _solve(site, start)
        _write(site, plans, row)
    return special


def _solve(site: Site, start: float | None) -> None:
    """Leave in steps the plan that serves what was asked, and in mu its price."""
    room = float(site.flex_max.sum())
    site.mu = site.voll
    if site.ask <= 0 or room <= 0 or site.ask >= room:
        site.solve_at(site.voll)
        if site.ask <= 0 or room <= 0 or sum(s.flexed for s in site.steps) <= site.ask:
            return
    mu = start if start is not None and isfinite(start) and abs(start) < 1e12 else 0.0
    site.mu, width = min(mu, site.voll), 0.03 * (1 + abs(mu))
    below: Any = None  # (mu, cost, energy, steps) where too little is served
    above: Any = None
    for _ in range(_TANGENTS_MAX):
        cost, energy = site.solve_at(site.mu)
        here = (site.mu, cost + site.mu * (site.ask - energy), energy, site.steps)
        if energy == site.ask or (energy < site.ask and site.mu >= site.voll):
            return
        met = (
            below
            and above
            and _meet(below, above, site.ask)[1] - here[1]
            <= _TIE * (abs(cost) + abs(site.mu) * site.ask)
        )
        below, above = (here, above) if energy < site.ask else (below, here)
        if met:
            break
        if below and above:
            site.mu = min(max(_meet(below, above, site.ask)[0], below[0]), above[0])
        else:
            site.mu = min(site.mu + (width if below else -width), site.voll)
            width *= 4
    if below and above:
        _mix(site, below, above)


def _mix(site: Site, below: Any, above: Any) -> None:
    """Both plans cost the same at mu; so does the mix that serves just what was asked."""
    share = (site.ask - below[2]) / (above[2] - below[2])
    for step, low, high in zip(site.steps, below[3], above[3], strict=True):
        charged, discharged, flexed = (
            a + (b - a) * share
            for a, b in (
                (low.charged, high.charged),
                (low.discharged, high.discharged),
                (low.flexed, high.flexed),
            )
        )
        step.charged, step.discharged, step.flexed = charged, discharged, flexed


def _values(site: Site) -> list[float]:
    """Stored values that fit together over time: narrowed backwards, then chosen forwards."""
    low = high = site.worth
    ranges: list[tuple[float, float]] = []
    for step in reversed(site.steps):
        low, high = -inf if step.at_high else low, inf if step.at_low else high
        ranges.append(_narrowed((low, high), step.value))
        low, high = (end * site.retain for end in ranges[-1])
    values: list[float] = []
    for t, (least, most) in enumerate(reversed(ranges)):
        low, high = least, most
        if t and not site.steps[t - 1].at_low:
            low = min(max(low, values[-1] / site.retain), high)
        if t and not site.steps[t - 1].at_high:
            high = max(min(high, values[-1] / site.retain), low)
        values.append(_finite(low, high))
    return values


def _bus(site: Site, t: int, value: float) -> float:
    """A price of the bus that fits the step's supply and what its storage does."""
    step, low, high = site.steps[t], -inf, inf
    near = 1e-12 * (site.at_rest(t) + site.charge)
    if site.charge > 0:
        low = value * site.eta_c if step.charged < site.charge - near else low
        high = value * site.eta_c if step.charged > 0 else high
    if site.discharge > 0:
        out = value / site.eta_d + site.wear
        low = max(low, out) if step.discharged > 0 else low
        high = min(high, out) if step.discharged < site.discharge - near else high
    if high < low:  # by rounding
        low = high = (low + high) / 2
    return _finite(*_narrowed((low, high), step.price))


def _write(site: Site, plans: SitePlans, row: int) -> None:
    """The plan in MW."""
    c, hours, values = site.column, site.hours, _values(site)
    bus = [_bus(site, t, values[t]) for t in range(site.T)]
    plans.bus_price[row] = bus
    plans.mu[row] = np.where(site.asks, site.mu, min(bus))
    for s in np.flatnonzero(~site.moves).tolist():
        low, high = c["storage_soc_min_mwh"][s], c["storage_soc_max_mwh"][s]
        kept = c["storage_retain"][s] ** np.arange(site.T + 1)
        plans.soc_mwh[row, s] = np.clip(c["storage_soc0_mwh"][s], low, high) * kept[1:]
        plans.storage_value[row, s] = c["storage_terminal_value"][s] * kept[-2::-1]
    soc = site.soc0
    for t, step in enumerate(site.steps):
        soc = site.retain * soc + site.eta_c * step.charged - step.discharged / site.eta_d
        soc = min(max(soc, site.low), site.high)
        if site.moves.any():
            s = int(np.argmax(site.moves))
            plans.charge_mw[row, s, t] = min(step.charged, site.charge) / hours
            plans.discharge_mw[row, s, t] = min(step.discharged, site.discharge) / hours
            plans.soc_mwh[row, s, t], plans.storage_value[row, s, t] = soc, values[t]
        if site.ask:
            limit = c["flex_max_mw"][site.asks][0][t]
            plans.flex_mw[row, int(np.argmax(site.asks)), t] = min(step.flexed / hours, limit)
        _write_supply(site, plans, row, t, site.served(t, step))


def _write_supply(site: Site, plans: SitePlans, row: int, t: int, used: dict[str, float]) -> None:
    """What serves a step, in MW within its limits."""
    c, hours = site.column, site.hours
    plans.ren_used_mw[row, t] = min(used.get("ren", 0.0) / hours, c["ren_avail_mw"][t])
    plans.export_mw[row, t] = max(c["export_max_mw"][t] - used.get("export", 0.0) / hours, 0.0)
    plans.import_mw[row, t] = min(used.get("import", 0.0) / hours, c["import_max_mw"][t])
    plans.shed_mw[row, t] = min(used.get("shed", 0.0) / hours, c["load_mw"][t])
    for k, cap in enumerate(c["supply_cap_mw"]):
        plans.supply_mw[row, k, t] = min(used.get(f"unit {k}", 0.0) / hours, cap)
    plans.curtailed_mw[row, t] = c["ren_avail_mw"][t] - plans.ren_used_mw[row, t]
    rate = plans.import_mw[row, t] * c["grid_ci"][t] + plans.supply_mw[row, :, t] @ c["supply_ci"]
    plans.emissions_kg[row, t] = rate * 1000 * hours


def _meet(below: Any, above: Any, ask: float) -> tuple[float, float]:
    """(mu, g) where the tangents of two passes meet."""
    (mu_low, g_low, e_low, _), (mu_high, g_high, e_high, _) = below, above
    mu = g_high - g_low + (ask - e_low) * mu_low - (ask - e_high) * mu_high
    mu /= e_high - e_low
    return mu, g_low + (ask - e_low) * (mu - mu_low)


def _narrowed(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """What both ranges allow; their middle where they miss each other by rounding."""
    low, high = max(one[0], other[0]), min(one[1], other[1])
    return (low, high) if low <= high else ((low + high) / 2,) * 2


def _finite(low: float, high: float) -> float:
    """The lower end of a range, or what is finite of it."""
    if low > -inf:
        return low
    return high if high < inf else 0.0
