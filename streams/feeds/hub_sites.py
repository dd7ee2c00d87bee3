"""The metered side of the eight hubs: racks and site meters every five minutes. Synthetic.

Energies are whole micro-kWh before they are written, so that a site's facility energy is exactly
its racks' and what its cooling and its distribution took.
"""

from collections.abc import Iterable, Iterator
from math import cos, pi

import numpy as np
import numpy.typing as npt

from schemas.registry import Account, AnyEntry, Meter, Site
from schemas.telemetry import FACILITY_ENERGY, IT_ENERGY
from schemas.units import MJ_PER_KWH
from streams.feeds.feed import HOUR_MS, Row
from streams.feeds.hub_jobs import TENANTS
from streams.feeds.hubs import CHINA_MS, HUBS, MEASURED_ONLY, TOU_EAST, TOU_WEST, Hub

INTERVAL_MS = 300_000
SITE_READINGS = 5  # of the site's own meters in an interval
RACK_READINGS = 3
_STEPS_PER_HOUR = HOUR_MS // INTERVAL_MS
_HOTTEST_HOUR = 15.0
_PUE_MIN, _PUE_MAX = 1.15, 1.35
_COOLING_SHARE = 0.8  # of what is not IT
_COUNTER_MODULUS_KWH = 1_000_000
_CHILLER_RATING_W = 2_000_000
_UNIT = 1_000_000  # micro-kWh a kWh

Whole = npt.NDArray[np.int64]
Real = npt.NDArray[np.float64]


class MeteredSite:
    """One site's day: [steps, racks] of energy, temperature, utilization; [steps] of the site."""

    def __init__(
        self, hub: Hub, number: int, racks: int, start_ms: int, steps: int, seed: int
    ) -> None:
        self.hub, self.id = hub, hub.site_ids[number]
        self.start_ms, self.steps, self.racks = start_ms, steps, racks
        self.place = HUBS.index(hub) * len(hub.site_ids) + number
        rng = np.random.default_rng([seed, 2, self.place])
        self._clock = ((start_ms + CHINA_MS) / HOUR_MS + np.arange(steps) / _STEPS_PER_HOUR) % 24
        self.rated_kw = rng.uniform(60, 105, racks)
        self.utilization = self._utilization(rng)
        self.inlet_cel = 20.5 + 5 * self.utilization + rng.normal(0, 0.25, (steps, racks))
        self.outdoor_cel = self._outdoor_cel(rng)
        self.counter_start = self._counter_start(rng)
        self._dark = np.zeros(steps, np.bool_)

    def goes_dark(self, start_ms: int, end_ms: int) -> None:
        """An outage: racks stand by, and draw what their supplies take."""
        ends_ms = self.start_ms + np.arange(1, self.steps + 1) * INTERVAL_MS
        self._dark = (ends_ms > start_ms) & (ends_ms <= end_ms)
        self.utilization[self._dark] = 0.0

    def it_energy(self) -> Whole:
        """[steps, racks] micro-kWh: a quarter of the rating when idle, all of it when busy."""
        share = np.where(self._dark[:, None], 0.04, 0.25 + 0.75 * self.utilization)
        return np.rint(self.rated_kw * share / _STEPS_PER_HOUR * _UNIT).astype(np.int64)

    def pue(self) -> Real:
        """[steps] by climate and hour."""
        swing = 0.04 * np.cos((self._clock - _HOTTEST_HOUR) * pi / 12)
        return np.asarray((self.hub.pue + swing).clip(_PUE_MIN, _PUE_MAX))

    def entries(self) -> Iterator[AnyEntry]:
        """The site, its racks' meters (a tenant's each) and its own (the operator's)."""
        yield Site(id=self.id, hub_id=self.hub.id, name=self.id.replace("-", " ").title())
        for rack in range(self.racks):
            yield Meter(
                id=f"{self.id}-{rack_id(rack)}",
                site_id=self.id,
                account_id=self.tenant(rack),
                rack_id=rack_id(rack),
            )
        for name in ("feed", "chiller", "ups", "weather"):
            counter = name == "chiller"
            yield Meter(
                id=f"{self.id}-{name}",
                site_id=self.id,
                account_id=operator(self.hub) if name == "feed" else submeters(self.hub),
                rating_w=_CHILLER_RATING_W if counter else 0,
                register_modulus=_COUNTER_MODULUS_KWH * MJ_PER_KWH if counter else 0,
            )

    def tenant(self, rack: int) -> str:
        """Tenants a to f are in the east, g to l in the green bases."""
        half = len(TENANTS) // 2
        return TENANTS[(self.place * self.racks + rack) % half + (half if self.hub.green else 0)]

    def intervals(self) -> Iterator[tuple[int, list[Row], list[Row]]]:
        """(end_ms, readings of the site's gateway, readings of devices that send by themselves)."""
        racks = [self._rack_row(rack) for rack in range(self.racks)]
        it_energy = self.it_energy()
        facility = np.rint(it_energy.sum(axis=1) * self.pue()).astype(np.int64)
        overhead = facility - it_energy.sum(axis=1)
        cooling = (overhead * _COOLING_SHARE).astype(np.int64)
        counter = (self.counter_start + cooling.cumsum()) % (_COUNTER_MODULUS_KWH * _UNIT)
        rounded = [np.round(v, 2).tolist() for v in (self.inlet_cel, 100 * self.utilization)]
        columns = zip(
            it_energy.tolist(),
            *rounded,
            facility.tolist(),
            (overhead - cooling).tolist(),
            counter.tolist(),
            np.round(self.outdoor_cel, 1).tolist(),
            strict=True,
        )
        ups = _reading(f"{self.id}-ups", "distribution.energy", "delta", "Wh")
        weather = _reading(f"{self.id}-weather", "outdoor.temperature", "gauge", "Cel")
        feed_energy = _reading(f"{self.id}-feed", FACILITY_ENERGY, "delta", "kWh")
        feed_power = _reading(f"{self.id}-feed", "facility.power", "gauge", "kW")
        start_ms = self.start_ms
        yield start_ms, [self._counter_row(start_ms, self.counter_start)], []
        for energy, inlet, busy, feed, rest, count, outdoor in columns:
            end_ms = start_ms + INTERVAL_MS
            span = {"start_ms": start_ms, "end_ms": end_ms}
            gateway = list(_rack_readings(racks, span, zip(energy, inlet, busy, strict=True)))
            gateway.append(self._counter_row(end_ms, count))
            gateway.append(ups | span | {"quantity": rest / 1000})
            gateway.append(weather | span | {"quantity": outdoor})
            power_kw = round(feed / _UNIT * _STEPS_PER_HOUR, 3)
            alone = [
                feed_energy | span | {"quantity": _decimal_kwh(feed)},
                feed_power | span | {"quantity": power_kw},
            ]
            yield end_ms, gateway, alone
            start_ms = end_ms

    def _rack_row(self, rack: int) -> tuple[Row, Row, Row]:
        meter_id = f"{self.id}-{rack_id(rack)}"
        return (
            _reading(meter_id, IT_ENERGY, "delta", "kWh"),
            _reading(meter_id, "inlet.temperature", "gauge", "Cel"),
            _reading(meter_id, "utilization", "gauge", "%"),
        )

    def _counter_row(self, end_ms: int, count: int) -> Row:
        row = _reading(f"{self.id}-chiller", "cooling.energy", "register", "kWh")
        span = {"start_ms": end_ms - INTERVAL_MS, "end_ms": end_ms}
        return row | span | {"quantity": _decimal_kwh(count)}

    def _utilization(self, rng: np.random.Generator) -> Real:
        """[steps, racks]: the east by day, the green bases steadily; slow noise of each rack."""
        base, swing = (0.72, 0.08) if self.hub.green else (0.52, 0.26)
        daily = base - swing * np.cos((self._clock - 2) * pi / 12)
        walk = np.empty((self.steps, self.racks))
        level = rng.normal(0, 0.08, self.racks)
        for step, shock in enumerate(rng.normal(0, 0.03, (self.steps, self.racks))):
            level = 0.93 * level + shock
            walk[step] = level
        return np.asarray((daily[:, None] + walk).clip(0.03, 0.99))

    def _outdoor_cel(self, rng: np.random.Generator) -> Real:
        """[steps] a June day; cooler in the north and on the plateau."""
        mean = 36 - 0.35 * self.hub.latitude - (3 if self.hub.green else 0)
        wave = [4.5 * cos((hour - _HOTTEST_HOUR) * pi / 12) for hour in self._clock]
        return np.asarray(mean + np.array(wave) + rng.normal(0, 0.2, self.steps))

    def _counter_start(self, rng: np.random.Generator) -> int:
        """Micro-kWh on the chiller's counter; the first site's rolls over within the day."""
        start = int(rng.integers(0, 800_000 * _UNIT))
        return (_COUNTER_MODULUS_KWH - 100) * _UNIT if self.place == 0 else start


