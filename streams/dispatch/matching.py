"""The tick's matching: waiting jobs and offered sites as columns, and the plan as placements.

Slots are the tick's steps. What runs already has its resources set aside. A job that starts in
slot 0 is carried out; a later start is a plan, and the job is matched again at the next tick. A
rejected job waits too: room, power, prices, sites and paths may be others at the next tick. Only a
deadline that cannot be met and a bad row are final.
"""

from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from kernels.match import (
    CLASSES,
    PRECISIONS,
    RESOURCES,
    Jobs,
    Network,
    Plan,
    Policy,
    Reason,
    Series,
    Sites,
    match,
)
from kernels.match.columns import ANY, FACILITY_SIDE, PPM
from schemas import registry
from schemas.policy import Part
from schemas.registry import Domain
from streams.dispatch.hierarchy import ALONE, Family, for_own_sites, handed_to
from streams.dispatch.state import Market, Row, Running
from streams.policy import Places, Taken, parts_of, terms_of, weighed, without

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

WAITING_MAX_MS = 7 * 86_400_000  # a job waits so long after its release and its receipt
FINAL = (Reason.REJECTED_DEADLINE, Reason.BAD_INPUT)
_POWER, _GREEN = RESOURCES.index("power_w"), RESOURCES.index("green_w")
_W_PER_MW = 1_000_000
_POWER_MAX_MW = 1e12  # what has no limit is offered as this


@dataclass(frozen=True, slots=True)
class Headroom:
    """What the balance leaves for compute: [R, T] by region and step."""

    regions: tuple[str, ...]
    power_mw: F64  # could be drawn beyond the load
    green_mw: F64  # wind and solar beyond the load
    price_per_mwh: F64
    ci_kg_per_kwh: F64


@dataclass(frozen=True, slots=True)
class Matched:
    """The jobs and sites of a tick, in the order of the plan."""

    jobs: list[Row]
    sites: list[Row]
    plan: Plan
    quotas: list[str]  # ids
    places: Places
    shared: list[Part]  # what there is to hand on to children: of the policy, and of its parent


def match_tick(
    market: Market,
    domain: Domain,
    tick_ms: int,
    headroom: Headroom,
    policy: registry.Policy | None = None,
    family: Family = ALONE,
) -> Matched:
    """Match what waits and may start within the horizon, under the domain's policy if it has one.

    What runs already has its resources and its part of the quotas set aside. What a parent handed
    down binds as well, and what children may still use is not there for the domain's own sites.
    """
    last_ms = tick_ms + (domain.steps - 1) * domain.tick_ms
    jobs = [job for _, job in sorted(market.jobs.items()) if job.get("start_ms", 0) <= last_ms]
    sites = market.of("offer")
    region_of = {region: i for i, region in enumerate(headroom.regions)}
    site_of = {site["id"]: i for i, site in enumerate(sites)}
    columns = _sites(market, domain, tick_ms, sites, headroom, region_of)
    rows = [region_of.get(site["region"], 0) for site in sites]
    if not headroom.regions or not sites:
        series = Series.of(domain.tick_ms, np.zeros((len(sites), domain.steps)), 0.0)
    else:
        series = Series.of(
            domain.tick_ms, headroom.price_per_mwh[rows], headroom.ci_kg_per_kwh[rows]
        )
    offered = columns.capacity.copy()
    _set_aside(market.running, domain, tick_ms, site_of, columns.capacity)
    numbers = _numbers(jobs, market.running)
    weights = Policy(carbon_price_per_kg=domain.carbon_price_per_t / 1000)
    policy = policy or registry.Policy(id=domain.id)
    places = Places(
        [site["id"] for site in sites],
        [site["region"] for site in sites],
        offered,
        numbers["account_id"],
        numbers["region"],
        tick_ms,
        domain.tick_ms,
        max((job["duration_ms"] for job in jobs), default=0),
    )
    handed = handed_to(market, family)
    of_policy = parts_of(policy, places)
    named = [msgspec.structs.replace(part, id=f"{domain.id}/{part.id}") for part in of_policy]
    shared = [*named, *(part for part in handed if part.id != domain.id)]
    asked = _jobs(jobs, domain, tick_ms, region_of, site_of, numbers)
    followed = {run.together: site_of.get(run.site_id, ANY) for run in market.running}
    for i, job in enumerate(jobs):  # what comes late joins those of its group that run
        if "together" in job and "site_id" not in job:
            asked.affinity[i] = followed.get(job["together"], ANY)
    taken = _taken(market.running, domain, tick_ms, site_of, numbers)
    own = for_own_sites(shared, market, family, places)
    terms = terms_of(policy, places, (*handed, *own))
    terms = without(terms, taken, set(asked.apart.tolist()) - {ANY})
    plan = match(
        asked,
        columns,
        series,
        _paths(market, headroom.regions),
        weighed(policy, weights),
        terms=terms,
    )
    return Matched(jobs, sites, plan, terms.quotas.quota_id.tolist(), places, shared)


