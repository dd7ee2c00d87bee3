"""Hierarchy: a parent domain deals its quotas to its children, and hands them their jobs.

A child is a domain that names its parent, and a site (offer) of the parent's match. It may use what
its newest deal says, and what runs already. It answers every deal, and every tick, with the most
that it may use from now on (`held`), its own children's included. Until then the parent counts all
that it ever dealt: a part is lowered at once and raised only by what no child may still use. So the
children together never exceed a quota, whichever of them is late, down or cut off.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from kernels.match import LIMITED, RESOURCES
from kernels.match.columns import ANY
from kernels.match.hierarchy import parts
from schemas.market import HANDED, HELD
from schemas.policy import Deal, Limits, Part
from schemas.registry import Domain
from streams.dispatch.state import HAND, Above, Lent, Market, Row, Running
from streams.policy import Places, covers, limits_of
from streams.registry import RegistryView

I64 = npt.NDArray[np.int64]

_NEWEST = 2**63 - 1
_DEALT_MAX = 4  # deals of a child that is silent are kept apart; older ones as one
_OF_PARENT = ("residency", "site_id", "max_rtt_ms", "start_ms")  # kept by the parent's placement


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
    """Its parent, and its sites that are domains below it."""
    offered = [view.find(Domain, site["id"], _NEWEST) for site in market.of("offer")]
    children = [child for child in offered if child is not None and child.parent == domain.id]
    sound = [child.id for child in children if parent_of(view, child) == domain.id]
    return Family(parent_of(view, domain), frozenset(sound))


def handed_to(market: Market, family: Family) -> tuple[Part, ...]:
    """The parts in force that its parent dealt to it; none before the first deal."""
    above = market.above
    return above.deal.parts if above is not None and above.parent == family.parent else ()


def accepted(market: Market, row: Row, deal: Deal) -> None:
    """Take in a parent's deal: it holds from its tick on, what was dealt before until then."""
    above = market.above
    known = above.deal.parts if above is not None and above.parent == row["source"] else ()
    parts_ = _from(row["start_ms"], known, deal.parts, market.last_tick_ms)
    market.above = Above(row["source"], Deal(number=deal.number, parts=parts_))


def answered(market: Market, row: Row, deal: Deal) -> None:
    """Take in what a child says it may use at most, as of the deal that it knew, and asks for."""
    lent = market.below.setdefault(row["id"], Lent())
    lent.kept = _from(row["start_ms"], lent.kept, deal.parts, market.last_tick_ms)
    lent.asked = deal.asked
    lent.dealt = [dealt for dealt in lent.dealt if dealt.number > deal.number]


def for_own_sites(
    shared: Sequence[Part], market: Market, family: Family, places: Places
) -> list[Part]:
    """What children leave of each part to the sites of the domain itself."""
    made = []
    for part in shared if family.children else ():
        covered = zip(places.sites, covers(part, places), strict=True)
        own = tuple(site for site, counts in covered if counts and site not in family.children)
        if own:
            times, limit, lent = _lent(part, market, family, places.start_ms)
            left = np.where(limit == ANY, ANY, np.maximum(limit - sum(lent.values()), 0))
            made.append(_part(part, f"{part.id}: own sites", limits_of(left, times), own))
    return made


def deal(
    market: Market,
    family: Family,
    shared: Sequence[Part],
    places: Places,
    planned: list[Running],
) -> dict[str, Deal]:
    """Child -> its parts, once the jobs of the tick have started; counted as lent from here on."""
    if not family.children:
        return {}
    ids = list(places.sites)
    given: dict[str, list[Part]] = {child: [] for child in ids if child in family.children}
    slots = [places.start_ms + t * places.slot_ms for t in range(places.offered.shape[1])]
    for part in shared:
        times, limit, lent = _lent(part, market, family, places.start_ms, slots)
        covered = np.flatnonzero(covers(part, places))
        if not len(covered):
            continue
        runs = [run for run in market.running if _names(part, run)]
        later = [run for run in planned if _names(part, run)]
        use = _use([*runs, *later], ids, times)
        for m, site in enumerate(ids):
            if site in given:
                use[m] = np.maximum(use[m], _asked(part, market.below.get(site, Lent()), times))
        own = [m for m, site in enumerate(ids) if site not in family.children]
        if own and own[0] in covered:  # what has no place yet may find one there
            use[own[0]] += _waiting(part, market, {run.job_id for run in later})
        last = times.index(slots[-1])
        use[:, last:] = use[:, last, None]  # what is beyond the horizon is as at its end
        target = parts(use[covered], limit)
        free = np.maximum(limit - sum(lent.values()) - _use(runs, ids, times)[own].sum(axis=0), 0)
        for at, m in enumerate(covered.tolist()):
            if ids[m] in given:
                low = np.minimum(target[at], lent[ids[m]])
                more = np.minimum(target[at] - low, free)
                free -= more
                limits = limits_of(np.where(limit == ANY, ANY, low + more), times)
                given[ids[m]].append(_part(part, part.id, limits))
    market.dealt += 1
    deals = {}
    for child, some in given.items():
        some.append(_whole(child, places))
        deals[child] = Deal(number=market.dealt, parts=tuple(some))
        _lend(market.below.setdefault(child, Lent()), deals[child])
    return deals


