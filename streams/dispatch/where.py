"""Where each job may run, beyond class and capacity: place, distance, data, size, who returned it.

The match knows hubs: a job may be held by some, and has a round trip to each. Here sites that no
job tells apart are one hub, so that whatever keeps a job from some sites is a set of hubs to it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.match import RESOURCES, Network, Reason
from kernels.match.columns import ANY, FACILITY_SIDE, PPM
from streams.dispatch.returns import barred_at, said_of
from streams.dispatch.state import Market, Row

Bool = npt.NDArray[np.bool_]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

FAR_MS = 1e9  # to where a child says no way from
_BITS = 63  # hubs of a number; what is above is one bit


@dataclass(frozen=True, slots=True)
class Where:
    """Columns of the match, and what took the last site of a job."""

    hub: I64  # [M]
    residency: I64  # [N]
    origin: I64  # [N]
    affinity: I64  # [N]
    data: I64  # [N] place of data to move; ANY = none
    network: Network
    names: tuple[str, ...]  # [P] every region that something is known of
    rtt: F64  # [P, M] from there to the sites
    price: F64  # [P, M] of a GB from there, currency; inf = no path
    why: dict[int, Reason]  # job -> what kept it from the sites that its residency leaves
    barred: frozenset[int]  # jobs that are kept from the last of them by children's returns

    def reasons(self, reason: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        """The reasons of a plan, with what a set of hubs stood for in place of residency."""
        named = reason.copy()
        for i, one in self.why.items():
            if named[i] == Reason.REJECTED_RESIDENCY:
                named[i] = one
        return named


def where_of(
    market: Market, regions: tuple[str, ...], jobs: list[Row], sites: list[Row], tick_ms: int
) -> Where:
    """Of the jobs and sites of a tick; `regions` are those of the domain's grid."""
    source = [job.get("data_region") if job.get("data_gb") else None for job in jobs]
    names = _names(market, regions, sites)
    rtt, price = _ways(market, names, sites)
    held, why, barred = _held(jobs, sites, tick_ms)
    wanted = set(source)
    asked = np.array([name in wanted for name in names], np.bool_)
    per_gb = np.where(asked[:, None], price, 0.0)  # what no job asks for tells no sites apart
    hub, kept = _hubs(held, rtt, per_gb)
    count = int(hub.max(initial=0)) + 1
    nowhere = count + len(names)  # the place that no path leads to
    table = np.full((nowhere + 1, count), np.inf)
    np.fill_diagonal(table, 0.0)
    moved = np.full_like(table, np.inf)
    table[count:nowhere, hub], moved[count:nowhere, hub] = rtt, per_gb
    place = {name: count + p for p, name in enumerate(names)}
    return Where(
        hub,
        kept,
        np.array([place.get(job["region"], ANY) for job in jobs], np.int64),
        _affinity(jobs, sites),
        np.array([ANY if name is None else place.get(name, nowhere) for name in source], np.int64),
        Network.of(table, moved),
        names,
        rtt,
        price,
        why,
        frozenset(barred),
    )


def _names(market: Market, regions: tuple[str, ...], sites: list[Row]) -> tuple[str, ...]:
    """Every region that something is known of: of the grid, of paths, of a child's ways."""
    found = {name for site in sites for name in (str(site["region"]), *site.get("rtts", ()))}
    found |= {str(path[end]) for path in market.of("path") for end in ("region", "to_region")}
    return tuple(sorted(found | set(regions)))


def _ways(market: Market, names: tuple[str, ...], sites: list[Row]) -> tuple[F64, F64]:
    """Round trips and prices of a GB [P, M] from the places to the sites; inf = no path."""
    between = np.full((len(names),) * 2, np.inf)
    np.fill_diagonal(between, 0.0)
    per_gb = between.copy()
    index = {name: p for p, name in enumerate(names)}
    for path in market.of("path"):
        a, b = index[path["region"]], index[path["to_region"]]
        between[a, b] = between[b, a] = min(path["rtt_ms"], between[a, b])
        per_gb[a, b] = per_gb[b, a] = min(path.get("price_per_gb", 0.0), per_gb[a, b])
    at = np.array([index[site["region"]] for site in sites], np.int64)
    rtt, price = between[:, at], per_gb[:, at]
    for m, site in enumerate(sites):
        for name, ms in site.get("rtts", {}).items():  # who is nearer knows better
            rtt[index[name], m] = ms
            price[index[name], m] = site["per_gb"].get(name, 0.0)
        if "pool" in site:  # near enough for nobody who asks, and no reason for others to stay
            rtt[:, m] = np.minimum(rtt[:, m], FAR_MS)
    return rtt, price


