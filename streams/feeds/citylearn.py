"""CityLearn 2022: seventeen buildings with sun and battery, an hour at a time.

Data: intelligent-environments-lab/CityLearn. A building is a site and a region of its own, without
links: seventeen balances in one tick. Its forecasts are the later values themselves (perfect).
"""

from collections.abc import Iterator
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.compute as pc

from schemas.registry import Account, AnyEntry, Band, Domain, Meter, Provider, Site, Tariff
from streams.feeds.feed import (
    DAY_MS,
    HOUR_MS,
    Event,
    Row,
    in_event_time,
    market_events,
    telemetry_event,
)
from streams.feeds.files import days_within, folder, read_rows, read_table

START_MS = 1_470_009_600_000  # 2016-08-01 00:00, naive local standard time taken for UTC
DOMAIN = "citylearn"
HUB = "citylearn"
BUILDINGS = 17
DAYS = 364  # whole ones: the data begins with one hour of the day before, and ends an hour early

_HOURS = 8760
_FIRST_HOUR = 1
_FORECAST_HOURS = 24
_KWH_PER_MWH = 1000
_IMPORT_MAX_MW = 1.0  # of a building; the source names no limit
_TARIFF = "citylearn-price"
# PV is measured behind the building's own meter: no export tariff is given, and none is assumed
_UNPRICED = Tariff(id="citylearn-unpriced", bands=(Band(0, 24, 0),), currency="USD")


class Building(NamedTuple):
    """One building's hours, those of the forecast after them too."""

    id: str
    load_kwh: list[float]
    pv_kwh: list[float]
    capacity_kwh: float
    power_kw: float
    efficiency: float  # round trip


