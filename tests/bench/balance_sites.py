"""Sites: exact dispatch of one site at a time, beside solvers; the batch; the fuzz; CityLearn.

Same problems for all, one thread, processor seconds (not wall seconds, which other programs on the
machine stretch) but for the case of two threads. Ours includes everything `balance_sites` does:
checks of every value, the certificate, residuals, the arrays of the result. HiGHS's model is built
before its clock starts: cold is passModel, run, getSolution; warm changes costs and loads in place
and starts from the last basis. Every peer's cost is compared with our bound.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import median
from time import perf_counter, process_time

import numpy as np

from kernels.balance import SitePlans, Sites, Workspace, balance_sites
from tests.bench import sites_peers
from tests.bench.balance_problems import next_tick
from tests.bench.case import Case, say, suite
from tests.bench.readings import WrongResultError
from tests.bench.sites_growth import growth
from tests.bench.sites_models import model_sites
from tests.bench.sites_year import citylearn_year
from tests.property.sites_cases import random_sites
from tests.property.sites_oracle import SiteOracle

_SITES, _SITES_QUICK = 100, 20
_BATCH, _BATCH_QUICK = 10_000, 1_000
_FUZZ, _FUZZ_QUICK = 10_000, 500
_FUZZ_STEPS = (1, 2, 4, 12, 24, 24, 48, 96, 168, 288)
_RUNS = 7
_TOLERANCE = 1e-9


@suite("balance-sites", "dispatch of single sites beside HiGHS, PIQP, CLARABEL and PyPSA; the fuzz")
def balance_sites_suite(quick: bool) -> Iterator[Case]:
    """Cold and warm solves, the batch on two threads, growth in T, the fuzz, CityLearn's year."""
    warnings.filterwarnings("ignore")
    for steps, hours in ((24, 1.0), (96, 0.25)):
        yield from _solves(steps, hours, _SITES_QUICK if quick else _SITES)
    yield from _batch(_BATCH_QUICK if quick else _BATCH)
    yield from growth(quick)
    yield from _fuzz(_FUZZ_QUICK if quick else _FUZZ)
    yield from citylearn_year(7 if quick else 365)


def _solves(steps: int, hours: float, count: int) -> Iterator[Case]:
    """Per solve: one call a site, and one call for all; cold, and warm after a perturbation."""
    random = np.random.default_rng(1)
    sites = model_sites(random, count, steps, hours)
    later = next_tick(random, sites)
    each, after = ([s.take([row]) for row in range(count)] for s in (sites, later))
    space = Workspace()
    plans, before = balance_sites(sites), [balance_sites(site) for site in each]
    say(f"T={steps}: ours")
    cold_each = _seconds(lambda: _one_by_one(each, [None] * count, space))
    cold_all = _seconds(lambda: balance_sites(sites, workspace=space))
    warm_each = _seconds(lambda: _one_by_one(after, before, space))
    warm_all = _seconds(lambda: balance_sites(later, warm=plans, workspace=space))
    yield _solve_case(f"T={steps} cold", cold_each / count, _cold_peers(sites, plans), count)
    yield _solve_case(
        f"T={steps} cold, as a batch", cold_all / count, _cold_highs(sites, plans), count
    )
    proof = balance_sites(later)
    peer = {"highs warm": sites_peers.highs_warm(sites, later, partial(_agree, proof))}
    yield _solve_case(f"T={steps} warm", warm_each / count, peer, count)
    yield _solve_case(f"T={steps} warm, as a batch", warm_all / count, peer, count)


def _one_by_one(sites: Sequence[Sites], warm: Sequence[SitePlans | None], space: Workspace) -> None:
    for site, before in zip(sites, warm, strict=True):
        balance_sites(site, warm=before, workspace=space)


def _solve_case(name: str, seconds: float, peers: dict[str, float | None], count: int) -> Case:
    return Case(
        suite="balance-sites",
        case=name,
        metric="time",
        value=seconds * 1e6,
        unit="us/solve",
        peers={k: None if v is None else v * 1e6 for k, v in peers.items()},
        better="lower",
        n=count,
        note="processor time; ours with checks, certificate and residuals",
    )


def _cold_highs(sites: Sites, plans: SitePlans) -> dict[str, float | None]:
    return {"highs simplex": sites_peers.highs_cold(sites, partial(_agree, plans))}


def _cold_peers(sites: Sites, plans: SitePlans) -> dict[str, float | None]:
    agree = partial(_agree, plans)
    found: dict[str, float | None] = {}
    for name, run in sites_peers.COLD.items():
        say(f"T={sites.shape[1]}: {name}")
        try:
            found[name] = run(sites, agree)
        except ImportError as missing:
            say(f"{name} is not run: {missing}")
            say("next: pip install 'gridloom[bench]'")
            found[name] = None
    return found