def _held(
    jobs: list[Row], sites: list[Row], tick_ms: int
) -> tuple[Bool, dict[int, Reason], list[int]]:
    """Which sites [N, M] may hold each job; what took the last one that residency left."""
    named: dict[str, Bool] = {"": np.ones(len(sites), np.bool_)}
    held = np.ones((len(jobs), len(sites)), np.bool_)
    fits = _fits(jobs, sites)
    why: dict[int, Reason] = {}
    barred: list[int] = []
    for i, job in enumerate(jobs):
        residency = job.get("residency", "")
        if residency not in named:
            allowed = set(residency.split("|"))
            apart = [allowed.isdisjoint(_regions(site)) for site in sites]
            named[residency] = ~np.array(apart, np.bool_)
        kept = named[residency]
        free = barred_at(job, sites, tick_ms)
        for reason, also in (
            (Reason.REJECTED_AFFINITY, _has(job, sites)),
            (Reason.REJECTED_CAPACITY, fits[i] if fits is not None else None),
            (said_of(job)[0], free),
        ):
            if also is not None:
                if kept.any() and not (kept & also).any():
                    why[i] = reason
                    if also is free:
                        barred.append(i)
                kept = kept & also
        held[i] = kept
    return held, why, barred


def _regions(site: Row) -> tuple[str, ...]:
    return str(site["region"]), str(site.get("inner", site["region"]))


def _affinity(jobs: list[Row], sites: list[Row]) -> I64:
    """The site [N] that each job must run at; that of a child, and one below it, is a set of hubs.

    What is not among the sites is a number that none of them has.
    """
    own = {site["id"]: m for m, site in enumerate(sites) if "pool" not in site}
    below = {name for site in sites if "pool" in site for name in (site["id"], *site["sites"])}
    asked = [job.get("site_id") for job in jobs]
    return np.array(
        [
            ANY if one is None or (one in below and one not in own) else own.get(one, len(sites))
            for one in asked
        ],
        np.int64,
    )


def _has(job: Row, sites: list[Row]) -> Bool | None:
    """Pools that are of the child, or hold the site, that the job asks for; None = it does not."""
    asked = job.get("site_id")
    if asked is None or any(asked == site["id"] for site in sites if "pool" not in site):
        return None
    has = [asked == site["id"] or asked in site.get("sites", ()) for site in sites]
    return np.array(has, np.bool_) if any(has) else None


def _fits(jobs: list[Row], sites: list[Row]) -> Bool | None:
    """Whether any one site of a pool has room [N, M]; None where there are no pools."""
    pools = [(m, site) for m, site in enumerate(sites) if "pool" in site]
    if not pools or not jobs:
        return None
    demand = np.array([[job.get(name, 0) for name in RESOURCES] for job in jobs], np.int64)
    fits = np.ones((len(jobs), len(sites)), np.bool_)
    for m, site in pools:
        need = demand.copy()
        for k in FACILITY_SIDE:
            need[:, k] = -(-need[:, k] * site["pue_ppm"] // PPM)
        fits[:, m] = (need <= site["largest"]).all(axis=1)
    return fits


def _hubs(held: Bool, rtt: F64, per_gb: F64) -> tuple[I64, I64]:
    """The hub of each site [M], and the hubs that may hold each job [N] as bits."""
    known: dict[tuple[bytes, ...], int] = {}
    hub = np.zeros(held.shape[1], np.int64)
    for m in range(len(hub)):
        hub[m] = known.setdefault(
            tuple(table[:, m].tobytes() for table in (held, rtt, per_gb)), len(known)
        )
    bits = np.zeros(len(held), np.uint64)
    first = {h: m for m, h in reversed(list(enumerate(hub.tolist())))}
    for h in range(min(len(known), _BITS)):
        bits |= held[:, first[h]].astype(np.uint64) << np.uint64(h)
    above = [first[h] for h in range(_BITS, len(known))]
    bits |= held[:, above].all(axis=1).astype(np.uint64) << np.uint64(_BITS)  # safe: all or none
    kept = bits.view(np.int64)
    kept[held.all(axis=1)] = ANY
    return hub, kept
