"""Hierarchy: a parent domain deals its quotas to its children, and hands them their jobs.

A child is a domain that names its parent; what it offers are sites of the parent's match. It may
use what its newest deal says, and what runs already. It answers every deal, and every tick, with
the most that it may use from now on (`held`), its own children's included. Until then the parent
counts all that it ever dealt: a part is lowered at once and raised only by what no child may still
use. So the children together never exceed a quota, whichever of them is late, down or cut off.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.match.columns import ANY
from schemas.market import HANDED, HELD, OFFERED
from schemas.offer import Offer, Pool
from schemas.policy import Deal, Fairness, Part
from schemas.registry import Domain, Policy
from streams.dispatch.lending import (
    ASKED_MAX,
    asked_by,
    lend,
    lent_of,
    names,
    part_at,
    parts,
    spliced,
    use_of,
    waiting,
)
from streams.dispatch.returns import remember, settle, unsettled
from streams.dispatch.state import HAND, Above, Lent, Market, Row, Running
from streams.policy import Places, covers, limits_of, shares_of
from streams.registry import RegistryView

I64 = npt.NDArray[np.int64]

_NEWEST = 2**63 - 1
_OF_PARENT = ("start_ms", "returns", "returned")  # of no concern to a child


class Family(NamedTuple):
    """Parent and children of a domain that take part."""

    parent: str | None = None
    children: frozenset[str] = frozenset()


ALONE = Family()


def parent_of(view: RegistryView, domain: Domain) -> str | None:
    """Its parent, where all above it are registered and none comes twice; else None."""
    above, line = domain, {domain.id}
    while above.parent is not None:
        found = view.find(Domain, above.parent, _NEWEST)
        if found is None or found.id in line:
            return None
        line.add(found.id)
        above = found
    return domain.parent


def family_of(view: RegistryView, domain: Domain, market: Market) -> Family:
    """Its parent, and the domains below it that offer something, or that it has an offer of."""
    names = {site["id"] for site in market.of("offer")}
    names |= {name for name, lent in market.below.items() if lent.offer is not None}
    offered = [view.find(Domain, name, _NEWEST) for name in sorted(names)]
    children = [child for child in offered if child is not None and child.parent == domain.id]
    sound = [child.id for child in children if parent_of(view, child) == domain.id]
    return Family(parent_of(view, domain), frozenset(sound))


def handed_to(market: Market, family: Family, places: Places) -> tuple[Part, ...]:
    """The parts in force that its parent dealt to it; none before the first deal.

    Of an account that the parent does not know yet, the share of what is offered here.
    """
    in_force = _in_force(market, family)
    if in_force is None:
        return ()
    made = {part.id: part for part in in_force.parts}
    for owner, fairness in in_force.shares.items():
        for part in shares_of(fairness, places):
            name = f"{owner}/{part.id}"
            made.setdefault(name, part_at(part, name, part.limits))
    return tuple(made.values())


def _in_force(market: Market, family: Family) -> Deal | None:
    """The newest deal of its parent."""
    above = market.above
    return above.deal if above is not None and above.parent == family.parent else None


def _shares(
    market: Market, family: Family, domain: Domain, policy: Policy | None
) -> dict[str, Fairness]:
    """Domain -> its fairness, of all from the top to this one."""
    in_force = _in_force(market, family)
    known = in_force.shares if in_force is not None else {}
    if policy is None or policy.fairness is None:
        return known
    return {**known, domain.id: policy.fairness}


def accepted(market: Market, row: Row, deal: Deal) -> None:
    """Take in a parent's deal: it holds from its tick on, what was dealt before until then."""
    above = market.above
    known = above.deal.parts if above is not None and above.parent == row["source"] else ()
    parts_ = spliced(row["start_ms"], known, deal.parts, market.last_tick_ms)
    market.above = Above(row["source"], Deal(number=deal.number, parts=parts_, shares=deal.shares))


def answered(market: Market, row: Row, deal: Deal) -> None:
    """Take in what a child says it may use at most, as of the deal that it knew, and asks for."""
    lent = market.below.setdefault(row["id"], Lent())
    lent.kept = spliced(row["start_ms"], lent.kept, deal.parts, market.last_tick_ms)
    lent.asked = deal.asked
    lent.dealt = [dealt for dealt in lent.dealt if dealt.number > deal.number]


