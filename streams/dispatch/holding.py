"""A region whose input is late keeps its last good plan: storage and deferrable load as planned.

What has a memory is held, and enters the balance as load; imports, units, links and wind and sun
follow from it, so that the tick still balances and the other regions are planned anew. A held plan
lasts as long as its horizon; the first tick after the input's arrival plans the region again.
"""

from dataclasses import dataclass, replace

import numpy as np

from kernels.balance import Dispatch, Network, Status
from streams.dispatch.balancing import F64, Inputs
from streams.dispatch.decisions import Tick
from streams.dispatch.state import Market, Planned


@dataclass(frozen=True, slots=True)
class Held:
    """What the late regions do by their last good plans; zeros for the others."""

    late: tuple[bool, ...]  # [R] held
    charge_mw: F64  # [R, S, T]
    discharge_mw: F64  # [R, S, T]
    soc_mwh: F64  # [R, S, T]
    flex_mw: F64  # [R, T]

    def on(self, net: Network) -> Network:
        """The network that is left to plan: held storage and load are part of the load."""
        if not any(self.late):
            return net
        late = np.array(self.late)
        load = net.load_mw + self.charge_mw.sum(axis=1) + self.flex_mw
        load = load - self.discharge_mw.sum(axis=1)
        limits = (net.storage_charge_mw, net.storage_discharge_mw)
        charge, discharge = (np.where(late[:, None], 0.0, limit) for limit in limits)
        return replace(
            net,
            load_mw=np.where(late[:, None], np.maximum(load, 0.0), net.load_mw),
            ren_avail_mw=net.ren_avail_mw + np.where(late[:, None], np.maximum(-load, 0.0), 0.0),
            flex_max_mw=np.where(late[:, None], 0.0, net.flex_max_mw),
            flex_energy_mwh=np.where(late, 0.0, net.flex_energy_mwh),
            storage_charge_mw=charge,
            storage_discharge_mw=discharge,
            storage_soc0_mwh=np.where(late[:, None], 0.0, net.storage_soc0_mwh),
            storage_soc_min_mwh=np.where(late[:, None], 0.0, net.storage_soc_min_mwh),
            storage_soc_max_mwh=np.where(late[:, None], 0.0, net.storage_soc_max_mwh),
        )

    def into(self, plan: Dispatch) -> Dispatch:
        """The plan with what is held put back, and TIMEOUT_HELD on those regions."""
        if not any(self.late):
            return plan
        late = np.array(self.late)[:, None, None]
        return replace(
            plan,
            charge_mw=np.where(late, self.charge_mw, plan.charge_mw),
            discharge_mw=np.where(late, self.discharge_mw, plan.discharge_mw),
            soc_mwh=np.where(late, self.soc_mwh, plan.soc_mwh),
            flex_mw=np.where(late[:, :, 0], self.flex_mw, plan.flex_mw),
            status=tuple(
                flags | Status.TIMEOUT_HELD if held else flags
                for flags, held in zip(plan.status, self.late, strict=True)
            ),
        )


def held_of(market: Market, inputs: Inputs, tick: Tick) -> Held:
    """What holds at the tick: regions that are late and whose last plan reaches so far."""
    regions, steps = len(inputs.regions), tick.domain.steps
    width = max(map(len, inputs.storages), default=0)
    charge, discharge, soc = (np.zeros((regions, width, steps)) for _ in range(3))
    flex, late = np.zeros((regions, steps)), [False] * regions
    for r, region in enumerate(inputs.regions):
        planned = market.planned.get(region)
        if planned is None or not inputs.stale[r]:
            continue
        gone = (tick.tick_ms - planned.tick_ms) // tick.step_ms
        if not 0 < gone < len(planned.flex_mw):
            continue
        late[r] = True
        left = len(planned.flex_mw) - gone
        n = min(left, steps)
        flex[r, :n] = planned.flex_mw[gone : gone + n]
        for k, storage in enumerate(inputs.storages[r]):
            soc[r, k] = market.soc_mwh[storage["id"]]  # of one that came after the plan
            if storage["id"] in planned.storages:
                into, out, level = planned.storages[storage["id"]]
                charge[r, k, :n], discharge[r, k, :n] = into[gone:][:n], out[gone:][:n]
                soc[r, k, :n], soc[r, k, n:] = level[gone:][:n], level[-1]
    return Held(tuple(late), charge, discharge, soc, flex)


def keep(market: Market, inputs: Inputs, plan: Dispatch, tick: Tick) -> None:
    """Remember the plans of the regions whose input is in time and sound."""
    for r, region in enumerate(inputs.regions):
        if inputs.stale[r] or Status.BAD_INPUT in plan.status[r]:
            continue
        market.planned[region] = Planned(
            tick.tick_ms,
            plan.flex_mw[r].tolist(),
            {
                storage["id"]: (
                    plan.charge_mw[r, k].tolist(),
                    plan.discharge_mw[r, k].tolist(),
                    plan.soc_mwh[r, k].tolist(),
                )
                for k, storage in enumerate(inputs.storages[r])
            },
        )
