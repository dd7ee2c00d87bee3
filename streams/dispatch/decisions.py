"""The tick's decisions as rows: energies as integers, prices rounded once, proof beside them.

Energies are rounded half to even to mJ each; used is taken from available and curtailed is the
rest, so that the parts are the whole. Prices are int64 micro-currency per MWh.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from kernels.balance import Dispatch
from kernels.match import ANY, LIMITED, RESOURCES, Reason
from kernels.match.columns import COUNT
from schemas.registry import Domain
from schemas.units import MJ_PER_MWH
from streams.dispatch.balancing import F64, Inputs
from streams.dispatch.matching import Matched, running_of
from streams.dispatch.returns import said_of
from streams.dispatch.state import Market

Rows = list[dict[str, Any]]
Priced = tuple[str, str, int]  # product, id, start_ms

_MICRO = 1_000_000
_MS_PER_HOUR = 3_600_000


class Tick:
    """One tick of one domain: its times, and what every row of it carries."""

    def __init__(self, domain: Domain, tick_ms: int, revision: int = 0) -> None:
        self.domain, self.tick_ms, self.step_ms = domain, tick_ms, domain.tick_ms
        self.hours = domain.tick_ms / _MS_PER_HOUR
        self.revision = revision

    def head(self) -> dict[str, Any]:
        return {"tick_ms": self.tick_ms, "domain": self.domain.id}

    def step(self, s: int) -> dict[str, Any]:
        start_ms = self.tick_ms + s * self.step_ms
        head = {**self.head(), "revision": self.revision}
        return {**head, "start_ms": start_ms, "end_ms": start_ms + self.step_ms}

    def energy_mj(self, power_mw: F64) -> Any:
        """Mean power of a step in MW to mJ; never below zero."""
        mj = np.rint(np.maximum(power_mw, 0.0) * self.hours * MJ_PER_MWH)
        return mj.astype(np.int64)


def dispatch_rows(tick: Tick, inputs: Inputs, plan: Dispatch, compute_mw: F64) -> Rows:
    """A row a region and step of the plan."""
    available = tick.energy_mj(inputs.series("ren_avail_mw"))
    used = np.minimum(tick.energy_mj(plan.ren_used_mw), available)
    into, out = _link_flows(inputs, plan)
    energies = {
        "load_mj": tick.energy_mj(inputs.series("load_mw")),
        "compute_mj": tick.energy_mj(compute_mw),
        "ren_avail_mj": available,
        "ren_used_mj": used,
        "curtailed_mj": available - used,
        "supply_mj": tick.energy_mj(plan.supply_mw.sum(axis=1)),
        "import_mj": tick.energy_mj(plan.import_mw),
        "export_mj": tick.energy_mj(plan.export_mw),
        "charge_mj": tick.energy_mj(plan.charge_mw.sum(axis=1)),
        "discharge_mj": tick.energy_mj(plan.discharge_mw.sum(axis=1)),
        "soc_mj": np.rint(plan.soc_mwh.sum(axis=1) * MJ_PER_MWH).astype(np.int64),
        "flex_mj": tick.energy_mj(plan.flex_mw),
        "shed_mj": tick.energy_mj(plan.shed_mw),
        "link_in_mj": tick.energy_mj(into),
        "link_out_mj": tick.energy_mj(out),
    }
    emissions_g = np.rint(plan.emissions_kg * 1000).astype(np.int64)
    proof = proof_of(plan.objective, plan.lower_bound, plan.gap_rel)
    return [
        {
            **tick.step(s),
            "region": region,
            "step_index": s,
            **{name: int(table[r, s]) for name, table in energies.items()},
            "emissions_g": int(emissions_g[r, s]),
            **proof,
            "method": plan.method,
            "status": status_text(plan, r),
        }
        for r, region in enumerate(inputs.regions)
        for s in range(tick.domain.steps)
    ]


def status_text(plan: Dispatch, r: int) -> str:
    """The flags of a region, joined by |."""
    flags = [str(flag.name) for flag in plan.status[r]]
    return "|".join(flags) or "OK"


def proof_of(objective: float, lower_bound: float, gap_rel: float) -> dict[str, float]:
    return {
        "objective": float(objective),
        "lower_bound": float(lower_bound),
        "gap_rel": float(gap_rel),
    }


def _link_flows(inputs: Inputs, plan: Dispatch) -> tuple[F64, F64]:
    """What arrived in and was sent from each region, [R, T] in MW."""
    into, out = np.zeros_like(plan.import_mw), np.zeros_like(plan.import_mw)
    index = {region: i for i, region in enumerate(inputs.regions)}
    for n, link in enumerate(inputs.links):
        out[index[link["region"]]] += plan.flow_mw[n]
        into[index[link["to_region"]]] += plan.flow_mw[n] * (1 - link.get("loss", 0.0))
    return into, out


def energy_prices(tick: Tick, inputs: Inputs, plan: Dispatch) -> Rows:
    """The energy price of every region and step."""
    return [
        {
            **tick.step(s),
            "product": "energy",
            "id": region,
            "price_micro": round(float(plan.bus_price[r, s]) * _MICRO),
        }
        for r, region in enumerate(inputs.regions)
        for s in range(tick.domain.steps)
    ]


def short_prices(tick: Tick, matched: Matched, before: Iterable[Priced] = ()) -> Rows:
    """What one more unit is worth of what is short; zero where it was short `before`."""
    plan = matched.plan
    worth: dict[Priced, int] = dict.fromkeys(before, 0)
    for m, t, k in np.argwhere(plan.prices > 0).tolist():
        product = RESOURCES[k].rsplit("_", 1)[0]
        place = product, matched.sites[m]["id"], tick.step(t)["start_ms"]
        price = round(float(plan.prices[m, t, k]) * 1000 * _MICRO)
        worth[place] = max(price, worth.get(place, 0))  # a child may have several pools
    for q, t, k in np.argwhere(plan.quota_prices > 0).tolist():
        product = f"quota_{LIMITED[k].rsplit('_', 1)[0]}"
        place = product, matched.quotas[q], tick.step(t)["start_ms"]
        unit = 1 if k == COUNT else 1000
        worth[place] = round(float(plan.quota_prices[q, t, k]) * unit * _MICRO)
    return [
        {
            **tick.head(),
            "revision": tick.revision,
            "product": product,
            "id": thing,
            "start_ms": start_ms,
            "end_ms": start_ms + tick.step_ms,
            "price_micro": price,
        }
        for (product, thing, start_ms), price in worth.items()
    ]


def placement_rows(tick: Tick, matched: Matched) -> Rows:
    """A row a job: placed (starts now), planned (starts later) or rejected, with the reason."""
    plan = matched.plan
    proof = proof_of(plan.primal, plan.dual, plan.gap_rel)
    rows = []
    for i, job in enumerate(matched.jobs):
        row = {
            **tick.head(),
            "job_id": job["id"],
            "account_id": job["account_id"],
            "state": "rejected",
            "reason": Reason(plan.reason[i]).name,
            "detail": detail_of(matched, i),
            "cost_micro": int(plan.cost_micro[i]),
            **proof,
            "revision": tick.revision,
        }
        if plan.site[i] != ANY:
            runs = running_of(matched, i, tick.tick_ms, tick.step_ms)
            row |= {
                "state": "placed" if plan.slot[i] == 0 else "planned",
                "site_id": runs.site_id,
                "start_ms": runs.start_ms,
                "end_ms": runs.end_ms,
            }
        rows.append(row)
    return rows


def returned_row(market: Market, domain: Domain, job: dict[str, Any]) -> dict[str, Any]:
    """The placement of a job that a child has just returned, as a revision of the last tick's."""
    revision = 1  # a tick that is not open is not decided again
    if market.open is not None:
        market.open.revision += 1
        revision = market.open.revision
    reason, detail = said_of(job)
    return {
        **Tick(domain, market.last_tick_ms).head(),
        "job_id": job["id"],
        "account_id": job["account_id"],
        "state": "rejected",
        "reason": reason.name,
        "detail": detail,
        "cost_micro": 0,
        **market.proof,
        "revision": revision,
    }