def _numbers(jobs: list[Row], running: list[Running]) -> dict[str, dict[str, int]]:
    """Numbers of accounts, regions that jobs come from, and groups that are kept apart."""
    columns = {"account_id": "account_id", "region": "pairing"}
    columns |= {"apart": "apart", "together": "together"}
    return {
        name: {
            text: number
            for number, text in enumerate(
                sorted(
                    {job[name] for job in jobs if name in job}
                    | {getattr(run, column) for run in running} - {""}
                )
            )
        }
        for name, column in columns.items()
    }


def _taken(
    running: list[Running],
    domain: Domain,
    tick_ms: int,
    site_of: dict[str, int],
    numbers: dict[str, dict[str, int]],
) -> Taken:
    jobs = Jobs.of(
        [run.job_id for run in running],
        np.zeros((len(running), len(RESOURCES)), np.int64),
        job_class=[CLASSES.index(run.job_class) if run.job_class else ANY for run in running],
        tenant=[numbers["account_id"].get(run.account_id, ANY) for run in running],
        pairing=[numbers["region"].get(run.pairing, ANY) for run in running],
        apart=[numbers["apart"].get(run.apart, ANY) for run in running],
    )
    return Taken(
        jobs,
        np.array([site_of.get(run.site_id, ANY) for run in running], np.int64),
        np.array([max(0, _slots_left(run, domain, tick_ms)) for run in running], np.int64),
        np.array([run.demand for run in running], np.int64).reshape(-1, len(RESOURCES)),
    )