class CityLearn:
    """`days` of the seventeen buildings from day `start_day` (0 = 2016-08-01)."""

    name = "citylearn"
    label = (
        "CityLearn challenge 2022; naive local standard time taken for UTC; perfect forecasts; the "
        "price is a time-of-use tariff whose bands change with the day; no export, PV unpriced"
    )

    def __init__(self, data: Path, *, days: int = 7, start_day: int = 0) -> None:
        days_within(self.name, start_day, days, DAYS)
        self.days, self.start_ms = days, START_MS + start_day * DAY_MS
        self._folder = folder(data, self.name + "-2022")
        self._first = _FIRST_HOUR + start_day * 24
        self.buildings = list(self._buildings())
        self.price = self._hours("pricing_hourly", "electricity_pricing")
        self._carbon = self._hours("carbon_hourly", "carbon_intensity_kg_per_kwh")

    @property
    def readings(self) -> int:
        return 2 * len(self.buildings) * self.days * 24

    def count(self) -> int:
        return self.readings + sum(len(rows) for _, rows in self._market)

    def entries(self) -> list[AnyEntry]:
        """A site, two meters and two accounts a building; the price as a dated tariff."""
        entries: list[AnyEntry] = [
            Domain(id=DOMAIN, partition=2, steps=_FORECAST_HOURS, currency="USD"),
            Provider(id=self.name, name="intelligent-environments-lab/CityLearn"),
            _UNPRICED,
            *self._tariffs(),
        ]
        for building in self.buildings:
            site = building.id
            entries += [
                Site(id=site, hub_id=HUB),
                Account(id=site, tariff_id=_TARIFF),
                Account(id=f"{site}-pv", tariff_id=_UNPRICED.id),
                Meter(id=f"{site}-load", site_id=site, account_id=site),
                Meter(id=f"{site}-pv", site_id=site, account_id=f"{site}-pv"),
            ]
        return entries

    def events(self) -> Iterator[Event]:
        market = (e for at_ms, rows in self._market for e in market_events(rows, at_ms))
        return in_event_time(market, self._telemetry())

    def _tariffs(self) -> Iterator[Tariff]:
        """One entry a day on which the bands are not the day's before."""
        known: tuple[Band, ...] = ()
        for day in range(self.days):
            bands = _bands(self.price[24 * day : 24 * day + 24])
            if bands != known:
                yield Tariff(
                    id=_TARIFF,
                    valid_from_ms=self.start_ms + day * DAY_MS,
                    bands=bands,
                    currency="USD",
                )
            known = bands

    def _telemetry(self) -> Iterator[Event]:
        for hour in range(self.days * 24):
            start_ms = self.start_ms + hour * HOUR_MS
            for building in self.buildings:
                rows = [
                    _reading(
                        f"{building.id}-load", "load.energy", start_ms, building.load_kwh[hour]
                    ),
                    _reading(f"{building.id}-pv", "pv.energy", start_ms, building.pv_kwh[hour]),
                ]
                yield telemetry_event(building.id, rows, start_ms + HOUR_MS)

    @cached_property
    def _market(self) -> list[tuple[int, list[Row]]]:
        """(received, rows): the batteries, a day of states, then each hour the one a day ahead."""
        first: list[Row] = [_battery(building) for building in self.buildings]
        batches = [(self.start_ms, first)]
        for hour in range(self.days * 24 + 1):
            leads = range(_FORECAST_HOURS) if hour == 0 else (_FORECAST_HOURS - 1,)
            rows = [self._region(b, hour + lead) for lead in leads for b in self.buildings]
            batches.append((self.start_ms + hour * HOUR_MS, rows))
        return batches

    def _region(self, building: Building, at: int) -> Row:
        start_ms = self.start_ms + at * HOUR_MS
        return {
            "kind": "region",
            "domain": DOMAIN,
            "id": building.id,
            "region": building.id,
            "start_ms": start_ms,
            "end_ms": start_ms + HOUR_MS,
            "load_mw": building.load_kwh[at] / _KWH_PER_MWH,
            "ren_avail_mw": building.pv_kwh[at] / _KWH_PER_MWH,
            "import_max_mw": _IMPORT_MAX_MW,
            "import_price_per_mwh": self.price[at] * _KWH_PER_MWH,
            "ci_kg_per_kwh": self._carbon[at],
        }

    def _buildings(self) -> Iterator[Building]:
        columns = ["building", "non_shiftable_load_kwh", "solar_generation_w_per_kw"]
        hourly = read_table(self._folder / "buildings_hourly.parquet", columns)
        specs = [
            "building",
            "pv_nominal_power_kw",
            "storage_capacity_kwh",
            "storage_nominal_power_kw",
            "storage_efficiency",
        ]
        for spec in read_rows(self._folder / "buildings.csv", specs):
            own = hourly.filter(pc.equal(hourly["building"], int(spec["building"])))
            pv_kw = float(spec["pv_nominal_power_kw"])
            sun = self._part(own["solar_generation_w_per_kw"])
            yield Building(
                f"building-{int(spec['building']):02d}",
                self._part(own["non_shiftable_load_kwh"]),
                [pv_kw * w_per_kw / 1000 for w_per_kw in sun],
                float(spec["storage_capacity_kwh"]),
                float(spec["storage_nominal_power_kw"]),
                float(spec["storage_efficiency"]),
            )

    def _hours(self, file: str, column: str) -> list[float]:
        return self._part(read_table(self._folder / f"{file}.parquet", [column])[column])

    def _part(self, year: Any) -> list[float]:
        """The hours played and those forecast after them; beyond the data its last one holds."""
        hours = self.days * 24 + _FORECAST_HOURS
        played: list[float] = year.slice(self._first, hours).to_pylist()
        return played + played[-1:] * (hours - len(played))


def _reading(meter_id: str, register: str, start_ms: int, kwh: float) -> Row:
    return {
        "meter_id": meter_id,
        "register": register,
        "kind": "delta",
        "unit": "kWh",
        "start_ms": start_ms,
        "end_ms": start_ms + HOUR_MS,
        "quantity": kwh,
    }


def _battery(building: Building) -> Row:
    """Empty at the start; the round trip is split evenly between in and out."""
    eta = building.efficiency**0.5
    return {
        "kind": "storage",
        "domain": DOMAIN,
        "id": f"{building.id}-battery",
        "region": building.id,
        "charge_max_mw": building.power_kw / _KWH_PER_MWH,
        "discharge_max_mw": building.power_kw / _KWH_PER_MWH,
        "eta_charge": eta,
        "eta_discharge": eta,
        "soc_mwh": 0.0,
        "soc_max_mwh": building.capacity_kwh / _KWH_PER_MWH,
    }


def _bands(day: list[float]) -> tuple[Band, ...]:
    """A day's 24 prices per kWh as bands."""
    bands: list[Band] = []
    for hour, price in enumerate(day):
        micro = int(Decimal(repr(price)) * 1_000_000)
        if bands and bands[-1].price_micro_per_kwh == micro:
            bands[-1] = Band(bands[-1].from_hour, hour + 1, micro)
        else:
            bands.append(Band(hour, hour + 1, micro))
    return tuple(bands)
