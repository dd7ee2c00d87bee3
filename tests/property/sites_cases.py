"""Random and degenerate sites: every feature, often with ties, zero widths and limits that bind."""

from typing import Any

import numpy as np

from kernels.balance.sites import Sites

F64 = np.ndarray[Any, np.dtype[np.float64]]


def random_sites(
    random: np.random.Generator, rows: int, steps: int, units: int = 4, negative: float = 0.15
) -> Sites:
    """`rows` sites of one storage and one requirement, sized 1e-3 to 1e5.

    negative: the share of sites with prices that fall below zero.
    """
    made = [_site(random, steps, units, random.random() < negative) for _ in range(rows)]
    return Sites.of(**{name: np.stack([site[name] for site in made]) for name in made[0]})


def _site(random: np.random.Generator, steps: int, units: int, negative: bool) -> dict[str, F64]:
    def happens(chance: float) -> bool:
        return bool(random.random() < chance)

    T, hours = steps, float(random.choice([0.25, 0.5, 1.0]))
    size = 10.0 ** random.integers(-3, 6) if happens(0.5) else 10.0
    hour = np.arange(T) * hours
    load = size * (1 + 0.3 * np.sin(hour / 4 + random.uniform(0, 6)) + random.normal(0, 0.05, T))
    price = 60 + 35 * np.sin(hour / 2 + random.uniform(0, 6)) + random.normal(0, 6, T)
    if happens(0.35):
        price = random.choice([50.0, 80.0], T)  # tied slopes
    if happens(0.1):
        price = np.full(T, 50.0)
    if negative:
        price = price - random.choice([45.0, 50.0, 80.0])
    export_price = price * random.choice([0.0, 0.9, 1.0, 1.2])
    if happens(0.2):
        export_price = np.full(T, random.choice([0.0, 50.0]))
    energy = size * random.uniform(0.2, 4)
    power = size * random.uniform(0.1, 1)
    low = energy * random.choice([0.0, 0.05, 0.2])
    soc0 = low + random.choice([0.0, 0.5, 1.0]) * (energy - low)
    retain = 1.0 if happens(0.4) else random.uniform(0.99, 1.0)
    if happens(0.1):
        soc0 = min(low / retain, energy)
    if happens(0.1):
        soc0 = random.choice([-0.1, 1.2]) * energy  # outside its limits
    if happens(0.1):
        energy = low = soc0 = 0.0
    if happens(0.1):
        energy = low = soc0 = max(soc0, 0.0)  # no width
    lossless = happens(0.3)
    flex_max = size * random.uniform(0, 0.6) * (random.random(T) < random.choice([0.2, 0.8, 1.0]))
    asked = flex_max.sum() * hours * random.choice([0.0, 0.1, 0.3, 0.7, 1.0, 1.3])
    site = {
        "load_mw": np.maximum(load, 0.0) * (not happens(0.1)),
        "ren_avail_mw": size * np.maximum(random.normal(0.5, 0.7, T), 0.0) * (not happens(0.2)),
        "import_max_mw": np.full(T, size * random.uniform(0.3, 2)) * (not happens(0.15)),
        "export_max_mw": np.full(T, size * random.uniform(0, 1)) * (not happens(0.2)),
        "import_price": price,
        "export_price": export_price,
        "grid_ci": random.uniform(0, 1, T) * (not happens(0.3)),
        "reserve_up_mw": size * random.uniform(0, 1, T) * random.choice([0.0, 0.0, 0.2, 1.0]),
        "reserve_down_mw": size * random.uniform(0, 1, T) * random.choice([0.0, 0.0, 0.2, 1.0]),
        "flex_max_mw": flex_max * (not happens(0.3)),
        "flex_energy_mwh": np.array(asked),
        "supply_cap_mw": size * random.uniform(0, 0.5, units) * (random.random(units) < 0.8),
        "supply_cost": random.choice([0.0, 40.0, 50.0, 80.0, 95.0], units),
        "supply_ci": random.choice([0.0, 0.4, 0.9], units),
        "storage_charge_mw": np.array(power * random.choice([0.0, 1e-6, 1.0, 1.0, 1.0, 100.0])),
        "storage_discharge_mw": np.array(power * random.choice([0.0, 1e-6, 1.0, 1.0, 1.0, 100.0])),
        "storage_eta_c": np.array(1.0 if lossless else random.uniform(0.8, 1.0)),
        "storage_eta_d": np.array(1.0 if lossless else random.uniform(0.8, 1.0)),
        "storage_retain": np.array(retain),
        "storage_soc0_mwh": np.array(soc0),
        "storage_soc_min_mwh": np.array(min(low, energy)),
        "storage_soc_max_mwh": np.array(energy),
        "storage_wear": np.array(random.choice([0.0, 1.0, 5.0])),
        "storage_terminal_value": np.array(random.choice([0.0, 40.0, 50.0, -5.0])),
        "dt_h": np.array(hours),
        "carbon_price": np.array(random.choice([0.0, 50.0])),
        "voll": np.array(random.choice([300.0, 5000.0])),
    }
    return {name: np.asarray(column, np.float64) for name, column in site.items()}
