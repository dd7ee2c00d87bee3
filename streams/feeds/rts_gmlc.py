"""RTS-GMLC: a three-area test grid, its meters every five minutes or hour, its areas balanced.

Data: GridMod/RTS-GMLC. Each series is a meter; energy in mJ is round_half_even(MW x 3.6e12 x h).
The five-minute load of an area is its utility's x 2850 / the utility's own peak.
"""

from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.registry import Account, AnyEntry, Band, Domain, Meter, Provider, Site, Tariff
from schemas.units import energy_mj
from streams.feeds.feed import (
    DAY_MS,
    HOUR_MS,
    Event,
    Row,
    in_event_time,
    market_events,
    telemetry_event,
)
from streams.feeds.files import days_within, folder, read_table
from streams.feeds.rts_units import AREAS, area_of, links, storage, supplies

START_MS = 1_577_836_800_000  # 2020-01-01 00:00, naive local time taken for UTC
DOMAIN = "rts-gmlc"
DAYS = 366

_STEP_MS = 300_000
_AREA_PEAK_MW = 2850.0
# area, utility, its peak in MW: the source's 5-minute load is the utility's
_UTILITIES = (
    ("area-1", "aps_mw", 8084.0),
    ("area-2", "nevp_mw", 6353.0),
    ("area-3", "ldwp_mw", 6322.0),
)
# file, register, step
_UNITS = (
    ("wind_real_time", "wind.energy", _STEP_MS),
    ("pv_day_ahead", "pv.energy", HOUR_MS),
    ("rtpv_day_ahead", "rtpv.energy", HOUR_MS),
    ("hydro_day_ahead", "hydro.energy", HOUR_MS),
)
_FORECAST_HOURS = 48
_UNPRICED = Tariff(id="rts-unpriced", bands=(Band(0, 24, 0),), currency="USD")

Real = npt.NDArray[np.float64]


class Series(NamedTuple):
    """One meter's mean power over each step of the days played."""

    meter_id: str
    area: str
    register: str
    step_ms: int
    mw: list[float]


class _States(NamedTuple):
    """Hourly MW of one area."""

    load: Real
    fixed: Real  # sun and water: the same in forecast and fact
    wind_forecast: Real
    wind: Real


