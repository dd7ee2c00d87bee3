"""Eight hubs for a day: the demo's own scenario, seeded, without any data file.

Eight hubs x three sites x racks, every five minutes; hourly ticks of one national domain; a day's
jobs; an outage, a flexible load, three contracts and a few readings that must be refused.
"""

from collections.abc import Iterator
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from random import Random

from schemas.registry import AnyEntry, Condition, Contract, Domain, Provider
from streams.feeds import hub_jobs
from streams.feeds.bad_readings import BAD_READINGS
from streams.feeds.feed import (
    HOUR_MS,
    Event,
    Row,
    in_event_time,
    market_events,
    telemetry_bytes,
    telemetry_event,
)
from streams.feeds.hub_grid import HubGrid
from streams.feeds.hub_sites import (
    INTERVAL_MS,
    RACK_READINGS,
    SITE_READINGS,
    MeteredSite,
    accounts,
)
from streams.feeds.hubs import HUBS, SITES_PER_HUB

START_MS = 1_750_435_200_000  # 2025-06-21 00:00 in China (UTC+8)
DOMAIN = "national"
BAD_COUNT = 20
BILLED_TENANT = "tenant-a"

_OUTAGE_SITE = "inner-mongolia-2"
_OUTAGE_HOURS = (14, 16)
_FLEX_HOURS = (8, 20)


class EightHubs:
    """`hours` of the scenario with `racks` racks a site; `bad` adds readings to be refused."""

    name = "eight-hubs"
    label = (
        "synthetic; emission factors MEE 2022 (Hebei for Jing-Jin-Ji, the province for Inner "
        "Mongolia, the grid region for the others)"
    )

    def __init__(
        self, seed: int = 2025, *, hours: int = 24, racks: int = 14, bad: bool = True
    ) -> None:
        self.seed, self.hours, self.racks = seed, hours, racks
        self.end_ms = START_MS + hours * HOUR_MS
        self.bad_count = BAD_COUNT if bad else 0
        self.steps = hours * HOUR_MS // INTERVAL_MS
        self.sites = [
            MeteredSite(hub, number, racks, START_MS, self.steps, seed)
            for hub in HUBS
            for number in range(SITES_PER_HUB)
        ]
        self._outage = tuple(START_MS + hour * HOUR_MS for hour in _OUTAGE_HOURS)
        for site in self.sites:
            if site.id == _OUTAGE_SITE:
                site.goes_dark(*self._outage)

    @classmethod
    def open(cls, data: Path, *, seed: int = 2025, hours: int = 24) -> "EightHubs":
        """The scenario in the form of the other feeds; it reads no data."""
        return cls(seed, hours=hours)

    @property
    def readings(self) -> int:
        """Rows of telemetry.in: each interval's, each counter's first, and the bad ones."""
        an_interval = self.racks * RACK_READINGS + SITE_READINGS
        return len(self.sites) * (self.steps * an_interval + 1) + self.bad_count

    def count(self) -> int:
        return self.readings + sum(len(rows) for _, rows in self._market)

    def entries(self) -> list[AnyEntry]:
        """Domain, tariffs, accounts, sites, meters, and what three subscribers may read."""
        return [
            Domain(id=DOMAIN, partition=0, steps=24, carbon_price_per_t=90.0),
            Provider(id="gridloom-scenario", name="seeded scenario"),
            *accounts(),
            *(entry for site in self.sites for entry in site.entries()),
            *_contracts(),
        ]

    def events(self) -> Iterator[Event]:
        market = (e for at_ms, rows in self._market for e in market_events(rows, at_ms))
        return in_event_time(market, self._telemetry())

    @cached_property
    def _market(self) -> list[tuple[int, list[Row]]]:
        """(received, rows) in order: what stands, hourly states, jobs, and the closing states.

        The closing states are received after the last tick, which they bring about.
        """
        grid = HubGrid(DOMAIN, START_MS, self.hours, self.seed)
        standing = [*grid.standing(), *hub_jobs.offers(DOMAIN), *hub_jobs.paths(DOMAIN)]
        batches = [(START_MS, [*standing, _flexible_load()])]
        for hour in range(self.hours + 1):
            batches.append((START_MS + hour * HOUR_MS, grid.published(hour)))
        if self._outage[1] <= self.end_ms:
            down = hub_jobs.outage(DOMAIN, _OUTAGE_SITE, *self._outage)
            batches.append((self._outage[0], [down]))
        for job in hub_jobs.jobs(DOMAIN, START_MS, self.hours, self.seed):
            batches.append((job["start_ms"], [job]))
        return sorted(batches, key=lambda batch: batch[0])

    def _telemetry(self) -> Iterator[Event]:
        bad = self._bad_places()
        days = [site.intervals() for site in self.sites]
        for step, intervals in enumerate(zip_longest(*days)):
            for site, (end_ms, gateway, alone) in zip(self.sites, intervals, strict=True):
                yield telemetry_event(site.id, gateway, end_ms)
                for row in alone:
                    yield telemetry_event(site.id, [row], end_ms)
                for reason in bad.get((step, site.id), ()):
                    yield telemetry_bytes(site.id, BAD_READINGS[reason](gateway[0]), end_ms)

    def _bad_places(self) -> dict[tuple[int, str], list[str]]:
        """(step, site) -> the bad readings sent there; each kind in turn, spread over the day."""
        rng, reasons = Random(f"bad/{self.seed}"), list(BAD_READINGS)
        places: dict[tuple[int, str], list[str]] = {}
        for number in range(self.bad_count):
            step = 1 + number * self.steps // self.bad_count  # step 0 holds the counters' first
            site = rng.choice(self.sites)
            places.setdefault((step, site.id), []).append(reasons[number % len(reasons)])
        return places


