"""Real networks and sites for the balance, read from the data sets (see their README)."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from kernels.balance import Network

_KG_PER_LB = 0.453592
_FUELS = ("Coal", "NG", "Nuclear", "Oil")


def rts(data: Path, first_hour: int, steps: int = 24) -> Network:
    """RTS-GMLC's three areas as regions: thermal units by group, battery 313, lines between them.

    Wind, sun and hydro are what is available; a group's cost is the incremental heat rate of its
    first step x fuel price + VOM. 2 % loss and 0.5 per MWh on each link are chosen here.
    """
    folder, rows = data / "rts-gmlc", slice(first_hour, first_hour + steps)
    load = pq.read_table(folder / "load_day_ahead.parquet")
    load_mw = np.stack([load.column(f"area_{a}").to_numpy()[rows] for a in (1, 2, 3)])
    green = np.zeros((3, steps))
    for series in ("wind", "pv", "rtpv", "hydro"):
        name = f"{series}_day_ahead.parquet"
        table = pq.read_table(folder / name)
        for plant in table.schema.names[1:]:
            green[int(plant[0]) - 1] += table.column(plant).to_numpy()[rows]
    units: dict[int, dict[str, list[float]]] = {
        a: defaultdict(lambda: [0.0] * 3) for a in (1, 2, 3)
    }
    with (folder / "gen.csv").open() as file:
        for unit in csv.DictReader(file):
            if unit["Fuel"] in _FUELS:
                heat = float(unit["HR_incr_1"]) / 1000  # MMBTU per MWh
                group = units[int(unit["Bus ID"]) // 100][unit["Unit Group"]]
                group[0] += float(unit["PMax MW"])
                group[1] = heat * float(unit["Fuel Price $/MMBTU"]) + float(unit["VOM"])
                group[2] = heat * float(unit["Emissions CO2 Lbs/MMBTU"]) * _KG_PER_LB / 1000
    width = max(len(groups) for groups in units.values())
    supply = np.zeros((3, 3, width))
    for a, groups in units.items():
        for k, group in enumerate(sorted(groups.values(), key=lambda g: g[1])):
            supply[:, a - 1, k] = group
    ends = {"A": 0, "B": 1, "C": 2}
    caps: dict[tuple[int, int], float] = defaultdict(float)
    with (folder / "branch.csv").open() as file:
        for line in csv.DictReader(file):
            if line["UID"][:2] in ("AB", "CA", "CB"):
                caps[ends[line["UID"][0]], ends[line["UID"][1]]] += float(line["Cont Rating"])
    caps[0, 2] += 100.0  # the direct-current line
    pairs = [*caps, *((b, a) for a, b in caps)]
    battery = np.array([[0.0], [0.0], [1.0]])  # 50 MW, 150 MWh in area 3
    return Network.of(
        regions=("1", "2", "3"),
        dt_h=1.0,
        load_mw=load_mw,
        ren_avail_mw=green,
        supply_cap_mw=supply[0],
        supply_cost=supply[1],
        supply_ci=supply[2],
        storage_charge_mw=50 * battery,
        storage_discharge_mw=50 * battery,
        storage_eta_c=0.92,
        storage_eta_d=0.92,
        storage_soc0_mwh=75 * battery,
        storage_soc_max_mwh=150 * battery,
        storage_terminal_value=15.0,
        link_from=[a for a, _ in pairs],
        link_to=[b for _, b in pairs],
        link_cap_mw=[caps.get(pair) or caps[pair[::-1]] for pair in pairs],
        link_loss=0.02,
        link_tariff=0.5,
        carbon_price=30.0,
        voll=5000.0,
    )


def citylearn(data: Path, first_hour: int, steps: int = 24) -> Network:
    """CityLearn's 17 buildings, each with its PV and battery: kW and kWh in place of MW and MWh.

    The export price is chosen here: half the import price.
    """
    folder = data / "citylearn-2022"
    table = pq.read_table(folder / "buildings_hourly.parquet")
    building = table.column("building").to_numpy()
    price = pq.read_table(folder / "pricing_hourly.parquet").column("electricity_pricing")
    carbon = pq.read_table(folder / "carbon_hourly.parquet").column("carbon_intensity_kg_per_kwh")
    rows = slice(first_hour, first_hour + steps)
    with (folder / "buildings.csv").open() as file:
        plants = list(csv.DictReader(file))
    load, green = [], []
    for plant in plants:
        own = building == int(plant["building"])
        load.append(table.column("non_shiftable_load_kwh").to_numpy()[own][rows])
        sun = table.column("solar_generation_w_per_kw").to_numpy()[own][rows]
        green.append(float(plant["pv_nominal_power_kw"]) * sun / 1000)
    each_way = np.sqrt([[float(plant["storage_efficiency"])] for plant in plants])
    power = np.array([[float(plant["storage_nominal_power_kw"])] for plant in plants])
    energy = np.array([[float(plant["storage_capacity_kwh"])] for plant in plants])
    prices = np.tile(price.to_numpy()[rows], (len(plants), 1))
    return Network.of(
        regions=tuple(plant["building"] for plant in plants),
        dt_h=1.0,
        load_mw=np.stack(load),
        ren_avail_mw=np.maximum(np.stack(green), 0.0),
        import_max_mw=50.0,
        export_max_mw=50.0,
        import_price=prices,
        export_price=prices / 2,
        grid_ci=np.tile(carbon.to_numpy()[rows], (len(plants), 1)),
        storage_charge_mw=power,
        storage_discharge_mw=power,
        storage_eta_c=each_way,
        storage_eta_d=each_way,
        storage_soc0_mwh=energy / 2,
        storage_soc_max_mwh=energy,
        storage_terminal_value=0.2,
        voll=100.0,
    )
