"""One tick: what is known becomes decisions, and the state of the domain moves on.

Where a region's input is late, the tick stays open: a row of that region that covers it plans the
tick again as of its own time, as a revision of the same rows. Jobs stay where they were placed, and
news of other things waits for the next tick. The tick of a child domain stays open for the deals of
its parent too: each matches again what has not started.
"""

from functools import partial
from typing import Any

import numpy as np

from kernels.balance import Dispatch, Status, balance
from kernels.match import ANY, Reason
from schemas import ALERTS, DISPATCH, MARKET, PLACEMENTS, PRICES, SIGNALS, Topic
from schemas.registry import Domain, Policy
from streams.dispatch import decisions
from streams.dispatch.balancing import F64, Inputs, inputs_of, network_of, reserve_of
from streams.dispatch.hierarchy import (
    ALONE,
    Family,
    answer,
    deal,
    hand_down,
    offer_up,
    sent,
)
from streams.dispatch.holding import held_of, keep
from streams.dispatch.matching import (
    FINAL,
    WAITING_MAX_MS,
    Matched,
    compute_mw,
    match_tick,
    running_of,
)
from streams.dispatch.offers import Headroom, index_of, place_of
from streams.dispatch.returns import give_back
from streams.dispatch.signals import signal_rows
from streams.dispatch.state import Market, Open, Row, Running

Decided = dict[Topic, list[dict[str, Any]]]

_SHED_MW = 1e-6  # less is rounding
_ALERTED = {
    Status.FLEX_UNMET: "its requests cannot all be served by their deadlines",
    Status.RESERVE_SHORT: "its grid connection is smaller than the reserve asked",
    Status.GAP_LOOSE: "the plan is not proven to the tolerance",
}


def decide(
    market: Market,
    domain: Domain,
    tick_ms: int,
    policy: Policy | None = None,
    family: Family = ALONE,
) -> Decided:
    """Balance without new jobs, match at its prices, balance with the matched load."""
    market.forget(tick_ms)
    market.last_tick_ms, market.open = tick_ms, None
    return _decided(market, market, decisions.Tick(domain, tick_ms), policy, family, tick_ms)


def decide_again(
    market: Market, domain: Domain, policy: Policy | None, family: Family, at_ms: int
) -> Decided:
    """Decide the open tick again, as it found things, with what a parent has handed down since.

    What has started stays; the other jobs that the tick knew are matched again.
    """
    opened = market.open
    assert opened is not None
    opened.revision += 1
    found, tick = opened.found, decisions.Tick(domain, opened.tick_ms, opened.revision)
    found.jobs = {i: job for i, job in market.jobs.items() if job["received_ms"] <= tick.tick_ms}
    found.running, found.above, found.below = market.running, market.above, market.below
    rows = _decided(market, found, tick, policy, family, at_ms)
    found.jobs, found.running, found.above, found.below = {}, [], None, {}
    return rows