def offered(market: Market, row: Row, offer: Offer) -> None:
    """Take in what a child has from its tick on, and which jobs it has still to start."""
    market.below.setdefault(row["id"], Lent()).offer = offer
    settle(market, row["id"], offer.deal, offer.waiting)


def accounts_below(market: Market, family: Family) -> frozenset[str]:
    """Accounts that children have jobs of."""
    offers = [market.below[child].offer for child in family.children & market.below.keys()]
    return frozenset(name for offer in offers if offer is not None for name in offer.accounts)


def for_own_sites(
    shared: Sequence[Part], market: Market, family: Family, places: Places
) -> list[Part]:
    """What children leave of each part to the sites of the domain itself."""
    made = []
    for part in shared if family.children else ():
        covered = zip(places.sites, covers(part, places), strict=True)
        own = tuple(site for site, counts in covered if counts and site not in family.children)
        if own:
            times, limit, lent = lent_of(part, market, family.children, places.start_ms)
            left = np.where(limit == ANY, ANY, np.maximum(limit - sum(lent.values()), 0))
            made.append(part_at(part, f"{part.id}: own sites", limits_of(left, times), own))
    return made


def deal(
    market: Market,
    domain: Domain,
    policy: Policy | None,
    family: Family,
    shared: Sequence[Part],
    places: Places,
    granted: I64,
    planned: list[Running],
) -> dict[str, Deal]:
    """Child -> its parts, once the jobs of the tick have started; counted as lent from here on.

    granted [M, T, 6]: what is left to each site by the domain's own offers and grid.
    """
    if not family.children:
        return {}
    ids = list(dict.fromkeys(places.sites))  # a child may have several pools
    given: dict[str, list[Part]] = {child: [] for child in ids if child in family.children}
    slots = [places.start_ms + t * places.slot_ms for t in range(places.offered.shape[1])]
    for part in shared:
        times, limit, lent = lent_of(part, market, family.children, places.start_ms, slots)
        scoped = {
            site for site, is_in in zip(places.sites, covers(part, places), strict=True) if is_in
        }
        covered = np.array([m for m, site in enumerate(ids) if site in scoped], np.int64)
        if not len(covered):
            continue
        runs = [run for run in market.running if names(part, run)]
        later = [run for run in planned if names(part, run)]
        use = use_of([*runs, *later], ids, times)
        for m, site in enumerate(ids):
            if site in given:
                use[m] = np.maximum(use[m], asked_by(part, market.below.get(site, Lent()), times))
        own = [m for m, site in enumerate(ids) if site not in family.children]
        if own and own[0] in covered:  # what has no place yet may find one there
            use[own[0]] += waiting(part, market, {run.job_id for run in later})
        last = times.index(slots[-1])
        use[:, last:] = use[:, last, None]  # what is beyond the horizon is as at its end
        target = parts(use[covered], limit)
        free = np.maximum(limit - sum(lent.values()) - use_of(runs, ids, times)[own].sum(axis=0), 0)
        for at, m in enumerate(covered.tolist()):
            if ids[m] in given:
                low = np.minimum(target[at], lent[ids[m]])
                more = np.minimum(target[at] - low, free)
                free -= more
                limits = limits_of(np.where(limit == ANY, ANY, low + more), times)
                given[ids[m]].append(part_at(part, part.id, limits))
    market.dealt += 1
    shares = _shares(market, family, domain, policy)
    deals = {}
    for child, some in given.items():
        some.append(_whole(child, places, granted))
        deals[child] = Deal(number=market.dealt, parts=tuple(some), shares=shares)
        lend(market.below.setdefault(child, Lent()), deals[child])
    return deals


def hand_down(
    market: Market,
    domain: Domain,
    tick_ms: int,
    deals: dict[str, Deal],
    jobs: dict[str, list[tuple[Row, Row]]],
) -> list[Row]:
    """Rows of the children: the jobs that start there with their site, by child; then the deal."""
    rows = []
    for child, its in deals.items():
        for job, site in jobs.get(child, ()):
            below = _below(domain, job, site)
            remember(market, child, job, below["id"], its.number)
            rows.append(sent(market, domain, child, tick_ms, below))
        horizon = {"start_ms": tick_ms, "end_ms": tick_ms + domain.steps * domain.tick_ms}
        row = {"kind": HANDED, "id": domain.id, "deal": its.text()} | horizon
        rows.append(sent(market, domain, child, tick_ms, row))
    return rows


