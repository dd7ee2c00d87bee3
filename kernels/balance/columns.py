"""Columns of the balance: what goes in (a network) and what comes out (a certified dispatch).

R regions, T steps of dt_h hours, K supply units and S storages a region (padded with zeros), L
links. Power in MW, energy in MWh, prices in currency per MWh, carbon in kg CO2 per kWh.
"""

from dataclasses import dataclass
from enum import Flag, auto
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.errors import FieldError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

STORAGES_MAX = 4


class Status(Flag):
    """What is special about a region's plan; nothing set = OK."""

    SOC0_CLAMPED = auto()  # the state of charge given lies outside its limits
    FLEX_UNMET = auto()  # the deferrable energy asked cannot all be served
    SHED = auto()  # load is not served
    BURN = auto()  # a storage charges and discharges at once: negative prices
    GAP_LOOSE = auto()  # the gap is above its tolerance
    BAD_INPUT = auto()  # left out: errors
    TIMEOUT_HELD = auto()  # set by who calls: the input is late, the last good plan is held
    RESERVE_SHORT = auto()  # the reserve asked is more than the limit it is kept from


class BadInput(NamedTuple):
    """One value that cannot be used; its region (or link) is left out of the solve."""

    region: str
    column: str
    step: int  # -1 where the column has no steps
    value: str
    message: str


@dataclass(frozen=True, slots=True)
class Network:
    """Regions, what they have, and the links between them. `Network.of` fills and checks."""

    regions: tuple[str, ...]
    dt_h: float
    load_mw: F64  # [R, T]
    ren_avail_mw: F64  # [R, T] wind and solar
    import_max_mw: F64  # [R, T]
    export_max_mw: F64  # [R, T]
    import_price: F64  # [R, T]
    export_price: F64  # [R, T]
    grid_ci: F64  # [R, T] of imports
    flex_max_mw: F64  # [R, T] deferrable load; 0 outside its window
    flex_energy_mwh: F64  # [R] to be served within the horizon
    reserve_up_mw: F64  # [R, T] of the import limit kept free
    reserve_down_mw: F64  # [R, T] of the export limit kept free
    supply_cap_mw: F64  # [R, K]
    supply_cost: F64  # [R, K]
    supply_ci: F64  # [R, K]
    storage_charge_mw: F64  # [R, S]
    storage_discharge_mw: F64  # [R, S]
    storage_eta_c: F64  # [R, S] stored / charged
    storage_eta_d: F64  # [R, S] discharged / taken out
    storage_retain: F64  # [R, S] kept over a step
    storage_soc0_mwh: F64  # [R, S] at the first step's start
    storage_soc_min_mwh: F64  # [R, S]
    storage_soc_max_mwh: F64  # [R, S]
    storage_wear: F64  # [R, S] per MWh discharged
    storage_terminal_value: F64  # [R, S] per MWh left at the end
    link_from: I64  # [L] index of the sending region
    link_to: I64  # [L]
    link_cap_mw: F64  # [L] of what is sent
    link_loss: F64  # [L] share that does not arrive
    link_tariff: F64  # [L] per MWh sent
    carbon_price: float  # per t CO2
    voll: float  # per MWh of load not served

    @classmethod
    def of(
        cls,
        *,
        regions: tuple[str, ...],
        dt_h: float,
        load_mw: npt.ArrayLike,
        carbon_price: float = 0.0,
        voll: float = 20_000.0,
        **columns: npt.ArrayLike,
    ) -> "Network":
        """Columns as arrays, lists or one number for all; raises FieldError on a shape or name."""
        load = np.ascontiguousarray(load_mw, np.float64)
        rows, steps = len(regions), load.shape[1] if load.ndim == 2 else 0
        widths = {"R": rows, "T": steps, "K": 0, "S": 0, "L": 0}
        for name, axes in _WIDE.items():
            if name in columns:
                column = columns[name]
                given = column.shape if isinstance(column, np.ndarray) else np.shape(column)
                if len(given) == len(axes):
                    widths[axes[-1]] = max(widths[axes[-1]], given[-1])
        for name, number in (("dt_h", dt_h), ("carbon_price", carbon_price), ("voll", voll)):
            if not isfinite(number):
                raise FieldError("not_finite", name, f"{number} is no number", "send a finite one")
        if dt_h <= 0 or steps < 1 or widths["S"] > STORAGES_MAX:
            raise FieldError(
                "shape",
                "load_mw",
                f"dt_h {dt_h}, {steps} steps, {widths['S']} storages",
                f"give dt_h > 0, load_mw [R, T] with T >= 1, at most {STORAGES_MAX} storages",
            )
        made: dict[str, Any] = {}
        shapes = {
            axes: tuple(widths[axis] for axis in axes) for axes in ("RT", "R", "RK", "RS", "L")
        }
        for name, (axes, default) in _DEFAULTS.items():
            kind = _INT64 if name in ("link_from", "link_to") else _FLOAT64
            made[name] = _shaped(name, columns.pop(name, default), kind, shapes[axes])
        if columns:
            raise FieldError("unknown_column", next(iter(columns)), "Network has no such column")
        return cls(
            regions=tuple(regions),
            dt_h=dt_h,
            load_mw=_shaped("load_mw", load, _FLOAT64, (rows, steps)),
            carbon_price=carbon_price,
            voll=voll,
            **made,
        )

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """R, T, K, S, L."""
        rows, steps = self.load_mw.shape
        return (
            rows,
            steps,
            self.supply_cap_mw.shape[1],
            self.storage_charge_mw.shape[1],
            len(self.link_cap_mw),
        )