def _agree(plans: SitePlans, row: int, objective: float, tolerance: float) -> None:
    """A peer that found another cost has solved another problem."""
    ours = float(plans.objective[row])
    if abs(objective - ours) > tolerance * max(1.0, abs(ours)):
        raise WrongResultError(f"row {row}: a peer found {objective}, ours is {ours}")


def _batch(count: int) -> Iterator[Case]:
    """10,000 sites of 96 steps on two threads, beside as many single calls; wall seconds."""
    random = np.random.default_rng(2)
    sites = model_sites(random, count, 96, 0.25)
    some = [sites.take([row]) for row in range(0, count, max(1, count // 500))]
    space = Workspace()
    balance_sites(some[0], workspace=space)
    single = _wall(lambda: _one_by_one(some, [None] * len(some), space)) / len(some)
    one = _wall(lambda: balance_sites(sites, workspace=space), 3)
    two = _wall(lambda: balance_sites(sites, threads=2, workspace=space), 3)
    cpu = _timed(lambda: balance_sites(sites, threads=2, workspace=space), process_time)
    calls = _timed(lambda: _one_by_one(some, [None] * len(some), space), process_time)
    note = (
        f"wall seconds, best of 3, {two / (single * count):.3f} of as many single calls; "
        f"processor seconds of both threads {cpu:.2f}, of as many single calls "
        f"{calls / len(some) * count:.2f}"
    )
    yield Case(
        suite="balance-sites",
        case=f"batch of {count} x 96 on 2 threads",
        metric="time",
        value=two,
        unit="s",
        peers={"single calls": single * count, "one thread": one},
        better="lower",
        n=count,
        note=note,
    )


def _fuzz(count: int) -> Iterator[Case]:
    """Random and degenerate sites against HiGHS at 1e-9: everyone's distance from our bound.

    A case where HiGHS is off our bound is listed. Fails where a plan of ours is not proven, or a
    plan of HiGHS costs less than our bound by more than the rows that it breaks save.
    """
    random = np.random.default_rng(3)
    gaps, residuals, listed, unproven, fallbacks, high = [], [], 0, 0, 0, 0
    for steps in _FUZZ_STEPS:
        sites = random_sites(random, count // len(_FUZZ_STEPS), steps)
        plans = balance_sites(sites)
        gaps.append(plans.gap_rel)
        size = np.maximum(
            1.0, np.maximum(sites.load_mw.max(axis=1), sites.storage_soc_max_mwh[:, 0])
        )
        residuals.append(plans.max_residual / size)
        fallbacks += int((plans.method != 0).sum())
        for row in range(len(sites.load_mw)):
            oracle = SiteOracle(sites, row)
            away = (oracle.objective - float(plans.lower_bound[row])) / oracle.scale
            proven = abs(float(plans.gap_rel[row])) <= _TOLERANCE
            unproven += not proven
            if not oracle.optimal or abs(away) > _TOLERANCE:
                listed += 1
                found = f"{away:.1e} from our bound" if oracle.optimal else "no optimum"
                ours = f"ours {'proven' if proven else 'NOT PROVEN'} ({plans.gap_rel[row]:.1e})"
                if oracle.optimal and away < 0:
                    explained = -away * oracle.scale <= oracle.broken
                    high += not explained
                    found += (
                        f", {'as much as' if explained else 'MORE than'} the rows it breaks save"
                    )
                say(f"T={steps} row {row}: HiGHS {found}; {ours}")
        say(f"fuzz T={steps}: {len(sites.load_mw)} sites")
    if unproven or high:
        raise WrongResultError(f"{unproven} plans are not proven, {high} bounds are too high")
    gap, residual = np.concatenate(gaps), np.concatenate(residuals)
    note = (
        f"least gap {gap.min():.1e}, largest residual {residual.max():.1e} of the site's size; "
        f"all proven, {fallbacks} by HiGHS; {listed} where HiGHS is off our bound, each listed, "
        "below it by no more than the rows that it breaks save"
    )
    yield Case(
        suite="balance-sites",
        case=f"fuzz of {len(gap)}",
        metric="largest gap",
        value=float(gap.max()),
        unit="of the scale",
        peers={"target": _TOLERANCE},
        better="lower",
        n=len(gap),
        note=note,
    )


def _seconds(run: Callable[[], object], runs: int = _RUNS) -> float:
    run()
    return median(_timed(run, process_time) for _ in range(runs))


def _wall(run: Callable[[], object], runs: int = _RUNS) -> float:
    return min(_timed(run, perf_counter) for _ in range(runs))


def _timed(run: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    run()
    return clock() - start