def answer(market: Market, domain: Domain, family: Family) -> list[Row]:
    """A row of the parent: the most that this domain may use of every part from its tick on.

    None where that is what it said last.
    """
    in_force, tick_ms = _in_force(market, family), max(0, market.last_tick_ms)
    if in_force is None or family.parent is None:
        return []
    kept, asked = [], []
    for part in in_force.parts:
        runs = [
            run for run in market.running if run.site_id not in family.children and names(part, run)
        ]
        ends = (run.end_ms for run in runs)
        times, limit, lent = lent_of(part, market, family.children, tick_ms, ends)
        ids = sorted({run.site_id for run in runs})
        used = use_of(runs, ids, times).sum(axis=0) + sum(lent.values())
        most = np.where((limit != ANY).any(axis=0), np.maximum(limit, used), ANY)
        kept.append(part_at(part, part.id, limits_of(most, times)))
        wants = use_of(runs, ids, times).sum(axis=0) + waiting(part, market, set())
        for child in family.children & market.below.keys():
            wants = wants + asked_by(part, market.below[child], times)
        wants = np.where(most == ANY, ANY, np.minimum(wants, ASKED_MAX))
        asked.append(part_at(part, part.id, limits_of(wants, times)))
    its = Deal(number=in_force.number, parts=tuple(kept), asked=tuple(asked)).text()
    if its == market.told:
        return []
    market.told = its
    row = {"kind": HELD, "id": domain.id, "start_ms": tick_ms, "deal": its}
    return [sent(market, domain, family.parent, tick_ms, row)]


def offer_up(
    market: Market, domain: Domain, family: Family, tick_ms: int, pools: tuple[Pool, ...]
) -> list[Row]:
    """A row of the parent: what it finds here, and which of its jobs have not started yet."""
    if family.parent is None:
        return []
    in_force = _in_force(market, family)
    accounts = {job["account_id"] for job in market.jobs.values()}
    accounts |= {run.account_id for run in market.running}
    offer = Offer(
        deal=-1 if in_force is None else in_force.number,
        slot_ms=domain.tick_ms,
        start_ms=tick_ms,
        pools=pools,
        waiting=unsettled(market, family.parent),
        accounts=tuple(sorted((accounts | accounts_below(market, family)) - {""})),
    )
    row = {"kind": OFFERED, "id": domain.id, "start_ms": tick_ms, "deal": offer.text()}
    row["end_ms"] = tick_ms + domain.steps * domain.tick_ms
    return [sent(market, domain, family.parent, tick_ms, row)]


def _whole(child: str, places: Places, granted: I64) -> Part:
    """All that the parent's grid and own offers leave to the child: is not dealt on."""
    some = granted[[m for m, site in enumerate(places.sites) if site == child]]
    limit = np.where((some == ANY).any(axis=0), ANY, some.sum(axis=0))
    times = [places.start_ms + t * places.slot_ms for t in range(len(limit))]
    return Part(id=child, limits=limits_of(limit, times))


def _below(domain: Domain, job: Row, site: Row) -> Row:
    """The row of a job as the child gets it; its name says where it was sent first.

    What it asks of place is left out where the child as a whole fulfils it, or knows nothing of it.
    """
    kept = set(_OF_PARENT)
    region = site["region"]
    if region in job.get("residency", "").split("|") and site.get("inner") != region:
        kept.add("residency")
    if "pool" not in site:
        kept.add("residency")
    if job.get("site_id") not in site.get("sites", ()):
        kept.add("site_id")
    if job["region"] not in site.get("rtts", ()):
        kept.add("max_rtt_ms")
    if job.get("data_region") not in site.get("rtts", ()):
        kept |= {"data_gb", "data_region"}
    row = {name: value for name, value in job.items() if name not in kept}
    if job["source_partition"] != HAND:
        row["id"] = f"{domain.id}/{job['id']}"
    return row


def sent(market: Market, domain: Domain, to: str, tick_ms: int, row: Row) -> Row:
    """A row for another domain's partition; numbered, so that one that comes again is known."""
    market.written += 1
    place = {"source": domain.id, "source_partition": HAND, "source_offset": market.written}
    place |= {"source_row": 0, "received_ms": tick_ms, "registry_offset": -1, "domain": to}
    return row | place
