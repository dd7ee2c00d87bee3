"""The green signal of a tick: what energy operators act on, a row a region and step.

surplus             wind and sun beyond the load, jobs included
curtailment avoided what would be curtailed if only the load without jobs and exports that pay
                    took wind and sun, less what is curtailed: the work of storage, deferrable
                    load, jobs and links
carbon-free share   sum(matched + grid_cfe x residual) / sum(load), over the steps of an hour;
                    matched: wind, sun and units that say they emit nothing, at most the load
                    of the step; residual: imports, at most the rest of it
"""

from typing import Any

import numpy as np

from kernels.balance import Dispatch
from streams.dispatch.balancing import F64, Inputs, reserve_of
from streams.dispatch.decisions import Rows, Tick, status_text

_MICRO = 1_000_000
_PPM = 1_000_000
_MG_PER_KG = 1_000_000
_MS_PER_HOUR = 3_600_000


def signal_rows(tick: Tick, inputs: Inputs, plan: Dispatch, compute_mw: F64) -> Rows:
    """The green signal of every region and step."""
    load = inputs.series("load_mw") + compute_mw
    surplus = tick.energy_mj(inputs.series("ren_avail_mw") - load)
    available = tick.energy_mj(inputs.series("ren_avail_mw"))
    used = np.minimum(tick.energy_mj(plan.ren_used_mw), available)
    curtailed = available - used
    avoided = np.maximum(tick.energy_mj(_left_alone(inputs)) - curtailed, 0)
    share = np.minimum(_ratio_ppm(plan.ren_used_mw, load), _PPM)
    cfe = _ratio_ppm(_hourly(tick, _carbon_free(inputs, plan, load)), _hourly(tick, load))
    flex_max = tick.energy_mj(inputs.flex_mw)
    flex = tick.energy_mj(plan.flex_mw)
    return [
        {
            **tick.step(s),
            "region": region,
            "green_surplus_mj": int(surplus[r, s]),
            "curtailed_mj": int(curtailed[r, s]),
            "curtailment_avoided_mj": int(avoided[r, s]),
            "ren_share_ppm": int(share[r, s]),
            "cfe_hourly_ppm": int(cfe[r, s]),
            "price_micro": round(float(plan.bus_price[r, s]) * _MICRO),
            "ci_average_mg_per_kwh": round(float(plan.ci_average[r, s]) * _MG_PER_KG),
            "ci_marginal_mg_per_kwh": round(float(plan.ci_marginal[r, s]) * _MG_PER_KG),
            "flex_min_mj": int(flex[r, s]),
            "flex_max_mj": int(flex_max[r, s]),
            "flex_deadline_ms": inputs.flex_deadline_ms.get(region),
            "gap_rel": float(plan.gap_rel),
            "status": status_text(plan, r),
            "stale_inputs": inputs.stale[r],
        }
        for r, region in enumerate(inputs.regions)
        for s in range(tick.domain.steps)
    ]


def _left_alone(inputs: Inputs) -> F64:
    """[R, T] MW of wind and sun that load and exports that pay could not take by themselves."""
    export = np.maximum(inputs.series("export_max_mw") - reserve_of(inputs, "reserve_down"), 0.0)
    export = np.where(inputs.series("export_price_per_mwh") > 0, export, 0.0)
    left: F64 = inputs.series("ren_avail_mw") - inputs.series("load_mw") - export
    return np.maximum(left, 0.0)


def _carbon_free(inputs: Inputs, plan: Dispatch, load_mw: F64) -> F64:
    """[R, T] MW of the load that are met without carbon; of imports as far as the grid says so."""
    matched = np.minimum(plan.ren_used_mw + _clean_supply(inputs, plan), load_mw)
    residual = np.minimum(plan.import_mw, load_mw - matched)
    met: F64 = matched + inputs.series("grid_cfe_ppm") / _PPM * residual
    return met


def _clean_supply(inputs: Inputs, plan: Dispatch) -> F64:
    """[R, T] MW of units that say they emit nothing."""
    clean = np.zeros_like(plan.import_mw)
    for r, units in enumerate(inputs.supplies):
        for k, unit in enumerate(units):
            if unit.get("ci_kg_per_kwh") == 0:
                clean[r] += plan.supply_mw[r, k]
    return clean


def _hourly(tick: Tick, power_mw: F64) -> F64:
    """[R, T] the sum over the steps of the horizon that begin in the same hour as the step."""
    hour = (tick.tick_ms + np.arange(tick.domain.steps) * tick.step_ms) // _MS_PER_HOUR
    begins = np.diff(hour, prepend=hour[0] - 1) > 0
    sums = np.add.reduceat(power_mw, np.flatnonzero(begins), axis=1)
    return np.ascontiguousarray(sums[:, np.cumsum(begins) - 1])


def _ratio_ppm(part: F64, whole: F64) -> Any:
    ratio = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return np.rint(ratio * _PPM).astype(np.int64)
