"""The tick's balance: a domain's regions, storages, units and links as a network to solve.

Step s covers tick + s x dt. A region without a row for a step repeats its last known one; a region
whose newest row ended before the tick is stale, and its signals say so.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.balance import Network
from schemas.registry import Domain
from streams.dispatch.state import Market, Row

F64 = npt.NDArray[np.float64]

_MS_PER_HOUR = 3_600_000
_PPM = 1_000_000
_SHARE_OF = {"reserve_up": "load_mw", "reserve_down": "ren_avail_mw"}


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the balance of a tick is made from, before the compute load."""

    regions: tuple[str, ...]
    rows: list[list[Row]]  # [R][T] the region row of each step
    stale: tuple[bool, ...]  # [R]
    storages: list[list[Row]]  # [R][.] by id
    supplies: list[list[Row]]  # [R][.] by id
    links: list[Row]
    flex_mw: F64  # [R, T] limit of the deferrable load
    flex_mwh: F64  # [R] to be served within the horizon
    flex_deadline_ms: dict[str, int]

    def series(self, name: str, default: float = 0.0) -> F64:
        """One column of the region rows, [R, T]."""
        return np.array(
            [[row.get(name, default) for row in steps] for steps in self.rows], np.float64
        )


def inputs_of(market: Market, domain: Domain, tick_ms: int) -> Inputs:
    """Everything known at the tick for the steps of its horizon."""
    steps, dt = domain.steps, domain.tick_ms
    known = [r for r in sorted(market.regions) if market.region_at(r, tick_ms) is not None]
    rows = [
        [row for s in range(steps) if (row := market.region_at(r, tick_ms + s * dt)) is not None]
        for r in known
    ]
    links = [
        link for link in market.of("link") if link["region"] in known and link["to_region"] in known
    ]
    flex_mw, flex_mwh, deadlines = _requests(market, domain, tick_ms, known)
    return Inputs(
        tuple(known),
        rows,
        tuple(steps_[0]["end_ms"] <= tick_ms for steps_ in rows),
        [[s for s in market.of("storage") if s["region"] == r] for r in known],
        [[s for s in market.of("supply") if s["region"] == r] for r in known],
        links,
        flex_mw,
        flex_mwh,
        deadlines,
    )


def _requests(
    market: Market, domain: Domain, tick_ms: int, regions: list[str]
) -> tuple[F64, F64, dict[str, int]]:
    """Flexible load: the open requests of a region are served as one."""
    steps, dt = domain.steps, domain.tick_ms
    limit, energy = np.zeros((len(regions), steps)), np.zeros(len(regions))
    deadlines: dict[str, int] = {}
    for request in market.of("request"):
        if request["region"] not in regions or request["energy_mwh"] <= 0:
            continue
        r = regions.index(request["region"])
        first = max(0, -(-(request["start_ms"] - tick_ms) // dt))
        last = min(steps, (request["end_ms"] - tick_ms) // dt)
        if first >= last:
            continue
        limit[r, first:last] += request["power_max_mw"]
        energy[r] += request["energy_mwh"]
        deadlines[regions[r]] = min(request["end_ms"], deadlines.get(regions[r], 2**62))
    return limit, energy, deadlines


def network_of(market: Market, domain: Domain, inputs: Inputs, compute_mw: F64) -> Network:
    """The kernel's columns: MW, MWh, currency per MWh, kg CO2 per kWh."""
    index = {region: i for i, region in enumerate(inputs.regions)}
    storages, supplies = inputs.storages, inputs.supplies
    return Network.of(
        regions=inputs.regions,
        dt_h=domain.tick_ms / _MS_PER_HOUR,
        load_mw=inputs.series("load_mw") + compute_mw,
        ren_avail_mw=inputs.series("ren_avail_mw"),
        import_max_mw=inputs.series("import_max_mw"),
        export_max_mw=inputs.series("export_max_mw"),
        import_price=inputs.series("import_price_per_mwh"),
        export_price=inputs.series("export_price_per_mwh"),
        grid_ci=inputs.series("ci_kg_per_kwh"),
        flex_max_mw=inputs.flex_mw,
        flex_energy_mwh=inputs.flex_mwh,
        reserve_up_mw=reserve_of(inputs, "reserve_up"),
        reserve_down_mw=reserve_of(inputs, "reserve_down"),
        supply_cap_mw=_padded(supplies, "cap_mw"),
        supply_cost=_padded(supplies, "cost_per_mwh"),
        supply_ci=_padded(supplies, "ci_kg_per_kwh"),
        storage_charge_mw=_padded(storages, "charge_max_mw"),
        storage_discharge_mw=_padded(storages, "discharge_max_mw"),
        storage_eta_c=_padded(storages, "eta_charge", 1.0),
        storage_eta_d=_padded(storages, "eta_discharge", 1.0),
        storage_retain=1.0,
        storage_soc0_mwh=_soc(market, storages),
        storage_soc_min_mwh=_padded(storages, "soc_min_mwh"),
        storage_soc_max_mwh=_padded(storages, "soc_max_mwh"),
        storage_wear=_padded(storages, "wear_per_mwh"),
        storage_terminal_value=_padded(storages, "terminal_value_per_mwh"),
        link_from=[index[link["region"]] for link in inputs.links],
        link_to=[index[link["to_region"]] for link in inputs.links],
        link_cap_mw=[link["cap_mw"] for link in inputs.links],
        link_loss=[link.get("loss", 0.0) for link in inputs.links],
        link_tariff=[link.get("cost_per_mwh", 0.0) for link in inputs.links],
        carbon_price=domain.carbon_price_per_t,
        voll=domain.voll_per_mwh,
    )


def reserve_of(inputs: Inputs, name: str) -> F64:
    """[R, T] MW: what is asked as power, and as a share of a forecast (its error's margin)."""
    share = inputs.series(f"{name}_ppm") / _PPM
    return inputs.series(f"{name}_mw") + share * inputs.series(_SHARE_OF[name])


def _padded(things: list[list[Row]], name: str, default: float = 0.0) -> F64:
    """[R, most things of a region]; missing fields and places hold the default."""
    width = max(map(len, things), default=0)
    table = np.full((len(things), width), default)
    for r, row in enumerate(things):
        for k, thing in enumerate(row):
            table[r, k] = thing.get(name, default)
    return table


def _soc(market: Market, storages: list[list[Row]]) -> F64:
    soc = _padded(storages, "soc_mwh")
    for r, row in enumerate(storages):
        for k, storage in enumerate(row):
            soc[r, k] = market.soc_mwh[storage["id"]]
    return soc