def hand_down(
    market: Market, domain: Domain, tick_ms: int, deals: dict[str, Deal], jobs: dict[str, list[Row]]
) -> list[Row]:
    """Rows of the children: the jobs that start there, by child, and then the deal."""
    rows = []
    for child, its in deals.items():
        for job in jobs.get(child, ()):
            rows.append(_sent(market, domain, child, tick_ms, _below(domain, job)))
        horizon = {"start_ms": tick_ms, "end_ms": tick_ms + domain.steps * domain.tick_ms}
        row = {"kind": HANDED, "id": domain.id, "deal": its.text()} | horizon
        rows.append(_sent(market, domain, child, tick_ms, row))
    return rows


def answer(market: Market, domain: Domain, family: Family) -> list[Row]:
    """A row of the parent: the most that this domain may use of every part from its tick on.

    None where that is what it said last.
    """
    above, tick_ms = market.above, max(0, market.last_tick_ms)
    if above is None or above.parent != family.parent:
        return []
    kept, asked = [], []
    for part in above.deal.parts:
        runs = [
            run
            for run in market.running
            if run.site_id not in family.children and _names(part, run)
        ]
        times, limit, lent = _lent(part, market, family, tick_ms, (run.end_ms for run in runs))
        ids = sorted({run.site_id for run in runs})
        used = _use(runs, ids, times).sum(axis=0) + sum(lent.values())
        most = np.where((limit != ANY).any(axis=0), np.maximum(limit, used), ANY)
        kept.append(_part(part, part.id, limits_of(most, times)))
        wants = _use(runs, ids, times).sum(axis=0) + _waiting(part, market, set())
        for child in family.children & market.below.keys():
            wants = wants + _asked(part, market.below[child], times)
        asked.append(_part(part, part.id, limits_of(np.where(most == ANY, ANY, wants), times)))
    its = Deal(number=above.deal.number, parts=tuple(kept), asked=tuple(asked)).text()
    if its == market.told:
        return []
    market.told = its
    row = {"kind": HELD, "id": domain.id, "start_ms": tick_ms, "deal": its}
    return [_sent(market, domain, above.parent, tick_ms, row)]


def _lent(
    part: Part, market: Market, family: Family, from_ms: int, more: Iterable[int] = ()
) -> tuple[list[int], I64, dict[str, I64]]:
    """Times; the part's limits then; and the most that each child may use of it [K, 6]."""
    known = {
        child: [
            one.limits
            for some in (lent.kept, *(dealt.parts for dealt in lent.dealt))
            for one in some
            if one.id == part.id
        ]
        for child, lent in market.below.items()
        if child in family.children
    }
    all_of = [part.limits, *(one for ones in known.values() for one in ones)]
    all_of += [_of(part, lent.asked) for lent in market.below.values()]
    starts = set(more).union(*(one.starts() for one in all_of))
    times = [from_ms, *sorted(start for start in starts if start > from_ms)]
    none = np.zeros((len(times), len(LIMITED)), np.int64)
    lent = dict.fromkeys(family.children, none)
    for child, ones in known.items():
        for one in ones:
            lent[child] = np.maximum(lent[child], _table(one, times))  # ANY, no limit, is below 0
    return times, _table(part.limits, times), lent


def _from(
    from_ms: int, before: Sequence[Part], after: Sequence[Part], since_ms: int
) -> tuple[Part, ...]:
    """Parts that hold `before` until a time, and `after` from then on; what ended is left out.

    A part that was not there before holds for all times.
    """
    old, new = ({part.id: part for part in some} for some in (before, after))
    made = []
    for part_id in sorted(old.keys() | new.keys()):
        part = new.get(part_id) or old[part_id]
        later = new[part_id].limits if part_id in new else Limits()
        earlier = old[part_id].limits if part_id in old else None
        if part_id not in new and from_ms <= since_ms:
            continue
        starts = later.starts() | (earlier.starts() if earlier else set()) | {0, from_ms}
        first = max(start for start in starts if start <= max(0, since_ms))
        times = sorted(start for start in starts if start >= first)
        rows = [
            _row(earlier, time) if earlier and time < from_ms else _row(later, max(time, from_ms))
            for time in times
        ]
        made.append(_part(part, part_id, limits_of(np.array(rows, np.int64), times)))
    return tuple(made)


