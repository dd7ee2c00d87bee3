"""Balance: a certified plan of a network, beside the solvers; growth; proof of many; a real year.

Ours is the whole call: Network.of, the checks, the solve, the certificate, the invariants and the
carbon accounts. A peer's time is its solve alone (PyPSA: its model and solve). All are CPU seconds
of one thread, medians, cold against cold and warm against warm after the same change of 2 % in
loads and prices. A peer whose cost differs from ours by more than 1e-6 fails the run.
"""

import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from kernels import balance as kernel
from kernels.balance import Dispatch, Network, balance
from schemas.errors import GridloomError
from tests.bench.balance_growth import draw, exponent
from tests.bench.balance_problems import columns_of, network, next_tick
from tests.bench.balance_year import rts_year
from tests.bench.case import Case, say, suite
from tests.bench.peers import balance_solvers as peers
from tests.property.balance_oracle import random_network

_SUITE = "balance"
_SAME = 1e-6  # of the cost
_SHAPES = ((8, 24), (8, 96))
_STEPS, _REGIONS = (24, 48, 96, 144, 288), (2, 4, 8, 16, 32, 64)
_NO_PRESOLVE = {"solver": "simplex", "presolve": "off"}
_COLD: dict[str, tuple[str, Callable[[Network], peers.Solved]]] = {
    "HiGHS simplex, no presolve": ("highspy", peers.highs(_NO_PRESOLVE)),
    "HiGHS": ("highspy", peers.highs({})),
    "PIQP sparse": ("piqp", peers.piqp),
    "cvxpy + CLARABEL": ("cvxpy", peers.clarabel),
    "PyPSA": ("pypsa", peers.pypsa),
}


@suite(_SUITE, "certified plan of a network, ms a solve, beside HiGHS, PIQP, CLARABEL and PyPSA")
def run(quick: bool) -> Iterator[Case]:
    for regions, steps in _SHAPES:
        yield from _solves(regions, steps, 3 if quick else 9)
    yield _proofs(100 if quick else 1000)
    yield from _growth(quick)
    data = Path(os.environ.get("GRIDLOOM_DATA") or "../shared/data")
    if (data / "rts-gmlc").is_dir():
        yield from rts_year(data, 30 if quick else 365)
    else:
        say(f"no RTS-GMLC at {data}: the year is not run; set GRIDLOOM_DATA")


def _solves(regions: int, steps: int, problems: int) -> Iterator[Case]:
    random = np.random.default_rng(2)
    firsts = [network(random, regions, steps) for _ in range(problems)]
    thens = [next_tick(random, net) for net in firsts]
    cold = [_ours(net) for net in firsts]
    where = f"{regions} regions, {steps} steps"
    figures = {}
    for name, (package, solve) in _COLD.items():
        few = firsts[:2] if name == "PyPSA" else firsts
        found = _peer(name, package, solve, few)
        for net, (_, cost) in zip(few, found or (), strict=False):
            _same(name, cost, balance(net))
        figures[name] = _ms([s for s, _ in found]) if found else None
    yield _case(f"{where}, cold", "time", _ms([s for s, _ in cold]), figures, problems)
    warm = [_ours(then, last) for then, (_, last) in zip(thens, cold, strict=True)]
    theirs = [peers.highs_warm(a, b) for a, b in zip(firsts, thens, strict=True)]
    for (_, cost), (_, plan) in zip(theirs, warm, strict=True):
        _same("HiGHS warm", cost, plan)
    say(f"{where}: worst gap {max(abs(p.gap_rel) for _, p in cold + warm):.1e}")
    figures = {"HiGHS warm": _ms([s for s, _ in theirs])}
    yield _case(f"{where}, warm", "time", _ms([s for s, _ in warm]), figures, problems)


def _ours(net: Network, last: Dispatch | None = None) -> tuple[float, Dispatch]:
    """(CPU seconds, plan) of the whole call: the median of five."""
    columns, taken = columns_of(net), []
    for _ in range(5):
        begun = time.thread_time()
        plan = balance(Network.of(**columns), last)  # type: ignore[arg-type]
        taken.append(time.thread_time() - begun)
    return statistics.median(taken), plan


def _peer(
    name: str, package: str, solve: Callable[[Network], peers.Solved], nets: list[Network]
) -> list[peers.Solved] | None:
    if find_spec(package) is None:
        say(f"{name} is not run: {package} is not installed; next: pip install 'gridloom[bench]'")
        return None
    solve(nets[0])  # imports and first-use costs are not a solve
    found = [solve(net) for net in nets]
    say(f"{name}: {_ms([s for s, _ in found]):.2f} ms")
    return found


def _same(name: str, cost: float, plan: Dispatch) -> None:
    if abs(cost - plan.objective) > _SAME * max(1.0, abs(plan.objective)):
        raise GridloomError(f"{name} says the cost is {cost}, ours {plan.objective}")


def _ms(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1000


def _case(
    case: str, metric: str, ms: float, figures: dict[str, float | None], n: int, note: str = ""
) -> Case:
    return Case(
        suite=_SUITE, case=case, metric=metric, value=ms, unit="ms", peers=figures,
        better="lower", n=n, note=note or "ours: the whole call; peers: the solve alone",
    )  # fmt: skip


def _proofs(count: int) -> Case:
    """Random and degenerate networks by the interior point: how many it proves by itself."""
    methods: Counter[str] = Counter()
    small, kernel.SMALL = kernel.SMALL, 0
    try:
        for seed in range(count):
            random = np.random.default_rng(seed)
            regions, steps = int(random.integers(1, 7)), int(random.integers(4, 25))
            storages, links = int(random.integers(0, 3)), int(random.integers(0, 2 * regions + 1))
            negative = bool(random.random() < 0.3)
            net = random_network(random, regions, steps, 2, storages, links, negative)
            plan = balance(net)
            if not -1e-9 <= plan.gap_rel <= kernel.GAP_MAX:
                raise GridloomError(f"network {seed} has a gap of {plan.gap_rel:.1e}")
            if plan.method != "interior":
                say(f"network {seed}: {plan.method}")
            methods[plan.method] += 1
    finally:
        kernel.SMALL = small
    return Case(
        suite=_SUITE, case="random and degenerate networks", metric="proven without HiGHS",
        value=100 * methods["interior"] / count, unit="%", peers={}, n=count,
        note="all have a gap from -1e-9 to 1e-7; the rest fell back to HiGHS",
    )  # fmt: skip


def _growth(quick: bool) -> Iterator[Case]:
    random = np.random.default_rng(3)
    repeat = 1 if quick else 3

    def figure(regions: int, steps: int) -> float:
        return _ms([_ours(network(random, regions, steps))[0] for _ in range(repeat)])

    over_steps = {steps: figure(8, steps) for steps in _STEPS}
    over_regions = {regions: figure(regions, 24) for regions in _REGIONS[: 5 if quick else None]}
    if not quick:
        draw(
            Path(kernel.__file__).with_name("growth.svg"),
            {
                "steps T, 8 regions": {"gridloom": over_steps},
                "regions R, 24 steps": {"gridloom": over_regions},
            },
        )
    for what, found in (("steps, 8 regions", over_steps), ("regions, 24 steps", over_regions)):
        say(f"{what}: " + ", ".join(f"{n}: {ms:.2f} ms" for n, ms in found.items()))
        yield Case(
            suite=_SUITE, case=f"growth with {what}", metric="fitted exponent",
            value=exponent(found), unit="", peers={}, better="lower", n=len(found),
            note=f"{min(found)} to {max(found)}; least squares of log ms on log n",
        )  # fmt: skip
