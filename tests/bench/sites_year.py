"""CityLearn's 17 buildings through a year in rolling days, each day beside HiGHS."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import process_time

import numpy as np

from kernels.balance import Sites, Workspace, balance_sites
from kernels.balance.sites_columns import COLUMNS
from tests.bench.case import Case, say
from tests.bench.sites_peers import highs_seconds
from tests.property.balance_cases import citylearn
from tests.property.sites_oracle import solver

_HOURS = 24
_STEPPED = [name for name, (axes, _) in COLUMNS.items() if axes.endswith("T")]


def citylearn_year(days: int) -> Iterator[Case]:
    """Cost and processor time of all days, ours and HiGHS's on the same states of charge."""
    data = Path(os.environ.get("GRIDLOOM_DATA") or Path(__file__).parents[3] / "shared/data")
    if not (data / "MANIFEST").is_file():
        say(f"CityLearn is not run: no data sets at {data}; set GRIDLOOM_DATA")
        return
    net = citylearn(data, 0, _HOURS * days)
    shared = [name for name in Sites.__slots__ if hasattr(net, name)]
    year = Sites.of(**{name: getattr(net, name) for name in shared})
    space, soc = Workspace(), year.storage_soc0_mwh
    ours = theirs = ours_s = theirs_s = worst = 0.0
    for day in range(days):
        sites = _day(year, day, soc)
        start = process_time()
        plans = balance_sites(sites, workspace=space)
        ours_s += process_time() - start
        costs, seconds = _by_highs(sites)
        theirs_s += seconds
        worst = max(worst, float(np.abs(plans.gap_rel).max()))
        ours, theirs = ours + float(plans.objective.sum()), theirs + float(costs.sum())
        soc = plans.soc_mwh[:, :, -1]
    yield Case(
        suite="balance-sites",
        case=f"CityLearn, 17 buildings, {days} days",
        metric="time",
        value=ours_s,
        unit="s",
        peers={"highs simplex": theirs_s},
        better="lower",
        n=17 * days,
        note=f"cost {ours:.6f}, HiGHS {theirs:.6f}: {abs(ours / theirs - 1):.1e} apart; "
        f"largest gap {worst:.1e}",
    )


def _day(year: Sites, day: int, soc: np.ndarray) -> Sites:
    hours = slice(_HOURS * day, _HOURS * (day + 1))
    part = {name: np.ascontiguousarray(getattr(year, name)[..., hours]) for name in _STEPPED}
    return replace(year, **part, storage_soc0_mwh=np.ascontiguousarray(soc))


def _by_highs(sites: Sites) -> tuple[np.ndarray, float]:
    highs, costs, seconds = solver("off", 1e-9), [], 0.0
    for row in range(sites.shape[0]):
        seconds += highs_seconds(highs, sites, row)
        costs.append(highs.getObjectiveValue())
    return np.array(costs), seconds