def _decided(
    market: Market,
    found: Market,
    tick: decisions.Tick,
    policy: Policy | None,
    family: Family,
    at_ms: int,
) -> Decided:
    """The tick as of what was `found`; what comes of it is carried out in `market`."""
    domain, tick_ms = tick.domain, tick.tick_ms
    inputs = inputs_of(found, domain, tick_ms)
    if not inputs.regions:
        return {}
    held = held_of(found, inputs, tick)
    base_mw = _compute(market.running, inputs, tick)
    before = held.into(balance(held.on(network_of(found, domain, inputs, base_mw))))
    headroom = headroom_of(inputs, before)
    matched = match_tick(found, domain, tick_ms, headroom, policy, family)
    started, planned = _starts(matched, tick)
    load_mw = _compute([*market.running, *started, *planned], inputs, tick)
    plan = before
    if started or planned:
        network = held.on(network_of(found, domain, inputs, load_mw))
        plan = held.into(balance(network, before))
    its = matched.plan
    market.proof = decisions.proof_of(its.primal, its.dual, its.gap_rel)
    short = decisions.short_prices(tick, matched, market.open.priced if market.open else ())
    raised = _raised(found, inputs, plan, tick_ms)
    rows = {
        DISPATCH: decisions.dispatch_rows(tick, inputs, plan, load_mw),
        PLACEMENTS: decisions.placement_rows(tick, matched),
        PRICES: decisions.energy_prices(tick, inputs, plan) + short,
        SIGNALS: signal_rows(tick, inputs, plan, load_mw),
        ALERTS: decisions.alert_rows(tick, market, raised, at_ms),
    }
    late = [region for region, is_late in zip(inputs.regions, inputs.stale, strict=True) if is_late]
    if market.open is None and (late or family.parent):
        market.open = Open(tick_ms, late, market.as_found(), {})
    if market.open is not None:
        market.open.compute_mw = dict(zip(inputs.regions, load_mw.tolist(), strict=True))
        market.open.priced = [(row["product"], row["id"], row["start_ms"]) for row in short]
    _carry_out(market, found, inputs, plan, tick)
    detail_of = partial(decisions.detail_of, matched)
    returned = give_back(market, family.parent, matched.jobs, matched.plan, detail_of)
    _start(market, matched, started, tick)
    keep(market, inputs, plan, tick)
    rows[MARKET] = [sent(market, domain, family.parent or "", tick_ms, row) for row in returned]
    rows[MARKET] += _to_family(market, matched, started, planned, tick, policy, family)
    return rows


def _to_family(
    market: Market,
    matched: Matched,
    started: list[Running],
    planned: list[Running],
    tick: decisions.Tick,
    policy: Policy | None,
    family: Family,
) -> list[Row]:
    """What the children get, and what the parent is told."""
    rows_of = {job["id"]: job for job in matched.jobs}
    index = index_of(matched.sites)
    jobs: dict[str, list[tuple[Row, Row]]] = {}
    for run in started:
        site = matched.sites[place_of(run, index)]
        jobs.setdefault(run.site_id, []).append((rows_of[run.job_id], site))
    deals = deal(
        market,
        tick.domain,
        policy,
        family,
        matched.shared,
        matched.places,
        matched.granted,
        planned,
    )
    handed = hand_down(market, tick.domain, tick.tick_ms, deals, jobs)
    told = answer(market, tick.domain, family)
    return handed + told + offer_up(market, tick.domain, family, tick.tick_ms, matched.pools)


def revise(market: Market, domain: Domain, row: Row) -> Decided:
    """Plan the open tick again with a row that it was waiting for; step 0 is carried out anew."""
    opened = market.open
    assert opened is not None
    found = opened.found
    found.take(row)
    opened.revision += 1
    tick = decisions.Tick(domain, opened.tick_ms, opened.revision)
    inputs = inputs_of(found, domain, tick.tick_ms)
    load_mw = np.zeros((len(inputs.regions), domain.steps))
    for r, region in enumerate(inputs.regions):  # as many steps as then, should the domain change
        mw = opened.compute_mw[region][: domain.steps]
        load_mw[r, : len(mw)] = mw
    held = held_of(found, inputs, tick)
    plan = held.into(balance(held.on(network_of(found, domain, inputs, load_mw))))
    raised = _raised(found, inputs, plan, tick.tick_ms)
    rows = {
        DISPATCH: decisions.dispatch_rows(tick, inputs, plan, load_mw),
        PRICES: decisions.energy_prices(tick, inputs, plan),
        SIGNALS: signal_rows(tick, inputs, plan, load_mw),
        ALERTS: decisions.alert_rows(tick, market, raised, row["received_ms"]),
    }
    _carry_out(market, found, inputs, plan, tick)
    keep(market, inputs, plan, tick)
    return rows


def headroom_of(inputs: Inputs, plan: Dispatch) -> Headroom:
    """What the grid could still give to compute, region by region, and at what price.

    A region that the balance refused has no price, and gives nothing.
    """
    load_mw, green_mw = inputs.series("load_mw"), inputs.series("ren_avail_mw")
    units_mw = np.array([[sum(u["cap_mw"] for u in units)] for units in inputs.supplies])
    imports_mw = inputs.series("import_max_mw") - reserve_of(inputs, "reserve_up")
    reach_mw = green_mw + np.maximum(imports_mw, 0.0) + units_mw
    sound = np.array([[Status.BAD_INPUT not in flags] for flags in plan.status])
    return Headroom(
        inputs.regions,
        np.where(sound, np.maximum(reach_mw - load_mw, 0.0), 0.0),
        np.where(sound, np.maximum(green_mw - load_mw, 0.0), 0.0),
        plan.bus_price,
        plan.ci_marginal,
    )


