"""Sites of a tick: offers of the domain's own, and of each child the pools that it says it has.

A child's pool is a site of its parent's match. The parent's grid limits and prices what lies in one
of its regions; the child's own grid has been counted by the child, and prices what lies elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.match import CLASSES, LIMITED, RESOURCES, Series, Sites
from kernels.match.columns import ANY, FACILITY_SIDE, PPM
from schemas.market import RATE_MAX_PPM, RATES
from schemas.offer import Amounts, Offer, Pool
from schemas.policy import LIMIT_MAX
from schemas.registry import Domain
from streams.dispatch.state import Market, Row, Running

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

_POWER, _GREEN = FACILITY_SIDE
_W_PER_MW = 1_000_000
_POWER_MAX_MW = 1e12  # what has no limit is offered as this
_MOST = 1e9  # of a price or round trip that is told

_Rates = tuple[int, int, int, int]
_Kind = tuple[str, str, _Rates, tuple[tuple[str, float, float], ...]]
# region, classes, speeds, ways: from where, round trip, price of a GB


@dataclass(frozen=True, slots=True)
class Headroom:
    """What the balance leaves for compute: [R, T] by region and step."""

    regions: tuple[str, ...]
    power_mw: F64  # could be drawn beyond the load
    green_mw: F64  # wind and solar beyond the load
    price_per_mwh: F64
    ci_kg_per_kwh: F64


@dataclass(frozen=True, slots=True)
class Offered:
    """Columns of the match for the sites of a tick, before anything is taken."""

    columns: Sites
    series: Series
    granted: I64  # [M, T, 6] what the domain's offers and grid leave to each site; ANY = no limit


def site_rows(market: Market, domain: Domain, tick_ms: int, children: frozenset[str]) -> list[Row]:
    """The sites by id: offers, and in place of that of a child the pools it has said."""
    rows = []
    standing = {site["id"]: site for site in market.of("offer")}
    offers = {child: market.below[child].offer for child in children & market.below.keys()}
    for site_id in sorted(standing.keys() | offers.keys()):
        offer, stands = offers.get(site_id), standing.get(site_id)
        if offer is not None:
            for number, pool in enumerate(offer.pools):
                row = _pool(offer, pool, domain, tick_ms) | {"id": site_id, "pool": str(number)}
                rows.append(row | {"region": stands["region"] if stands else pool.region})
        elif stands is not None:
            rows.append(stands)
    return rows


def _pool(offer: Offer, pool: Pool, domain: Domain, tick_ms: int) -> Row:
    """By the slots of this domain: of the child's slots within one the least, of use the most."""
    starts = tick_ms + np.arange(domain.steps) * domain.tick_ms - offer.start_ms
    last = len(pool.capacity) - 1
    first = np.clip(starts // offer.slot_ms, 0, last)
    until = np.clip(-(-(starts + domain.tick_ms) // offer.slot_ms) - 1, first, last)
    capacity, taken = (np.array(table, np.int64) for table in (pool.capacity, pool.taken))
    spans = [slice(a, b + 1) for a, b in zip(first.tolist(), until.tolist(), strict=True)]
    return {
        "up": tick_ms < offer.start_ms + len(pool.capacity) * offer.slot_ms,  # else long silent
        "inner": pool.region,
        "classes": pool.classes,
        "pue_ppm": pool.pue_ppm,
        **dict(zip(RATES, pool.rate_ppm, strict=True)),
        "rtts": pool.rtt_ms,
        "per_gb": pool.price_per_gb,
        "sites": frozenset(pool.sites),
        "largest": np.array(pool.largest, np.int64),
        "capacity": np.array([capacity[span].min(axis=0) for span in spans]),
        "taken": np.array([taken[span].max(axis=0) for span in spans]),
        "price_per_mwh": np.array(pool.price_per_mwh)[first],
        "ci_kg_per_kwh": np.array(pool.ci_kg_per_kwh)[first],
        "power_w": int(capacity[:, _POWER].max()),
    }


def offered_of(
    market: Market,
    domain: Domain,
    tick_ms: int,
    sites: list[Row],
    headroom: Headroom,
    hub: I64,
) -> Offered:
    """What each site has within the grid's headroom, shared by the power that is offered."""
    region_of = {region: r for r, region in enumerate(headroom.regions)}
    shape = (len(sites), domain.steps)
    capacity = np.zeros((*shape, len(RESOURCES)), np.int64)
    granted = np.full((*shape, len(LIMITED)), ANY, np.int64)
    price, carbon = np.zeros(shape), np.zeros(shape)
    offered: dict[str, int] = {}
    for site in sites:
        offered[site["region"]] = offered.get(site["region"], 0) + site["power_w"]
    for m, site in enumerate(sites):
        of_child = "pool" in site
        if of_child:
            capacity[m] = site["capacity"]
            price[m], carbon[m] = site["price_per_mwh"], site["ci_kg_per_kwh"]
        else:
            capacity[m] = [site.get(resource, 0) for resource in RESOURCES]
        r = region_of.get(site["region"])
        if r is not None:
            share = site["power_w"] / max(1, offered[site["region"]])
            power, green = (_watts(mw[r], share) for mw in (headroom.power_mw, headroom.green_mw))
            capacity[m, :, _POWER] = np.minimum(capacity[m, :, _POWER], power)
            if of_child:
                green = np.minimum(capacity[m, :, _GREEN], green)
                granted[m, :, _POWER] = power
            capacity[m, :, _GREEN] = green
            price[m], carbon[m] = headroom.price_per_mwh[r], headroom.ci_kg_per_kwh[r]
        if not of_child:
            granted[m, :, : len(RESOURCES)] = capacity[m]
    columns = Sites.of(
        [f"{site['id']}/{site['pool']}" if "pool" in site else site["id"] for site in sites],
        capacity,
        domain.steps,
        hub=hub,
        pue_ppm=[site.get("pue_ppm", PPM) for site in sites],
        classes=[_mask(site.get("classes", "|".join(CLASSES))) for site in sites],
        rate_ppm=np.array([_rates(site) for site in sites], np.int64).reshape(-1, 1, len(RATES)),
        up=[
            site.get("up", site["region"] in region_of) and not market.is_down(site["id"], tick_ms)
            for site in sites
        ],
    )
    return Offered(columns, Series.of(domain.tick_ms, price, carbon), granted)


def _watts(power_mw: F64, share: float) -> I64:
    """A site's share of a region's power, whole watts, never more than there is."""
    watts = np.floor(np.clip(power_mw, 0.0, _POWER_MAX_MW) * share * _W_PER_MW)
    return watts.astype(np.int64)


def _mask(classes: str) -> int:
    return sum(1 << CLASSES.index(name) for name in classes.split("|") if name in CLASSES)


def _rates(site: Row) -> list[int]:
    """Speed in each of PRECISIONS, whatever the class."""
    return [site.get(name, PPM) for name in RATES]


def index_of(sites: list[Row]) -> dict[tuple[str, str], int]:
    """Column of each site and pool; a child's name alone is its first pool."""
    found: dict[tuple[str, str], int] = {}
    for m, site in enumerate(sites):
        found[site["id"], site.get("pool", "")] = m
        found.setdefault((site["id"], ""), m)
    return found


def place_of(run: Running, index: dict[tuple[str, str], int]) -> int:
    """The column where a job runs; ANY where its site is gone."""
    known = index.get((run.site_id, run.pool))
    return index.get((run.site_id, ""), ANY) if known is None else known


def set_aside(market: Market, sites: list[Row], domain: Domain, tick_ms: int, free: I64) -> None:
    """Take what runs off what is offered; a child has said what is taken of its own, but for

    what was handed to it since.
    """
    index = index_of(sites)
    for m, site in enumerate(sites):
        if "pool" in site:
            free[m] -= site["taken"]
    for run in market.running:
        m = place_of(run, index)
        if m == ANY or ("pool" in sites[m] and run.deal <= _known(market, run.site_id)):
            continue
        free[m, : max(0, slots_left(run, domain, tick_ms))] -= np.asarray(run.demand, np.int64)
    np.maximum(free, 0, out=free)  # an offer may shrink below what runs


def _known(market: Market, child: str) -> int:
    lent = market.below.get(child)
    return -1 if lent is None or lent.offer is None else lent.offer.deal


def slots_left(run: Running, domain: Domain, tick_ms: int) -> int:
    return -(-(run.end_ms - tick_ms) // domain.tick_ms)


def pools_of(
    sites: list[Row],
    columns: Sites,
    series: Series,
    free: I64,
    rtt: F64,
    price: F64,
    names: Sequence[str],
) -> tuple[Pool, ...]:
    """The sites as pools: those together that a parent's job cannot tell apart; down = empty.

    free [M, T, 5] after this tick's plan; rtt and price of a GB [P, M] from these places.
    """
    groups: dict[_Kind, list[int]] = {}
    for m, site in enumerate(sites):
        to = zip(names, rtt[:, m].tolist(), np.minimum(price[:, m], _MOST).tolist(), strict=True)
        known = tuple(way for way in to if 0 <= way[1] < _MOST)
        classes = "|".join(c for k, c in enumerate(CLASSES) if columns.classes[m] >> k & 1)
        fp64, fp32, fp16, int8 = np.clip(columns.rate_ppm[m, 0], 0, RATE_MAX_PPM).tolist()
        region = str(site.get("inner", site["region"]))
        groups.setdefault((region, classes, (fp64, fp32, fp16, int8), known), []).append(m)
    most = LIMIT_MAX // max(1, len(sites))  # so that their sum is a number of a column
    held = np.where(columns.up[:, None, None], np.clip(columns.capacity, 0, most), 0)
    free = np.minimum(free, held)
    return tuple(
        Pool(
            region=region,
            classes=classes,
            rate_ppm=rates,
            pue_ppm=max(1, *(int(columns.pue_ppm[m]) for m in of)),
            sites=tuple(sorted({name for m in of for name in _names(sites[m])})),
            rtt_ms={name: ms for name, ms, _ in known},
            price_per_gb={name: per_gb for name, _, per_gb in known if per_gb},
            largest=_amounts(np.max([_largest(sites[m], free[m]) for m in of], axis=0)),
            capacity=tuple(map(_amounts, held[of].sum(axis=0))),
            taken=tuple(map(_amounts, (held[of] - free[of]).sum(axis=0))),
            price_per_mwh=_mean(series.price_per_mwh[of], free[of, :, _POWER]),
            ci_kg_per_kwh=_mean(series.ci_kg_per_kwh[of], free[of, :, _POWER]),
        )
        for (region, classes, rates, known), of in sorted(groups.items())
    )


def _names(site: Row) -> tuple[str, ...]:
    return (site["id"], *site.get("sites", ()))


def _largest(site: Row, free: I64) -> I64:
    """The most free at any one site, in any slot: of a pool as it said, if that is there yet."""
    most: I64 = free.max(axis=0)
    return np.minimum(most, site["largest"]) if "pool" in site else most


def _amounts(row: I64) -> Amounts:
    cores, accel, power, network, green = row.tolist()
    return cores, accel, power, network, green


def _mean(of: F64, free: I64) -> tuple[float, ...]:
    """By slot, weighed by the power that is free."""
    weight = np.maximum(free, 1).astype(np.float64)
    mean = (np.nan_to_num(of) * weight).sum(axis=0) / weight.sum(axis=0)
    return tuple(np.clip(mean, -_MOST, _MOST).tolist())
