"""RTS-GMLC's units and branches by area: the supply stack, the links and the storage."""

from collections.abc import Iterator
from pathlib import Path

from streams.feeds.feed import Row
from streams.feeds.files import read_rows

AREAS = ("area-1", "area-2", "area-3")
BLOCKS = 8  # of an area's supply stack
STORAGE_UNIT = "313_STORAGE_1"
_STEPS = 5  # points of a unit's heat rate curve
_KG_PER_LB = 0.453592

Step = tuple[float, float, float]  # MW, $/MWh, kg CO2/kWh


def area_of(unit_or_bus: str) -> str:
    """The area is the first digit of a bus number, and a unit's name begins with its bus."""
    return f"area-{unit_or_bus[0]}"


def supplies(folder: Path, domain: str) -> Iterator[Row]:
    """Each area's thermal units in at most BLOCKS blocks of equal size, cheapest first.

    A block costs and emits the mean of its parts, weighted by MW. Units count from 0 MW on: a
    transport model commits no unit.
    """
    columns = ["GEN UID", "PMax MW", "Fuel Price $/MMBTU", "VOM", "Emissions CO2 Lbs/MMBTU"]
    units = read_rows(folder / "gen.csv", columns)
    for area in AREAS:
        steps = sorted(
            (s for unit in units if area_of(unit["GEN UID"]) == area for s in unit_steps(unit)),
            key=lambda step: step[1],
        )
        for number, block in enumerate(_blocks(steps), 1):
            cap_mw, cost, ci = block
            yield {
                "kind": "supply",
                "domain": domain,
                "id": f"{area}-thermal-{number}",
                "region": area,
                "cap_mw": round(cap_mw, 6),
                "cost_per_mwh": round(cost, 6),
                "ci_kg_per_kwh": round(ci, 6),
            }


def unit_steps(unit: dict[str, str]) -> Iterator[Step]:
    """The steps of one unit's heat rate curve; none for a unit without fuel.

    cost of step k = HR_k / 1000 x fuel price + VOM, CO2 = lb/MMBTU x HR_k / 1000 x 0.453592 kg/MWh;
    HR_0 is the average up to the first point, the others are incremental (BTU/kWh).
    """
    fuel_price, cap_mw = float(unit["Fuel Price $/MMBTU"]), float(unit["PMax MW"])
    if fuel_price <= 0 or cap_mw <= 0:
        return
    pounds, reached = float(unit["Emissions CO2 Lbs/MMBTU"]), 0.0
    for k in range(_STEPS):
        heat_rate = unit["HR_avg_0" if k == 0 else f"HR_incr_{k}"]
        if "NA" in (heat_rate, unit[f"Output_pct_{k}"]):
            break
        share, mmbtu_per_mwh = float(unit[f"Output_pct_{k}"]), float(heat_rate) / 1000
        cost = mmbtu_per_mwh * fuel_price + float(unit["VOM"])
        ci = pounds * mmbtu_per_mwh * _KG_PER_LB / 1000
        yield (share - reached) * cap_mw, cost, ci
        reached = share


def _blocks(steps: list[Step]) -> Iterator[Step]:
    total_mw = sum(step[0] for step in steps)
    parts: dict[int, list[Step]] = {}
    below_mw = 0.0
    for step in steps:
        middle = (below_mw + step[0] / 2) / total_mw
        parts.setdefault(min(BLOCKS - 1, int(BLOCKS * middle)), []).append(step)
        below_mw += step[0]
    for _, block in sorted(parts.items()):
        mw = sum(step[0] for step in block)
        yield mw, sum(s[0] * s[1] for s in block) / mw, sum(s[0] * s[2] for s in block) / mw


def links(folder: Path, domain: str) -> Iterator[Row]:
    """Ratings of the branches between two areas, summed, either way; losses are not given."""
    rating_mw: dict[tuple[str, str], float] = {}
    for file, column in (("branch.csv", "Cont Rating"), ("dc_branch.csv", "MW Load")):
        for branch in read_rows(folder / file, ["From Bus", "To Bus", column]):
            ends = area_of(branch["From Bus"]), area_of(branch["To Bus"])
            if ends[0] != ends[1]:
                for pair in (ends, ends[::-1]):
                    rating_mw[pair] = rating_mw.get(pair, 0.0) + float(branch[column])
    for (origin, target), cap_mw in sorted(rating_mw.items()):
        yield {
            "kind": "link",
            "domain": domain,
            "id": f"{origin}>{target}",
            "region": origin,
            "to_region": target,
            "cap_mw": cap_mw,
        }


def storage(folder: Path, domain: str) -> Row:
    """The battery-like unit; its round trip is split evenly between in and out."""
    gen = read_rows(folder / "gen.csv", ["GEN UID", "Storage Roundtrip Efficiency"])
    tank = read_rows(folder / "storage.csv", ["GEN UID", "Max Volume GWh", "Initial Volume GWh"])
    unit = next(row for row in gen if row["GEN UID"] == STORAGE_UNIT)
    head = next(r for r in tank if r["GEN UID"] == STORAGE_UNIT and r["position"] == "head")
    eta = (float(unit["Storage Roundtrip Efficiency"]) / 100) ** 0.5
    return {
        "kind": "storage",
        "domain": domain,
        "id": STORAGE_UNIT,
        "region": area_of(STORAGE_UNIT),
        "charge_max_mw": float(head["Rating MVA"]),
        "discharge_max_mw": float(head["Rating MVA"]),
        "eta_charge": eta,
        "eta_discharge": eta,
        "soc_mwh": float(head["Initial Volume GWh"]) * 1000,
        "soc_max_mwh": float(head["Max Volume GWh"]) * 1000,
    }