def _slots_left(run: Running, domain: Domain, tick_ms: int) -> int:
    return -(-(run.end_ms - tick_ms) // domain.tick_ms)


def _jobs(
    jobs: list[Row],
    domain: Domain,
    tick_ms: int,
    region_of: dict[str, int],
    site_of: dict[str, int],
    numbers: dict[str, dict[str, int]],
) -> Jobs:
    step = domain.tick_ms

    def deadline(job: Row) -> int:
        return (job["end_ms"] - tick_ms) // step if "end_ms" in job else -1

    def residency(job: Row) -> int:
        named = job.get("residency", "")
        mask = sum(1 << region_of[r] for r in named.split("|") if r in region_of)
        return mask if named else -1

    return Jobs.of(
        [job["id"] for job in jobs],
        [[job.get(resource, 0) for resource in RESOURCES] for job in jobs]
        or np.zeros((0, len(RESOURCES)), np.int64),
        job_class=[CLASSES.index(job["class"]) for job in jobs],
        precision=[PRECISIONS.index(job.get("precision", "fp32")) for job in jobs],
        duration_ms=[job["duration_ms"] for job in jobs],
        release_slot=[max(0, -(-(job.get("start_ms", 0) - tick_ms) // step)) for job in jobs],
        deadline_slot=[max(deadline(job), 0) if "end_ms" in job else -1 for job in jobs],
        origin_hub=[region_of.get(job["region"], -1) for job in jobs],
        max_rtt_ms=[job.get("max_rtt_ms", np.inf) for job in jobs],
        residency=[residency(job) for job in jobs],
        affinity=[
            site_of.get(job["site_id"], len(site_of)) if "site_id" in job else -1 for job in jobs
        ],
        reject_cost=[job.get("reject_cost", 0.0) for job in jobs],
        priority=[min(job.get("priority", 0), 3) for job in jobs],
        tenant=[numbers["account_id"][job["account_id"]] for job in jobs],
        pairing=[numbers["region"][job["region"]] for job in jobs],
        apart=[numbers["apart"].get(job.get("apart", ""), ANY) for job in jobs],
        together=[numbers["together"].get(job.get("together", ""), ANY) for job in jobs],
    )


def _sites(
    market: Market,
    domain: Domain,
    tick_ms: int,
    sites: list[Row],
    headroom: Headroom,
    region_of: dict[str, int],
) -> Sites:
    capacity = np.zeros((len(sites), domain.steps, len(RESOURCES)), np.int64)
    offered: dict[str, int] = {}
    for site in sites:
        offered[site["region"]] = offered.get(site["region"], 0) + site["power_w"]
    for m, site in enumerate(sites):
        capacity[m] = [site.get(resource, 0) for resource in RESOURCES]
        r = region_of.get(site["region"])
        share = site["power_w"] / max(1, offered[site["region"]])
        if r is not None:
            capacity[m, :, _POWER] = np.minimum(
                site["power_w"], _watts(headroom.power_mw[r], share)
            )
            capacity[m, :, _GREEN] = _watts(headroom.green_mw[r], share)
    return Sites.of(
        [site["id"] for site in sites],
        capacity,
        domain.steps,
        hub=[region_of.get(site["region"], 0) for site in sites],
        pue_ppm=[site.get("pue_ppm", PPM) for site in sites],
        classes=[_mask(site.get("classes", "|".join(CLASSES))) for site in sites],
        up=[
            site["region"] in region_of and not market.is_down(site["id"], tick_ms)
            for site in sites
        ],
    )


def _watts(power_mw: F64, share: float) -> I64:
    """A site's share of a region's power, whole watts, never more than there is."""
    watts = np.floor(np.clip(power_mw, 0.0, _POWER_MAX_MW) * share * _W_PER_MW)
    return watts.astype(np.int64)


def _mask(classes: str) -> int:
    return sum(1 << CLASSES.index(name) for name in classes.split("|") if name in CLASSES)


def _set_aside(
    running: list[Running], domain: Domain, tick_ms: int, site_of: dict[str, int], free: I64
) -> None:
    for job in running:
        m = site_of.get(job.site_id)
        if m is not None:
            free[m, : max(0, _slots_left(job, domain, tick_ms))] -= np.asarray(job.demand, np.int64)
    np.maximum(free, 0, out=free)  # an offer may shrink below what runs


def _paths(market: Market, regions: tuple[str, ...]) -> Network:
    rtt = np.full((max(1, len(regions)),) * 2, np.inf)
    np.fill_diagonal(rtt, 0.0)
    index = {region: i for i, region in enumerate(regions)}
    for path in market.of("path"):
        a, b = index.get(path["region"]), index.get(path["to_region"])
        if a is not None and b is not None:
            rtt[a, b] = rtt[b, a] = min(path["rtt_ms"], rtt[a, b])
    return Network.of(rtt)


def running_of(matched: Matched, i: int, tick_ms: int, step_ms: int) -> Running:
    """The placed job i as it runs, with its power at the facility side."""
    job, site = matched.jobs[i], matched.sites[matched.plan.site[i]]
    pue_ppm = site.get("pue_ppm", PPM)
    demand = tuple(
        -(-job.get(name, 0) * pue_ppm // PPM) if k in FACILITY_SIDE else job.get(name, 0)
        for k, name in enumerate(RESOURCES)
    )
    start_ms = tick_ms + int(matched.plan.slot[i]) * step_ms
    end_ms = start_ms + int(matched.plan.slots[i]) * step_ms
    return Running(
        job["id"],
        site["id"],
        site["region"],
        start_ms,
        end_ms,
        demand,
        account_id=job["account_id"],
        job_class=job["class"],
        pairing=job["region"],
        apart=job.get("apart", ""),
        together=job.get("together", ""),
    )


def compute_mw(
    running: list[Running], regions: tuple[str, ...], tick_ms: int, steps: int, step_ms: int
) -> F64:
    """Facility power of running and planned jobs, [R, T] in MW."""
    power = np.zeros((len(regions), steps))
    index = {region: i for i, region in enumerate(regions)}
    for job in running:
        if job.region in index:
            first = max(0, (job.start_ms - tick_ms) // step_ms)
            last = max(0, -(-(job.end_ms - tick_ms) // step_ms))
            power[index[job.region], first:last] += job.demand[_POWER] / _W_PER_MW
    return power
