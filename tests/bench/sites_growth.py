"""Growth: time of a solve against the number of steps; exponents, and the picture of both."""

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np

from kernels import balance as kernel
from kernels.balance import Sites, Workspace, balance_sites
from tests.bench.balance_growth import draw, exponent
from tests.bench.case import Case, say
from tests.bench.sites_models import model_sites
from tests.bench.sites_peers import highs_cold

_STEPS = (24, 48, 96, 144, 192, 288)
_RUNS = 5


def growth(quick: bool) -> Iterator[Case]:
    """One case a length of the horizon, quarter-hours; the last one's note has the exponents."""
    count = 10 if quick else 40
    ours: dict[int, float] = {}
    peer: dict[int, float] = {}
    for steps in _STEPS:
        sites = model_sites(np.random.default_rng(steps), count, steps, 0.25)
        ours[steps] = _seconds(sites) / count * 1e3
        peer[steps] = highs_cold(sites, lambda row, objective, tolerance: None) * 1e3
        note = "as a batch"
        if steps == _STEPS[-1]:
            note += f"; time ~ T^{exponent(ours):.2f}, HiGHS T^{exponent(peer):.2f}"
        say(f"growth T={steps}: {ours[steps] * 1e3:.0f} us")
        yield Case(
            suite="balance-sites",
            case=f"growth T={steps}",
            metric="time",
            value=ours[steps] * 1e3,
            unit="us/solve",
            peers={"highs simplex": peer[steps] * 1e3},
            better="lower",
            n=count,
            note=note,
        )
    if not quick:
        draw(
            Path(kernel.__file__).with_name("sites_growth.svg"),
            {"steps T, one site": {"gridloom, as a batch": ours, "HiGHS simplex, cold": peer}},
        )


def _seconds(sites: Sites) -> float:
    space = Workspace()
    balance_sites(sites, workspace=space)
    seconds = []
    for _ in range(_RUNS):
        start = process_time()
        balance_sites(sites, workspace=space)
        seconds.append(process_time() - start)
    return median(seconds)