def _flexible_load() -> Row:
    """An electrolyser that takes its energy whenever it suits the grid."""
    first, last = (START_MS + hour * HOUR_MS for hour in _FLEX_HOURS)
    return {
        "kind": "request",
        "domain": DOMAIN,
        "id": "ningxia-electrolyser",
        "region": "ningxia",
        "start_ms": first,
        "end_ms": last,
        "energy_mwh": 40.0,
        "power_max_mw": 8.0,
    }


def _contracts() -> Iterator[Contract]:
    yield Contract(
        id=f"{BILLED_TENANT}-bill",
        subscriber=BILLED_TENANT,
        topic="settlement",
        columns=(
            "line_id",
            "revision",
            "account_id",
            "meter_id",
            "register",
            "start_ms",
            "end_ms",
            "quantity_mj",
            "price_micro_per_kwh",
            "amount_micro",
            "currency",
        ),
        where=(Condition("account_id", "eq", BILLED_TENANT),),
        purpose="its own bill, to be recomputed",
    )
    yield Contract(
        id="inner-mongolia-signals",
        subscriber="operator-inner-mongolia",
        topic="signals",
        columns=(
            "tick_ms",
            "domain",
            "region",
            "start_ms",
            "end_ms",
            "revision",
            "green_surplus_mj",
            "curtailed_mj",
            "ren_share_ppm",
            "cfe_hourly_ppm",
            "price_micro",
            "stale_inputs",
        ),
        where=(Condition("region", "eq", "inner-mongolia"),),
        purpose="running flexible load when there is green surplus",
    )
    yield Contract(
        id="hub-rollups",
        subscriber="national-observatory",
        topic="rollups",
        columns=(
            "level",
            "id",
            "register",
            "unit",
            "start_ms",
            "end_ms",
            "revision",
            "count",
            "energy_mj",
            "mean",
            "p95",
            "pue_ppm",
        ),
        where=(Condition("level", "eq", "hub"),),
        purpose="statistics of hubs, never of a rack or tenant",
    )