def _compute(running: list[Running], inputs: Inputs, tick: decisions.Tick) -> F64:
    return compute_mw(running, inputs.regions, tick.tick_ms, tick.domain.steps, tick.step_ms)


def _starts(matched: Matched, tick: decisions.Tick) -> tuple[list[Running], list[Running]]:
    """Jobs that start now, and jobs planned for a later step."""
    placed = np.flatnonzero(matched.plan.site != ANY)
    runs = [(i, running_of(matched, int(i), tick.tick_ms, tick.step_ms)) for i in placed]
    started = [run for i, run in runs if matched.plan.slot[i] == 0]
    return started, [run for i, run in runs if matched.plan.slot[i] > 0]


def _raised(market: Market, inputs: Inputs, plan: Dispatch, tick_ms: int) -> dict[str, str]:
    """kind/id -> detail of what is wrong now."""
    raised = {
        f"OUTAGE/{site['id']}": "site is down"
        for site in market.of("offer")
        if market.is_down(site["id"], tick_ms)
    }
    for r, region in enumerate(inputs.regions):
        if inputs.stale[r]:
            raised[f"STALE_INPUTS/{region}"] = "its newest state ended before the tick"
        for flag, detail in _ALERTED.items():
            if flag in plan.status[r]:
                raised[f"{flag.name}/{region}"] = detail
        if plan.shed_mw[r, 0] > _SHED_MW:
            raised[f"SHED/{region}"] = f"{plan.shed_mw[r, 0]:.3f} MW not served"
    for error in plan.errors:
        raised[f"BAD_INPUT/{error.region}"] = f"{error.column}={error.value}: {error.message}"
    return raised


def _carry_out(
    market: Market, found: Market, inputs: Inputs, plan: Dispatch, tick: decisions.Tick
) -> None:
    """Step 0 happens to storages and flexible load, from how the tick found them."""
    for r, storages in enumerate(inputs.storages):
        for k, storage in enumerate(storages):
            if market.goes_by_plan("storage", storage["id"]):
                market.soc_mwh[storage["id"]] = float(plan.soc_mwh[r, k, 0])
    for r, region in enumerate(inputs.regions):
        _serve(market, found, region, float(plan.flex_mw[r, 0]) * tick.hours, tick)


def _serve(
    market: Market, found: Market, region: str, energy_mwh: float, tick: decisions.Tick
) -> None:
    """Take the served energy off the region's open requests, earliest deadline first."""
    requests = [q for q in found.of("request") if q["region"] == region]
    for request in sorted(requests, key=lambda q: (q["end_ms"], q["id"])):
        if request["start_ms"] <= tick.tick_ms < request["end_ms"]:
            served = min(energy_mwh, request["energy_mwh"])
            if market.goes_by_plan("request", request["id"]):
                left = {"energy_mwh": request["energy_mwh"] - served}
                market.things["request"][request["id"]] = request | left
            energy_mwh -= served


def _start(market: Market, matched: Matched, started: list[Running], tick: decisions.Tick) -> None:
    """Jobs that start hold their resources; final rejections leave the queue."""
    for run in started:
        run.deal = market.dealt + 1  # the next one, if a child gets it
        market.running.append(run)
        market.decided[run.job_id] = tick.tick_ms
        del market.jobs[run.job_id]
    for i, job in enumerate(matched.jobs):
        reason = Reason(matched.plan.reason[i])
        waited_ms = tick.tick_ms - max(job.get("start_ms", 0), job["received_ms"])
        if job["id"] not in market.jobs:  # started, or returned to the parent
            continue
        if reason in FINAL or (reason != Reason.PLACED and waited_ms > WAITING_MAX_MS):
            market.decided[job["id"]] = tick.tick_ms
            del market.jobs[job["id"]]
