"""Growth: time of a solve against the number of steps, and the exponents fitted to it."""

from collections.abc import Iterator
from statistics import median
from time import process_time

import numpy as np

from kernels.balance import Sites, Workspace, balance_sites
from tests.bench.case import Case, say
from tests.bench.sites_models import model_sites
from tests.bench.sites_peers import highs_cold

_STEPS = (24, 48, 96, 144, 192, 288)
_RUNS = 5


def growth(quick: bool) -> Iterator[Case]:
    """One case a length of the horizon, quarter-hours; the last one's note has the exponents."""
    count = 10 if quick else 40
    ours, peer = [], []
    for steps in _STEPS:
        sites = model_sites(np.random.default_rng(steps), count, steps, 0.25)
        ours.append(_seconds(sites) / count)
        peer.append(highs_cold(sites, lambda row, objective, tolerance: None))
        note = "as a batch"
        if steps == _STEPS[-1]:
            note += f"; time ~ T^{_exponent(ours):.2f}, HiGHS T^{_exponent(peer):.2f}"
        say(f"growth T={steps}: {ours[-1] * 1e6:.0f} us")
        yield Case(
            suite="balance-sites",
            case=f"growth T={steps}",
            metric="time",
            value=ours[-1] * 1e6,
            unit="us/solve",
            peers={"highs simplex": peer[-1] * 1e6},
            better="lower",
            n=count,
            note=note,
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


def _exponent(seconds: list[float]) -> float:
    """The slope of log(seconds) over log(T)."""
    return float(np.polyfit(np.log(_STEPS), np.log(seconds), 1)[0])