class RtsGmlc:
    """`days` of the grid from day `start_day` of 2020 (0 = January 1)."""

    name = "rts-gmlc"
    label = (
        "RTS-GMLC (DOE/NREL/ALLIANCE), 2020; naive local time taken for UTC; 5-minute load scaled "
        "from the utilities'; inflow of the solar thermal plant left out (heat, not power); "
        "roof-top PV and hydro counted as renewables that may be curtailed"
    )

    def __init__(self, data: Path, *, days: int = 7, start_day: int = 0) -> None:
        days_within(self.name, start_day, days, DAYS)
        self.days, self.start_day = days, start_day
        self.start_ms = START_MS + start_day * DAY_MS
        self._folder = folder(data, self.name)
        self.series = [*self._loads(), *self._units()]

    @property
    def readings(self) -> int:
        return sum(len(series.mw) for series in self.series)

    def count(self) -> int:
        return self.readings + sum(len(rows) for _, rows in self._market)

    def entries(self) -> list[AnyEntry]:
        """A hub, a site and an account an area, a meter a series; the source has no tariff."""
        return [
            Domain(id=DOMAIN, partition=1, steps=24, currency="USD"),
            Provider(id=self.name, name="GridMod/RTS-GMLC"),
            _UNPRICED,
            *(Account(id=area, tariff_id=_UNPRICED.id) for area in AREAS),
            *(Site(id=area, hub_id=area) for area in AREAS),
            *(Meter(id=s.meter_id, site_id=s.area, account_id=s.area) for s in self.series),
        ]

    def events(self) -> Iterator[Event]:
        market = (e for at_ms, rows in self._market for e in market_events(rows, at_ms))
        return in_event_time(market, self._telemetry())

    def _telemetry(self) -> Iterator[Event]:
        by_area = [(area, [s for s in self.series if s.area == area]) for area in AREAS]
        for end_ms in range(_STEP_MS, self.days * DAY_MS + 1, _STEP_MS):
            for area, meters in by_area:
                rows = [self._row(s, end_ms) for s in meters if end_ms % s.step_ms == 0]
                yield telemetry_event(area, rows, self.start_ms + end_ms)

    def _row(self, series: Series, end_ms: int) -> Row:
        """The reading that ends `end_ms` after the start."""
        step = end_ms // series.step_ms - 1
        return {
            "meter_id": series.meter_id,
            "register": series.register,
            "kind": "delta",
            "unit": "mJ",
            "start_ms": self.start_ms + end_ms - series.step_ms,
            "end_ms": self.start_ms + end_ms,
            "quantity": energy_mj(series.mw[step], Fraction(series.step_ms, HOUR_MS)),
        }

    def _loads(self) -> Iterator[Series]:
        columns = [utility for _, utility, _ in _UTILITIES]
        table = self._read("load_utility_real_time", columns)
        for area, utility, peak_mw in _UTILITIES:
            mw = self._played(table[utility].to_numpy(), _STEP_MS) * _AREA_PEAK_MW / peak_mw
            yield Series(f"{area}-load", area, "load.energy", _STEP_MS, mw.tolist())

    def _units(self) -> Iterator[Series]:
        for file, register, step_ms in _UNITS:
            table = self._read(file)
            for unit in table.column_names[1:]:
                mw = self._played(table[unit].to_numpy(), step_ms)
                yield Series(unit, area_of(unit), register, step_ms, mw.tolist())

    def _read(self, file: str, columns: list[str] | None = None) -> pa.Table:
        return read_table(self._folder / f"{file}.parquet", columns)

    def _played(self, year: Real, step_ms: int) -> Real:
        first = self.start_day * DAY_MS // step_ms
        return year[first : first + self.days * DAY_MS // step_ms]

    @cached_property
    def _market(self) -> list[tuple[int, list[Row]]]:
        """(received, rows): what stands, then each hour as it is with two days of forecast.

        The last states are received after the last tick, which they bring about.
        """
        standing = [
            *supplies(self._folder, DOMAIN),
            *links(self._folder, DOMAIN),
            storage(self._folder, DOMAIN),
        ]
        batches: list[tuple[int, list[Row]]] = [(self.start_ms, standing)]
        states = {area: self._states(area) for area in AREAS}
        for hour in range(self.days * 24 + 1):
            leads = range(_FORECAST_HOURS) if hour == 0 else (0, _FORECAST_HOURS - 1)
            rows = [self._region(area, states[area], hour, k) for k in leads for area in AREAS]
            batches.append((self.start_ms + hour * HOUR_MS, rows))
        return batches

    def _region(self, area: str, states: _States, hour: int, lead: int) -> Row:
        at = hour + lead
        start_ms = self.start_ms + at * HOUR_MS
        wind = states.wind_forecast if lead else states.wind
        return {
            "kind": "region",
            "domain": DOMAIN,
            "id": area,
            "region": area,
            "start_ms": start_ms,
            "end_ms": start_ms + HOUR_MS,
            "load_mw": round(float(states.load[at]), 6),
            "ren_avail_mw": round(float(wind[at] + states.fixed[at]), 6),
            "import_max_mw": 0.0,
            "import_price_per_mwh": 0.0,
        }

    def _states(self, area: str) -> _States:
        """Hourly MW from the start on; wind is forecast, the rest is the same on both days."""
        fixed = [
            self._hourly(table[unit].to_numpy())
            for table in map(self._read, ("pv_day_ahead", "rtpv_day_ahead", "hydro_day_ahead"))
            for unit in table.column_names[1:]
            if area_of(unit) == area
        ]
        ahead, real = self._read("wind_day_ahead"), self._read("wind_real_time")
        plants = [unit for unit in ahead.column_names[1:] if area_of(unit) == area]
        nothing = np.zeros(self.days * 24 + _FORECAST_HOURS)
        per_hour = HOUR_MS // _STEP_MS
        means = (real[p].to_numpy().reshape(-1, per_hour).mean(axis=1) for p in plants)
        column = area.replace("-", "_")
        return _States(
            self._hourly(self._read("load_day_ahead", [column])[column].to_numpy()),
            sum(fixed, nothing),
            sum((self._hourly(ahead[plant].to_numpy()) for plant in plants), nothing),
            sum(map(self._hourly, means), nothing),
        )

    def _hourly(self, year: Real) -> Real:
        """The hours played and those forecast after them; beyond the year its last one holds."""
        first = self.start_day * 24
        padded = np.pad(year, (0, _FORECAST_HOURS), mode="edge")
        return padded[first : first + self.days * 24 + _FORECAST_HOURS]
