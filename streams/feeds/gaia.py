"""GAIA: days of real batch arrivals, placed over the eight hubs of the scenario.

Data: umassos/GAIA (Azure, Alibaba PAI and Los Alamos Mustang traces). Arrival, length and cores are
the trace's; origin, deadline and cost of rejection follow a seeded rule, the grid is synthetic.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from random import Random

from schemas.errors import ConfigError
from schemas.registry import Account, AnyEntry, Domain, Provider, Site
from streams.feeds import hub_jobs
from streams.feeds.feed import DAY_MS, HOUR_MS, Event, Row, market_events
from streams.feeds.files import days_within, folder, read_table
from streams.feeds.hub_grid import HubGrid
from streams.feeds.hubs import HUBS, MEASURED_ONLY, Hub

START_MS = 1_735_660_800_000  # 2025-01-01 00:00 in China (UTC+8); the trace names no year
DOMAIN = "gaia"
DAYS = 365
# trace -> class of its jobs
TRACES = {"azure": "general", "pai": "intelligent", "mustang": "super"}
WATTS_PER_CORE = 6

_HEADROOM = 1.5  # cores offered / mean cores in use
_SLACK_MIN_HOURS, _SLACK_HOURS = 3.0, 6.0


class Gaia:
    """`days` of one trace from day `start_day` of its year, one site a hub."""

    name = "gaia"
    readings = 0

    def __init__(
        self,
        data: Path,
        *,
        trace: str = "azure",
        days: int = 7,
        start_day: int = 0,
        seed: int = 2025,
    ) -> None:
        if trace not in TRACES:
            raise ConfigError(f"no trace {trace!r}", f"choose one of {', '.join(TRACES)}")
        days_within(self.name, start_day, days, DAYS)
        self.trace, self.days, self.seed = trace, days, seed
        self.start_ms = START_MS + start_day * DAY_MS
        self.label = (
            f"GAIA {trace}; synthetic: origin, deadline and cost of rejection by a seeded rule, "
            f"the eight hubs' grid (emission factors MEE 2022), {WATTS_PER_CORE} W a core"
        )
        columns = ["arrival_time", "length", "cpus"]
        table = read_table(folder(data, self.name) / f"{trace}.parquet", columns)
        arrival_h, length_h, cores = (table[name].to_numpy() for name in columns)
        played = (arrival_h >= start_day * 24) & (arrival_h < (start_day + days) * 24)
        self._arrival_h = arrival_h[played] - start_day * 24
        self._length_h, self._cores = length_h[played], cores[played]

    def count(self) -> int:
        return sum(len(rows) for _, rows in self._market)

    def entries(self) -> list[AnyEntry]:
        """The domain, a site a hub, and the tenant that the trace is."""
        return [
            Domain(id=DOMAIN, partition=4, steps=24, carbon_price_per_t=90.0),
            Provider(id=self.name, name="umassos/GAIA"),
            MEASURED_ONLY,
            Account(id=f"gaia-{self.trace}", tariff_id=MEASURED_ONLY.id),
            *(Site(id=_site_id(hub), hub_id=hub.id) for hub in HUBS),
        ]

    def events(self) -> Iterator[Event]:
        for at_ms, rows in self._market:
            yield from market_events(rows, at_ms)

    @cached_property
    def _market(self) -> list[tuple[int, list[Row]]]:
        """(received, rows) in order; a tick follows the last arrival, and the states close it."""
        hours = self.days * 24
        grid = HubGrid(DOMAIN, self.start_ms, hours + 1, self.seed)
        standing = [*grid.standing(), *self._offers(), *hub_jobs.paths(DOMAIN)]
        batches = [(self.start_ms, standing)]
        for hour in range(hours + 2):
            batches.append((self.start_ms + hour * HOUR_MS, grid.published(hour)))
        batches += [(job["start_ms"], [job]) for job in self._jobs()]
        return sorted(batches, key=lambda batch: batch[0])

    def _offers(self) -> Iterator[Row]:
        """Cores by the trace's own mean use; any site can hold the largest job."""
        mean = float((self._length_h * self._cores).sum()) / (self.days * 24)
        largest = float(self._cores.max(initial=1.0))
        cores = round(max(largest, _HEADROOM * mean / len(HUBS)))
        for hub in HUBS:
            yield {
                "kind": "offer",
                "domain": DOMAIN,
                "id": _site_id(hub),
                "region": hub.id,
                "cores_milli": cores * 1000,
                "accel_milli": 0,
                "power_w": round(cores * WATTS_PER_CORE * hub.pue) + 1,
                "pue_ppm": round(hub.pue * 1_000_000),
                "classes": TRACES[self.trace],
            }

    def _jobs(self) -> Iterator[Row]:
        """Deadline: arrival + length + 3 h + up to the length or 6 h, the longer.

        Three hours, because a job waits for the next tick and its end is rounded to slots.
        """
        rng = Random(f"gaia/{self.trace}/{self.seed}")
        shares = [hub.origin_share for hub in HUBS]
        rows = zip(
            self._arrival_h.tolist(), self._length_h.tolist(), self._cores.tolist(), strict=True
        )
        for number, (arrival_h, length_h, cores) in enumerate(rows):
            released_ms = self.start_ms + int(arrival_h * HOUR_MS)
            slack_h = _SLACK_MIN_HOURS + rng.random() * max(length_h, _SLACK_HOURS)
            duration_ms = round(length_h * HOUR_MS)
            yield {
                "kind": "job",
                "domain": DOMAIN,
                "id": f"{self.trace}-{number:06d}",
                "region": rng.choices(HUBS, shares)[0].id,
                "account_id": f"gaia-{self.trace}",
                "class": TRACES[self.trace],
                "precision": "fp64",
                "start_ms": released_ms,
                "end_ms": released_ms + duration_ms + int(slack_h * HOUR_MS),
                "duration_ms": duration_ms,
                "cores_milli": int(cores * 1000),
                "power_w": int(cores * WATTS_PER_CORE),
                "reject_cost": round(20 + 2 * length_h * cores, 2),
            }


def _site_id(hub: Hub) -> str:
    return f"{hub.id}-gaia"