def _lend(lent: Lent, dealt: Deal) -> None:
    """Count a deal as lent; of a child that does not answer, the oldest become one."""
    lent.dealt.append(dealt)
    while len(lent.dealt) > _DEALT_MAX:
        old, new = lent.dealt[:2]
        by_id = {part.id: part for part in old.parts}
        for part in new.parts:
            known = by_id.get(part.id, part)
            starts = part.limits.starts() | known.limits.starts()
            times = [0, *sorted(start for start in starts if start > 0)]
            most = np.maximum(_table(part.limits, times), _table(known.limits, times))
            by_id[part.id] = _part(part, part.id, limits_of(most, times))
        lent.dealt[:2] = [Deal(number=new.number, parts=tuple(by_id.values()))]


def _table(limits: Limits, times: Sequence[int]) -> I64:
    """Limits [K, 6] that hold at the times, ANY = none."""
    return np.array([_row(limits, time) for time in times], np.int64)


def _row(limits: Limits, time: int) -> list[int]:
    return [ANY if one is None else one for one in limits.at(time)]


def _use(runs: list[Running], sites: Sequence[str], times: Sequence[int]) -> I64:
    """Use [M, K, 6] at the sites between the times, of all jobs that run in any of it."""
    edges = np.zeros((len(sites), len(times) + 1, len(LIMITED)), np.int64)
    index = {site: m for m, site in enumerate(sites)}
    known = [run for run in runs if run.site_id in index]
    if known:
        at = np.array([index[run.site_id] for run in known])
        need = np.array([(*run.demand, 1) for run in known], np.int64)
        first = np.searchsorted(times, [run.start_ms for run in known], side="right") - 1
        last = np.searchsorted(times, [run.end_ms for run in known], side="left")
        np.add.at(edges, (at, np.maximum(first, 0)), need)
        np.subtract.at(edges, (at, last), need)
    use: I64 = edges.cumsum(axis=1)[:, :-1]
    return use


def _asked(part: Part, lent: Lent, times: Sequence[int]) -> I64:
    """What a child asks for of a part [K, 6]."""
    return np.maximum(_table(_of(part, lent.asked), times), 0)


def _of(part: Part, some: Sequence[Part]) -> Limits:
    """The limits of the part among some."""
    return next((one.limits for one in some if one.id == part.id), Limits())


def _waiting(part: Part, market: Market, planned: set[str]) -> I64:
    """What the jobs that wait here without a plan ask for of a part [6]."""
    need = np.zeros(len(LIMITED), np.int64)
    for name, job in market.jobs.items():
        named = _named(part, job["class"], job["account_id"], job["region"])
        if named and name not in planned:
            need += np.array([job.get(name, 0) for name in RESOURCES] + [1], np.int64)
    return need


def _names(part: Part, run: Running) -> bool:
    """Whether the part holds for a job that runs."""
    return _named(part, run.job_class, run.account_id, run.pairing)


def _named(part: Part, job_class: str, account_id: str, pairing: str) -> bool:
    asked = (part.job_class, part.account_id, part.pairing)
    of = (job_class, account_id, pairing)
    return all(one in (None, is_) for one, is_ in zip(asked, of, strict=True)) != part.others


def _part(part: Part, part_id: str, limits: Limits, sites: tuple[str, ...] = ()) -> Part:
    """The part for other sites; none named = all."""
    return msgspec.structs.replace(part, id=part_id, limits=limits, regions=(), sites=sites)


def _whole(child: str, places: Places) -> Part:
    """All that the child offers, as the parent sees it: binds the child alone, is not dealt on."""
    offered = places.offered[list(places.sites).index(child)]
    limit = np.column_stack([offered, np.full(len(offered), ANY, np.int64)])
    times = [places.start_ms + t * places.slot_ms for t in range(len(limit))]
    return Part(id=child, limits=limits_of(limit, times))


def _below(domain: Domain, job: Row) -> Row:
    """The row of a job as the child gets it; its name says where it was sent first."""
    row = {name: value for name, value in job.items() if name not in _OF_PARENT}
    if job["source_partition"] != HAND:
        row["id"] = f"{domain.id}/{job['id']}"
    return row


def _sent(market: Market, domain: Domain, to: str, tick_ms: int, row: Row) -> Row:
    """A row for another domain's partition; numbered, so that one that comes again is known."""
    market.written += 1
    place = {"source": domain.id, "source_partition": HAND, "source_offset": market.written}
    place |= {"source_row": 0, "received_ms": tick_ms, "registry_offset": -1, "domain": to}
    return row | place
