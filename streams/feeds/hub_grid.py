"""The grid side of the eight hubs: states and forecasts, storage, supply and links. Synthetic."""

from collections.abc import Iterator
from math import pi, sin

import numpy as np
import numpy.typing as npt

from streams.feeds.feed import HOUR_MS, Row
from streams.feeds.hubs import CHINA_MS, HUBS, LINKS, Hub, import_price_per_mwh

FORECAST_HOURS = 48
_REVISED_HOURS = 6  # of the forecast, each hour
_TREND_HOURS = 12  # lead at which a forecast is no better than any earlier one
_LOAD_ERROR, _RENEWABLE_ERROR = 0.03, 0.18  # standard deviation at that lead

Real = npt.NDArray[np.float64]

_EVENING_HOUR, _MORNING_HOUR = 20.0, 11.0
_STORAGE_HOURS = 4
_ETA = 0.95


class HubGrid:
    """Hourly states of the eight regions from start_ms, as they come about and as forecast."""

    def __init__(self, domain: str, start_ms: int, hours: int, seed: int) -> None:
        self.domain, self.start_ms = domain, start_ms
        self.hours = hours + FORECAST_HOURS
        self._load: dict[str, Real] = {}
        self._renewable: dict[str, Real] = {}
        self._errors: dict[str, Real] = {}
        for number, hub in enumerate(HUBS):
            rng = np.random.default_rng([seed, 1, number])
            self._load[hub.id] = self._load_mw(hub, rng)
            self._renewable[hub.id] = self._renewable_mw(hub, rng)
            errors = rng.standard_normal((2, self.hours)).clip(-2.5, 2.5)
            self._errors[hub.id] = errors * [[_LOAD_ERROR], [_RENEWABLE_ERROR]]

    def standing(self) -> list[Row]:
        """What holds from the start: storage, supply and links."""
        return [*self._storages(), *self._supplies(), *self._links()]

    def published(self, hour: int) -> list[Row]:
        """States known at an hour from the start: the first forecast, later its revisions.

        The hour itself is actual; what lies ahead is the less sure the farther it is.
        """
        leads = range(FORECAST_HOURS) if hour == 0 else (*range(_REVISED_HOURS), FORECAST_HOURS - 1)
        return [self.state(hub, hour, lead) for lead in leads for hub in HUBS]

    def state(self, hub: Hub, hour: int, lead: int) -> Row:
        """The region's row of `hour + lead` as seen at `hour`."""
        at = hour + lead
        start_ms = self.start_ms + at * HOUR_MS
        error = self._errors[hub.id][:, at] * min(1.0, lead / _TREND_HOURS) ** 0.5
        return {
            "kind": "region",
            "domain": self.domain,
            "id": hub.id,
            "region": hub.id,
            "start_ms": start_ms,
            "end_ms": start_ms + HOUR_MS,
            "load_mw": round(float(self._load[hub.id][at] * (1 + error[0])), 3),
            "ren_avail_mw": round(float(self._renewable[hub.id][at] * (1 + error[1])), 3),
            "import_max_mw": hub.import_max_mw,
            "import_price_per_mwh": import_price_per_mwh(hub, int(self._clock(at))),
            "export_max_mw": hub.export_max_mw,
            "export_price_per_mwh": 120.0,
            "ci_kg_per_kwh": hub.ci_kg_per_kwh,
        }

    def _clock(self, hour: float) -> float:
        """Clock hour (UTC+8) of an hour from the start."""
        return ((self.start_ms + CHINA_MS) / HOUR_MS + hour) % 24

    def _load_mw(self, hub: Hub, rng: np.random.Generator) -> Real:
        """Two peaks a day, deeper at night in the east; 1.5 % noise."""
        clock = np.array([self._clock(hour + 0.5) for hour in range(self.hours)])
        swing = 0.10 if hub.green else 0.22
        peaks = _bell(clock, _MORNING_HOUR, 4.0) + 1.1 * _bell(clock, _EVENING_HOUR, 3.0)
        shape = 1 - swing + 1.6 * swing * peaks
        return np.asarray(hub.load_mw * shape * _noise(rng, self.hours, 0.015))

    def _renewable_mw(self, hub: Hub, rng: np.random.Generator) -> Real:
        """Sun about the hub's own noon under passing cloud; wind as a slow AR(1), more at night."""
        clock = [self._clock(hour + 0.5) for hour in range(self.hours)]
        sun = np.array([_sun(hour - hub.solar_noon_hour) for hour in clock])
        solar = hub.solar_mw * 0.88 * sun * _noise(rng, self.hours, 0.06).clip(0.5, 1.1)
        level, share = 0.0, np.empty(self.hours)
        for hour, shock in enumerate(rng.standard_normal(self.hours)):
            level = 0.9 * level + 0.06 * shock
            share[hour] = 0.38 + level - 0.10 * _sun(clock[hour] - hub.solar_noon_hour)
        return np.asarray(solar + hub.wind_mw * share.clip(0.04, 0.92))

    def _storages(self) -> Iterator[Row]:
        for hub in HUBS:
            energy_mwh = _STORAGE_HOURS * hub.storage_mw
            yield {
                **self._thing("storage", f"{hub.id}-storage", hub.id),
                "charge_max_mw": hub.storage_mw,
                "discharge_max_mw": hub.storage_mw,
                "eta_charge": _ETA,
                "eta_discharge": _ETA,
                "soc_mwh": 0.4 * energy_mwh,
                "soc_min_mwh": 0.1 * energy_mwh,
                "soc_max_mwh": energy_mwh,
                "wear_per_mwh": 40.0,
                "terminal_value_per_mwh": 250.0,
            }

    def _supplies(self) -> Iterator[Row]:
        for hub in HUBS:
            yield {
                **self._thing("supply", f"{hub.id}-plant", hub.id),
                "cap_mw": hub.supply_mw,
                "cost_per_mwh": hub.supply_cost_per_mwh,
                "ci_kg_per_kwh": hub.supply_ci_kg_per_kwh,
            }

    def _links(self) -> Iterator[Row]:
        for origin, target, cap_mw, loss, tariff_per_mwh in LINKS:
            yield {
                **self._thing("link", f"{origin}>{target}", origin),
                "to_region": target,
                "cap_mw": cap_mw,
                "loss": loss,
                "cost_per_mwh": tariff_per_mwh,
            }

    def _thing(self, kind: str, thing_id: str, region: str) -> Row:
        return {"kind": kind, "domain": self.domain, "id": thing_id, "region": region}


def _noise(rng: np.random.Generator, size: int, sigma: float) -> Real:
    return np.asarray(1 + sigma * rng.standard_normal(size))


def _bell(clock: Real, at_hour: float, width_h: float) -> Real:
    away = (clock - at_hour + 12) % 24 - 12
    return np.asarray(np.exp(-((away / width_h) ** 2) / 2))


def _sun(from_noon_h: float) -> float:
    """Share of peak output, a June day of 14 hours."""
    return max(0.0, sin(pi * (from_noon_h + 7) / 14)) ** 1.3 if abs(from_noon_h) < 7 else 0.0
