"""Columns of a batch of sites: what goes in (Sites) and what comes out (SitePlans).

N sites that share T steps, each with K supply units, S storages and F deferrable requirements
(padded with zeros). Power in MW, energy in MWh, prices in currency per MWh, carbon in kg CO2 per
kWh. No site knows of another.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.balance.columns import F64, OF_EACH, STORAGES_MAX, Status
from schemas.errors import FieldError

FLEXES_MAX = 4
LIMIT = 1e12  # of any value: products of two stay far from overflow
EFFICIENCY_MIN = 1e-6
HOURS_MIN = 1e-6
GAP_MAX = 1e-9  # of the scale: a gap or a residual above it is flagged
UNMET_MIN = 1e-12  # of what is asked: less unmet energy is a residual of its row, not a cost
SEEN = 1e-9  # of what could be: less of shedding, burning or unmet energy is rounding

DP, HIGHS = 0, 1
METHODS = ("dp", "highs")

U8 = npt.NDArray[np.uint8]


class BadSite(NamedTuple):
    """One value that cannot be used; its site is left out of the solve."""

    row: int
    column: str
    step: int  # -1 where the column has no steps
    value: str
    message: str


@dataclass(frozen=True, slots=True)
class Sites:
    """N sites. `Sites.of` fills what is not given and checks the shapes; values are checked later.

    The order of the columns is that of the enum Given in _sites_columns.pxd.
    """

    load_mw: F64  # [N, T]
    ren_avail_mw: F64  # [N, T] wind and solar
    import_max_mw: F64  # [N, T]
    export_max_mw: F64  # [N, T]
    import_price: F64  # [N, T]
    export_price: F64  # [N, T]
    grid_ci: F64  # [N, T] of imports
    reserve_up_mw: F64  # [N, T] of the import limit kept free
    reserve_down_mw: F64  # [N, T] of the export limit kept free
    flex_max_mw: F64  # [N, F, T] deferrable load; 0 outside its window
    flex_energy_mwh: F64  # [N, F] to be served within the horizon
    supply_cap_mw: F64  # [N, K]
    supply_cost: F64  # [N, K]
    supply_ci: F64  # [N, K]
    storage_charge_mw: F64  # [N, S]
    storage_discharge_mw: F64  # [N, S]
    storage_eta_c: F64  # [N, S] stored / charged
    storage_eta_d: F64  # [N, S] discharged / taken out
    storage_retain: F64  # [N, S] kept over a step
    storage_soc0_mwh: F64  # [N, S] at the first step's start
    storage_soc_min_mwh: F64  # [N, S]
    storage_soc_max_mwh: F64  # [N, S]
    storage_wear: F64  # [N, S] per MWh discharged
    storage_terminal_value: F64  # [N, S] per MWh left at the end
    dt_h: F64  # [N]
    carbon_price: F64  # [N] per t CO2
    voll: F64  # [N] per MWh of load or deferrable energy not served

    @classmethod
    def of(
        cls, *, load_mw: npt.ArrayLike, dt_h: npt.ArrayLike, **columns: npt.ArrayLike
    ) -> "Sites":
        """Columns as arrays, lists or one number for all; raises FieldError on a shape or name.

        A column of one storage or requirement may leave its axis out: [N] for [N, 1], [N, T] for
        [N, 1, T]. Units that are the same for all sites: [K].
        """
        load = np.ascontiguousarray(load_mw, np.float64)
        if load.ndim != 2 or load.shape[1] < 1:
            raise FieldError("shape", "load_mw", f"{load.shape}", "give load_mw [N, T] with T >= 1")
        given = {"load_mw": load, "dt_h": dt_h, **columns}
        widths = {"N": load.shape[0], "T": load.shape[1], **_widths(given)}
        if widths["S"] > STORAGES_MAX or widths["F"] > FLEXES_MAX:
            raise FieldError(
                "shape",
                "storage_charge_mw" if widths["S"] > STORAGES_MAX else "flex_energy_mwh",
                f"{widths['S']} storages, {widths['F']} requirements a site",
                f"give at most {STORAGES_MAX} storages and {FLEXES_MAX} requirements",
            )
        made = {
            name: _shaped(name, given.pop(name, default), tuple(widths[axis] for axis in axes))
            for name, (axes, default) in COLUMNS.items()
        }
        if given:
            raise FieldError("unknown_column", next(iter(given)), "Sites has no such column")
        return cls(**made)

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """N, T, K, S, F."""
        return (
            *self.load_mw.shape,
            self.supply_cap_mw.shape[1],
            self.storage_charge_mw.shape[1],
            self.flex_energy_mwh.shape[1],
        )

    def take(self, rows: Any) -> "Sites":
        """The sites of these rows, in that order."""
        return Sites(*(np.ascontiguousarray(getattr(self, name)[rows]) for name in COLUMNS))


# name -> (axes, default), in the order of the fields
COLUMNS: dict[str, tuple[str, float]] = {
    "load_mw": ("NT", 0.0),
    **{
        name: (("NF" if name.startswith("flex") else "N") + axes, default)
        for name, (axes, default) in OF_EACH.items()
    },
    "dt_h": ("N", 1.0),
    "carbon_price": ("N", 0.0),
    "voll": ("N", 20_000.0),
}
MAY_BE_NEGATIVE = (
    "import_price",
    "export_price",
    "supply_cost",
    "storage_terminal_value",
    "storage_soc0_mwh",  # clamped
)
EFFICIENCIES = ("storage_eta_c", "storage_eta_d", "storage_retain")


def _widths(given: dict[str, npt.ArrayLike]) -> dict[str, int]:
    """K, S and F: what the columns given have; 1 where one is given without its axis."""
    widths = {"K": 0, "S": 0, "F": 0}
    for name, column in given.items():
        axes = COLUMNS.get(name, ("", 0.0))[0]
        for axis in "KSF":
            if axis in axes:
                shape = np.shape(column)
                own = axis == "K" and len(shape) == 1  # one list of units for all sites
                whole = own or len(shape) == len(axes)
                at = 0 if own else axes.index(axis)
                widths[axis] = max(widths[axis], shape[at] if whole else 1)
    return widths


def _shaped(name: str, given: npt.ArrayLike, shape: tuple[int, ...]) -> F64:
    axes = COLUMNS[name][0]
    array = np.asarray(given, np.float64)
    if array.ndim and array.ndim == len(axes) - 1 and len(axes) > 1 and axes[1] in "SF":
        array = np.expand_dims(array, 1)
    try:
        return np.ascontiguousarray(np.broadcast_to(array, shape))
    except ValueError:
        raise FieldError(
            "shape", name, f"{np.shape(given)} does not fit {shape}", "send one row for each"
        ) from None


@dataclass(frozen=True, slots=True)
class SitePlans:
    """The plan of each site with its prices and its proof. A site left out has zeros.

    The order of the columns is that of the enum Found in _sites_columns.pxd.
    """

    import_mw: F64  # [N, T]
    export_mw: F64  # [N, T]
    ren_used_mw: F64  # [N, T]
    curtailed_mw: F64  # [N, T] = available - used, exactly
    shed_mw: F64  # [N, T]
    flex_mw: F64  # [N, F, T]
    supply_mw: F64  # [N, K, T]
    charge_mw: F64  # [N, S, T]
    discharge_mw: F64  # [N, S, T]
    soc_mwh: F64  # [N, S, T] at the step's end
    bus_price: F64  # [N, T] currency per MWh
    storage_value: F64  # [N, S, T] of one more MWh stored at the step's end
    mu: F64  # [N, F] price of the deferrable requirement
    emissions_kg: F64  # [N, T] of imports and supply
    objective: F64  # [N] currency over the horizon
    lower_bound: F64  # [N] no plan of the site costs less: from prices alone
    gap_rel: F64  # [N] (objective - lower_bound) / max(1, sum |c x|)
    max_residual: F64  # [N] largest violation of a row or a bound, MW or MWh
    status: U8  # [N] bits of Status
    method: U8  # [N] index into METHODS: how the plan was found
    errors: tuple[BadSite, ...] = ()

    def flags(self, row: int) -> Status:
        """The status of one site."""
        return Status(int(self.status[row]))


PLAN_AXES: dict[str, str] = {
    "import_mw": "NT",
    "export_mw": "NT",
    "ren_used_mw": "NT",
    "curtailed_mw": "NT",
    "shed_mw": "NT",
    "flex_mw": "NFT",
    "supply_mw": "NKT",
    "charge_mw": "NST",
    "discharge_mw": "NST",
    "soc_mwh": "NST",
    "bus_price": "NT",
    "storage_value": "NST",
    "mu": "NF",
    "emissions_kg": "NT",
    "objective": "N",
    "lower_bound": "N",
    "gap_rel": "N",
    "max_residual": "N",
}