# What a region and a site both have -> (axes behind its own, default); a site's flex has one more.
# In the order of the enum Given in _sites_columns.pxd.
OF_EACH: dict[str, tuple[str, float]] = {
    "ren_avail_mw": ("T", 0.0),
    "import_max_mw": ("T", 0.0),
    "export_max_mw": ("T", 0.0),
    "import_price": ("T", 0.0),
    "export_price": ("T", 0.0),
    "grid_ci": ("T", 0.0),
    "reserve_up_mw": ("T", 0.0),
    "reserve_down_mw": ("T", 0.0),
    "flex_max_mw": ("T", 0.0),
    "flex_energy_mwh": ("", 0.0),
    "supply_cap_mw": ("K", 0.0),
    "supply_cost": ("K", 0.0),
    "supply_ci": ("K", 0.0),
    "storage_charge_mw": ("S", 0.0),
    "storage_discharge_mw": ("S", 0.0),
    "storage_eta_c": ("S", 1.0),
    "storage_eta_d": ("S", 1.0),
    "storage_retain": ("S", 1.0),
    "storage_soc0_mwh": ("S", 0.0),
    "storage_soc_min_mwh": ("S", 0.0),
    "storage_soc_max_mwh": ("S", 0.0),
    "storage_wear": ("S", 0.0),
    "storage_terminal_value": ("S", 0.0),
}
_DEFAULTS: dict[str, tuple[str, float]] = {
    **{name: ("R" + axes, default) for name, (axes, default) in OF_EACH.items()},
    "link_from": ("L", 0),
    "link_to": ("L", 0),
    "link_cap_mw": ("L", 0.0),
    "link_loss": ("L", 0.0),
    "link_tariff": ("L", 0.0),
}


# columns that say how many units, storages and links there are
_WIDE = {name: axes for name, (axes, _) in _DEFAULTS.items() if axes[-1] in "KSL"}
_FLOAT64, _INT64 = np.dtype(np.float64), np.dtype(np.int64)


def _shaped(name: str, given: npt.ArrayLike, kind: Any, shape: tuple[int, ...]) -> Any:
    if isinstance(given, np.ndarray):
        if given.shape == shape and given.dtype == kind:
            return given if given.flags.c_contiguous else np.ascontiguousarray(given)
    elif isinstance(given, float | int):
        return np.full(shape, given, kind)
    try:
        return np.ascontiguousarray(np.broadcast_to(np.asarray(given, kind), shape))
    except ValueError:
        raise FieldError(
            "shape", name, f"{np.shape(given)} does not fit {shape}", "send one row for each"
        ) from None


@dataclass(frozen=True, slots=True)
class Prices:
    """Dual values: all that the certificate needs."""

    bus: F64  # [R, T] currency per MWh
    storage: F64  # [R, S, T] value of one more MWh stored at the step's end
    flex: F64  # [R] of the deferrable requirement


@dataclass(frozen=True, slots=True)
class Dispatch:
    """The plan of a network, its prices and its proof. A region left out has zeros."""

    import_mw: F64  # [R, T]
    export_mw: F64  # [R, T]
    ren_used_mw: F64  # [R, T]
    curtailed_mw: F64  # [R, T] = available - used, exactly
    supply_mw: F64  # [R, K, T]
    charge_mw: F64  # [R, S, T]
    discharge_mw: F64  # [R, S, T]
    soc_mwh: F64  # [R, S, T] at the step's end
    flex_mw: F64  # [R, T]
    shed_mw: F64  # [R, T]
    flow_mw: F64  # [L, T] as sent
    prices: Prices
    ci_average: F64  # [R, T] of what serves the load
    ci_marginal: F64  # [R, T] of one more MWh
    emissions_kg: F64  # [R, T] of imports and supply
    objective: float  # currency over the horizon
    lower_bound: float  # no plan costs less: from prices alone
    gap_rel: float  # (objective - lower_bound) / scale
    max_residual: float  # largest violation of a balance or storage row, MW or MWh
    status: tuple[Status, ...]  # [R]
    method: str
    errors: tuple[BadInput, ...] = ()

    @property
    def bus_price(self) -> F64:
        """[R, T] currency per MWh."""
        return self.prices.bus
