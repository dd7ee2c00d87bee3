"""The eight hubs of the national computing network, as a small park of each.

Carbon is the grid average of the announcement of the Ministry of Ecology and Environment for 2022,
annual and location-based: the province's where it is published, else that of its grid region. All
sizes, profiles, prices, round trips and links are synthetic: no public table of them was found.
"""

from dataclasses import dataclass
from math import asin, cos, radians, sin, sqrt

from schemas.registry import Band, Tariff

CHINA_MS = 8 * 3_600_000  # UTC+8, all provinces
SITES_PER_HUB = 3


@dataclass(frozen=True, slots=True)
class Hub:
    """One hub: place, carbon of its grid, power around its data centres (MW), climate, price."""

    id: str
    longitude: float
    latitude: float
    ci_kg_per_kwh: float
    load_mw: float
    solar_mw: float
    wind_mw: float
    storage_mw: float  # holds four hours of it
    supply_mw: float
    supply_cost_per_mwh: float
    supply_ci_kg_per_kwh: float
    import_max_mw: float
    import_price_per_mwh: float
    export_max_mw: float
    pue: float
    origin_share: float  # of the jobs

    @property
    def green(self) -> bool:
        """A green base of the west: training, rendering, offline analysis, backup."""
        return self.id in GREEN_BASES

    @property
    def solar_noon_hour(self) -> float:
        """Clock hour (UTC+8) at which the sun is highest."""
        return 12 + (120 - self.longitude) / 15

    @property
    def site_ids(self) -> list[str]:
        return [f"{self.id}-{number}" for number in range(1, SITES_PER_HUB + 1)]


GREEN_BASES = ("guizhou", "inner-mongolia", "gansu", "ningxia")

# Carbon: Hebei, East, South, Southwest, South (for Guizhou), Inner Mongolia, Northwest twice.
HUBS = (
    Hub("jing-jin-ji", 114.9, 40.8, 0.7252, 46, 12, 14, 8, 20, 720, 0.42, 70, 640, 0, 1.22, 0.20),
    Hub("yangtze-delta", 120.6, 31.2, 0.5617, 62, 10, 6, 10, 25, 740, 0.42, 90, 660, 0, 1.27, 0.25),
    Hub(
        "greater-bay-area",
        113.6,
        24.8,
        0.3869,
        54,
        10,
        5,
        10,
        25,
        700,
        0.42,
        80,
        650,
        0,
        1.30,
        0.22,
    ),
    Hub("chengdu-chongqing", 104.1, 30.7, 0.2268, 36, 4, 3, 6, 22, 260, 0, 50, 520, 0, 1.25, 0.13),
    Hub("guizhou", 106.4, 26.4, 0.3869, 18, 16, 12, 6, 10, 230, 0, 36, 430, 3, 1.18, 0.07),
    Hub(
        "inner-mongolia", 112.6, 41.0, 0.6849, 16, 60, 52, 12, 15, 330, 0.85, 36, 390, 6, 1.17, 0.05
    ),
    Hub("gansu", 107.6, 35.7, 0.5857, 13, 72, 28, 12, 6, 210, 0, 32, 380, 6, 1.18, 0.04),
    Hub("ningxia", 105.2, 37.5, 0.5857, 12, 62, 22, 10, 12, 320, 0.85, 32, 370, 6, 1.17, 0.04),
)
HUB_OF = {hub.id: hub for hub in HUBS}

# from, to, MW, share lost, currency/MWh: the direction in which western power goes east
LINKS = (
    ("inner-mongolia", "jing-jin-ji", 20.0, 0.025, 35.0),
    ("inner-mongolia", "yangtze-delta", 8.0, 0.040, 70.0),
    ("gansu", "yangtze-delta", 14.0, 0.040, 68.0),
    ("gansu", "chengdu-chongqing", 8.0, 0.030, 45.0),
    ("gansu", "ningxia", 6.0, 0.020, 20.0),
    ("ningxia", "gansu", 6.0, 0.020, 20.0),
    ("ningxia", "yangtze-delta", 12.0, 0.038, 66.0),
    ("ningxia", "jing-jin-ji", 6.0, 0.032, 50.0),
    ("guizhou", "greater-bay-area", 14.0, 0.030, 42.0),
    ("chengdu-chongqing", "yangtze-delta", 10.0, 0.035, 60.0),
)

# Share of a region's import price by clock hour. The west is cheap when the sun shines.
_EAST_SHAPE = (
    (0.55,) * 8 + (1.0, 1.0, 1.35, 1.35, 1.0, 1.0) + (1.35,) * 5 + (1.1,) * 3 + (0.55,) * 2
)
_WEST_SHAPE = (0.8,) * 7 + (1.2, 1.2) + (0.5,) * 7 + (1.1,) + (1.45,) * 5 + (0.8,) * 2


def import_price_per_mwh(hub: Hub, hour: int) -> float:
    """Price of the grid in the clock hour."""
    shape = _WEST_SHAPE if hub.green else _EAST_SHAPE
    return round(hub.import_price_per_mwh * shape[hour % 24], 2)


def rtt_ms(a: Hub, b: Hub) -> float:
    """Round trip: light in fibre over 1.4 times the great circle, and 2 ms of equipment."""
    phi_a, phi_b = radians(a.latitude), radians(b.latitude)
    half = sin((phi_a - phi_b) / 2) ** 2
    half += cos(phi_a) * cos(phi_b) * sin(radians(a.longitude - b.longitude) / 2) ** 2
    km = 2 * 6371 * asin(sqrt(half))
    return round(2 + 2 * 1.4 * km / 200, 1)


def _tariff(tariff_id: str, *bands: tuple[int, int, int]) -> Tariff:
    return Tariff(
        id=tariff_id,
        bands=tuple(Band(first, last, price) for first, last, price in bands),
        utc_offset_ms=CHINA_MS,
    )


TOU_EAST = _tariff(
    "tou-east",
    (0, 8, 356_000),
    (8, 10, 684_000),
    (10, 12, 1_085_000),
    (12, 14, 684_000),
    (14, 19, 1_085_000),
    (19, 22, 760_000),
    (22, 24, 356_000),
)
TOU_WEST = _tariff(
    "tou-west",
    (0, 7, 330_000),
    (7, 9, 512_000),
    (9, 16, 214_000),
    (16, 17, 448_000),
    (17, 22, 618_000),
    (22, 24, 330_000),
)
# Energy that a meter upstream already bills is measured and not priced again.
MEASURED_ONLY = _tariff("measured-only", (0, 24, 0))
