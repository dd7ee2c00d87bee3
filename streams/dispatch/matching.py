"""The tick's matching: waiting jobs and offered sites as columns, and the plan as placements.

Slots are the tick's steps. What runs already has its resources set aside. A job that starts in
slot 0 is carried out; a later start is a plan, and the job is matched again at the next tick. A
rejected job waits too: room, power, prices, sites and paths may be others at the next tick. Only a
deadline that cannot be met and a bad row are final.
"""

from dataclasses import dataclass, replace

import msgspec
import numpy as np
import numpy.typing as npt

from kernels.match import CLASSES, PRECISIONS, RESOURCES, Jobs, Plan, Policy, Reason, match
from kernels.match.columns import ANY, FACILITY_SIDE, PPM
from schemas import registry
from schemas.offer import Pool
from schemas.policy import Part
from schemas.registry import Domain
from streams.dispatch.hierarchy import ALONE, Family, accounts_below, for_own_sites, handed_to
from streams.dispatch.offers import (
    Headroom,
    index_of,
    offered_of,
    place_of,
    pools_of,
    set_aside,
    site_rows,
    slots_left,
)
from streams.dispatch.state import Market, Row, Running
from streams.dispatch.where import Where, where_of
from streams.policy import Places, Taken, longest_ms, parts_of, terms_of, weighed, without

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

WAITING_MAX_MS = 7 * 86_400_000  # a job waits so long after its release and its receipt
FINAL = (Reason.REJECTED_DEADLINE, Reason.BAD_INPUT)
_POWER = RESOURCES.index("power_w")
_W_PER_MW = 1_000_000


@dataclass(frozen=True, slots=True)
class Matched:
    """The jobs and sites of a tick, in the order of the plan."""

    jobs: list[Row]
    sites: list[Row]
    plan: Plan
    quotas: list[str]  # ids
    places: Places
    shared: list[Part]  # what there is to hand on to children: of the policy, and of its parent
    granted: I64  # [M, T, 6] what is left to each site by the domain's own offers and grid
    barred: frozenset[int]  # jobs that no child may get that has not returned it just now
    pools: tuple[Pool, ...]  # what a parent's job finds here beside this plan


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
    sites = site_rows(market, domain, tick_ms, family.children)
    index = index_of(sites)
    where = where_of(market, headroom.regions, jobs, sites, tick_ms)
    offered = offered_of(market, domain, tick_ms, sites, headroom, where.hub)
    columns = offered.columns
    whole = columns.capacity.copy()
    set_aside(market, sites, domain, tick_ms, columns.capacity)
    numbers = _numbers(jobs, market.running)
    asked = _jobs(jobs, domain, tick_ms, where, numbers)
    weights = Policy(carbon_price_per_kg=domain.carbon_price_per_t / 1000)
    policy = policy or registry.Policy(id=domain.id)
    places = Places(
        [site["id"] for site in sites],
        [site["region"] for site in sites],
        whole,
        numbers["account_id"],
        numbers["region"],
        tick_ms,
        domain.tick_ms,
        longest_ms(asked, columns),
        accounts_below(market, family),
    )
    handed = handed_to(market, family, places)
    of_policy = parts_of(policy, places)
    named = [msgspec.structs.replace(part, id=f"{domain.id}/{part.id}") for part in of_policy]
    shared = [*named, *(part for part in handed if part.id != domain.id)]
    followed = {run.together: place_of(run, index) for run in market.running}
    for i, job in enumerate(jobs):  # what comes late joins those of its group that run
        if "together" in job and "site_id" not in job:
            asked.affinity[i] = followed.get(job["together"], ANY)
    taken = _taken(market.running, domain, tick_ms, index, numbers)
    own = for_own_sites(shared, market, family, places)
    terms = terms_of(policy, places, (*handed, *own))
    terms = without(terms, taken, set(asked.apart.tolist()) - {ANY})
    plan = match(
        asked, columns, offered.series, where.network, weighed(policy, weights), terms=terms
    )
    plan = replace(plan, reason=where.reasons(plan.reason))
    pools: tuple[Pool, ...] = ()
    if family.parent is not None:
        free = np.maximum(columns.capacity - plan.used, 0)
        bad = [error.row for error in plan.errors if error.table == "sites"]
        up = columns.up & ~np.isin(np.arange(len(sites)), bad)
        known = replace(columns, capacity=whole, up=up)
        pools = pools_of(sites, known, offered.series, free, where.rtt, where.price, where.names)
    quotas = terms.quotas.quota_id.tolist()
    return Matched(jobs, sites, plan, quotas, places, shared, offered.granted, where.barred, pools)


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
    index: dict[tuple[str, str], int],
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
        np.array([place_of(run, index) for run in running], np.int64),
        np.array([max(0, slots_left(run, domain, tick_ms)) for run in running], np.int64),
        np.array([run.demand for run in running], np.int64).reshape(-1, len(RESOURCES)),
    )


def _jobs(
    jobs: list[Row],
    domain: Domain,
    tick_ms: int,
    where: Where,
    numbers: dict[str, dict[str, int]],
) -> Jobs:
    step = domain.tick_ms

    def deadline(job: Row) -> int:
        return (job["end_ms"] - tick_ms) // step if "end_ms" in job else -1

    return Jobs.of(
        [job["id"] for job in jobs],
        [[job.get(resource, 0) for resource in RESOURCES] for job in jobs]
        or np.zeros((0, len(RESOURCES)), np.int64),
        job_class=[CLASSES.index(job["class"]) for job in jobs],
        precision=[PRECISIONS.index(job.get("precision", "fp32")) for job in jobs],
        duration_ms=[job["duration_ms"] for job in jobs],
        release_slot=[max(0, -(-(job.get("start_ms", 0) - tick_ms) // step)) for job in jobs],
        deadline_slot=[max(deadline(job), 0) if "end_ms" in job else -1 for job in jobs],
        origin_hub=where.origin,
        max_rtt_ms=[job.get("max_rtt_ms", np.inf) for job in jobs],
        residency=where.residency,
        affinity=where.affinity,
        data_gb=[job.get("data_gb", 0.0) for job in jobs],
        data_hub=where.data,
        reject_cost=[job.get("reject_cost", 0.0) for job in jobs],
        priority=[min(job.get("priority", 0), 3) for job in jobs],
        tenant=[numbers["account_id"][job["account_id"]] for job in jobs],
        pairing=[numbers["region"][job["region"]] for job in jobs],
        apart=[numbers["apart"].get(job.get("apart", ""), ANY) for job in jobs],
        together=[numbers["together"].get(job.get("together", ""), ANY) for job in jobs],
    )


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
        pool=site.get("pool", ""),
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
