"""Ordinary sites for the benchmarks."""

import numpy as np

from kernels.balance import Sites


def model_sites(random: np.random.Generator, count: int, steps: int, hours: float) -> Sites:
    """Ordinary sites: four units, wind and sun, a battery of a few hours, a third deferrable."""
    hour = np.arange(steps) * hours
    base = random.uniform(8, 20, (count, 1))
    load = base * (1 + 0.15 * np.sin(2 * np.pi * (hour - 9) / 24))
    load += random.normal(0, 0.4, load.shape)
    sun = np.maximum(0, np.sin(np.pi * ((hour % 24) - 6) / 12)) * random.uniform(5, 25, (count, 1))
    swing = np.sin(hour / random.uniform(3, 9, (count, 1)) + random.uniform(0, 6, (count, 1)))
    wind = random.uniform(2, 12, (count, 1)) * (1 + 0.6 * swing)
    price = 60 + 35 * np.sin(2 * np.pi * (hour - 14) / 12) + random.normal(0, 6, load.shape)
    price += 50 * (0.25 + 0.15 * np.cos(2 * np.pi * (hour - 13) / 24))
    size = base[:, 0]
    return Sites.of(
        load_mw=load,
        ren_avail_mw=np.maximum(sun + wind + random.normal(0, 0.5, load.shape), 0),
        import_max_mw=0.9 * base * np.ones(steps),
        export_max_mw=0.5 * base * np.ones(steps),
        import_price=price,
        export_price=np.where(price > 0, 0.9 * price, price),
        flex_max_mw=0.15 * base * np.ones(steps),
        flex_energy_mwh=0.15 * size * steps * hours * 0.3,
        supply_cap_mw=[2.0, 2.0, 1.5, 1.5],
        supply_cost=[75.0, 95.0, 140.0, 260.0],
        storage_charge_mw=0.35 * size,
        storage_discharge_mw=0.35 * size,
        storage_eta_c=0.95,
        storage_eta_d=0.94,
        storage_retain=1 - 0.0005 * hours,
        storage_soc0_mwh=0.6 * size,
        storage_soc_min_mwh=0.06 * size,
        storage_soc_max_mwh=1.2 * size,
        storage_wear=1.0,
        storage_terminal_value=40.0,
        dt_h=hours,
        voll=5000.0,
    )