def accounts() -> Iterator[AnyEntry]:
    """Tenants, operators, sub-meters, and their tariffs."""
    yield from (TOU_EAST, TOU_WEST, MEASURED_ONLY)
    half = len(TENANTS) // 2
    for number, tenant in enumerate(TENANTS):
        tariff = TOU_EAST if number < half else TOU_WEST
        yield Account(id=tenant, tariff_id=tariff.id, name=tenant.replace("-", " ").title())
    for hub in HUBS:
        yield Account(id=operator(hub), tariff_id=(TOU_WEST if hub.green else TOU_EAST).id)
        yield Account(id=submeters(hub), tariff_id=MEASURED_ONLY.id)


def operator(hub: Hub) -> str:
    return f"operator-{hub.id}"


def submeters(hub: Hub) -> str:
    return f"submeters-{hub.id}"


def rack_id(rack: int) -> str:
    return f"r{rack + 1:02d}"


def _rack_readings(
    racks: list[tuple[Row, Row, Row]],
    span: dict[str, int],
    measured: Iterable[tuple[int, float, float]],
) -> Iterator[Row]:
    for rack, (amount, inlet_cel, busy_percent) in enumerate(measured):
        energy, inlet, busy = racks[rack]
        # as devices do: some write numbers, some decimal strings
        kwh = _decimal_kwh(amount) if rack % 2 else amount / _UNIT
        yield energy | span | {"quantity": kwh}
        yield inlet | span | {"quantity": inlet_cel}
        yield busy | span | {"quantity": busy_percent}


def _reading(meter_id: str, register: str, kind: str, unit: str) -> Row:
    return {"meter_id": meter_id, "register": register, "kind": kind, "unit": unit}


def _decimal_kwh(amount: int) -> str:
    """Micro-kWh as a decimal string of kWh."""
    return f"{amount // _UNIT}.{amount % _UNIT:06d}"