def detail_of(matched: Matched, i: int) -> str:
    """The binding constraint, the child that returned the job, or field and value of a bad row."""
    plan = matched.plan
    if i in matched.barred:
        return said_of(matched.jobs[i])[1]
    bad = [e for e in plan.errors if e.table == "jobs" and e.row == i]
    if bad:
        return "; ".join(f"{e.column}={e.value}: {e.message}" for e in bad)
    parts = []
    if plan.reason_resource[i] != ANY:
        parts.append(LIMITED[plan.reason_resource[i]])
    if plan.reason_quota[i] != ANY:
        parts.append(f"of quota {matched.quotas[plan.reason_quota[i]]}")
    if plan.reason_site[i] != ANY:
        parts.append(f"at {matched.sites[plan.reason_site[i]]['id']}")
    return " ".join(parts)


def alert_rows(tick: Tick, market: Market, raised: dict[str, str], at_ms: int) -> Rows:
    """Alerts that begin or end at `at_ms`; `raised` is kind/id -> detail as of now."""
    rows = []
    for name, detail in sorted(raised.items()):
        if name not in market.alerts:
            market.alerts[name] = at_ms
            rows.append(_alert(tick, name, at_ms, None, detail))
    for name in sorted(market.alerts.keys() - raised.keys()):
        rows.append(_alert(tick, name, market.alerts.pop(name), at_ms, "is over"))
    return rows


def _alert(
    tick: Tick, name: str, raised_ms: int, cleared_ms: int | None, detail: str
) -> dict[str, Any]:
    kind, _, thing = name.partition("/")
    return {
        **tick.head(),
        "revision": tick.revision,
        "kind": kind,
        "id": thing,
        "raised_ms": raised_ms,
        "cleared_ms": cleared_ms,
        "detail": detail,
    }
