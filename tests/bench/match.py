"""Match: certified gap and time beside LP and MIP solvers and a greedy scheduler; and real traces.

Everyone runs on one thread; seconds are CPU seconds, since the machine's other work must not count.
Ours are of the whole call, from columns to the plan with prices, reasons and proof; the peers' of
the solve alone. An LP gives prices and fractions of jobs, not a plan.
"""

from collections.abc import Iterator
from dataclasses import replace
from statistics import median
from time import process_time
from typing import NamedTuple

import numpy as np

from kernels.match import ANY, LIMITED, Plan, Policy, Quotas, Terms, Warm, match
from schemas.errors import GridloomError
from tests.bench.case import Case, say, suite
from tests.bench.clusters import Cluster, gaia_week, openb
from tests.bench.instances import CARBON_PRICE_PER_KG, Columns, network
from tests.bench.peers.linear import TIMEOUT_S, Program, Solved
from tests.property.match_cases import random_problem
from tests.property.match_oracle import lifted, optimum_of

_SEEDS = (2, 3, 4, 5, 6)
_RUNS = 3
_SITES_FEW = 8  # to so many the simplex method is run on every seed
_SMALL, _SMALL_QUICK = 10_000, 200
_CHURN = 0.05
_LP_NOTE = "peers: the linear program alone, no plan; {late}"


class Shape(NamedTuple):
    """Jobs x sites, the gap asked of ours, and the peers that run on it."""

    jobs: int
    sites: int
    gap: float
    peers: tuple[str, ...]
    quick: bool


_LINEAR = ("highs-simplex", "highs-ipm", "glop", "pdlp")
_SHAPES = (
    Shape(1_000, 8, 0.002, (*_LINEAR, "highs-mip"), True),
    Shape(10_000, 8, 0.0005, _LINEAR, False),
    Shape(1_000, 100, 0.035, (*_LINEAR, "highs-mip"), False),
    Shape(10_000, 100, 0.01, _LINEAR, False),
    Shape(100_000, 8, 0.0015, (), False),
)


@suite("match", "certified gap and time beside HiGHS, GLOP, PDLP and greedy; real clusters")
def bench(quick: bool) -> Iterator[Case]:
    """Shapes of the network, small problems, churn, a site that fails, and two real traces."""
    for shape in _SHAPES:
        if shape.quick or not quick:
            yield from _shape(shape, quick)
    yield from _small(_SMALL_QUICK if quick else _SMALL)
    yield from _alike(2_000 if quick else 100_000)
    yield from _quotas(1_000 if quick else 10_000, 5 if quick else 20)
    jobs = 1_000 if quick else 10_000
    yield from _churn(jobs)
    yield from _site_down(jobs)
    yield from _cluster("openb", openb(), quick)
    yield from _cluster("gaia-week", gaia_week(5_000 if quick else None), quick)


def _policy(gap: float) -> Policy:
    return Policy(carbon_price_per_kg=CARBON_PRICE_PER_KG, gap_target=gap)


def _timed(
    columns: Columns, policy: Policy, warm: Warm | None = None, terms: Terms | None = None
) -> tuple[Plan, float]:
    """The plan and the median CPU seconds of a few runs."""
    seconds = []
    for _ in range(_RUNS):
        began = process_time()
        plan = match(*columns, policy, warm, terms)
        seconds.append(process_time() - began)
    return plan, median(seconds)


# -- the network ---------------------------------------------------------------------------------


def _shape(shape: Shape, quick: bool) -> Iterator[Case]:
    name = f"{shape.jobs}x{shape.sites}"
    columns, policy = network(shape.jobs, shape.sites), _policy(shape.gap)
    plan, seconds = _timed(columns, policy)
    say(f"{name}: gridloom {seconds:.3f} s, gap {100 * plan.gap_rel:.4f} %")
    program = Program(columns, policy)
    greedy = program.greedy()
    solved = {
        peer: _solve(program, peer) for peer in shape.peers if not (quick and peer == "highs-mip")
    }
    late = ", ".join(
        f"{peer} ({found.seconds:.0f} CPU s)" for peer, found in solved.items() if found.timed_out
    )
    yield Case(
        suite="match",
        case=name,
        metric="time",
        value=seconds,
        unit="CPU s",
        better="lower",
        peers={peer: None if at.timed_out else at.seconds for peer, at in solved.items()},
        n=shape.jobs,
        note=_LP_NOTE.format(late=f"over {TIMEOUT_S:.0f} s: {late or 'none'}"),
    )
    plans = {"greedy": greedy} | {k: v for k, v in solved.items() if k == "highs-mip"}
    yield Case(
        suite="match",
        case=name,
        metric="certified gap",
        value=100 * plan.gap_rel,
        unit="%",
        better="lower",
        peers={k: 100 * (at.cost - max(plan.dual, at.bound)) / at.cost for k, at in plans.items()},
        n=shape.jobs,
        note=f"asked: {100 * shape.gap:g} %; ours costs {plan.primal:.2f}, "
        + ", ".join(f"{k} {at.cost:.2f}" for k, at in plans.items()),
    )
    if quick:
        return
    yield from _seeds(shape, name, policy)


def _seeds(shape: Shape, name: str, policy: Policy) -> Iterator[Case]:
    """The worst gap of further seeds and, where a peer needs seconds, the seed nearest to it."""
    gaps, times = [], []
    for seed in _SEEDS:
        columns = network(shape.jobs, shape.sites, seed)
        plan, seconds = _timed(columns, policy)
        gaps.append(plan.gap_rel)
        say(f"{name}, seed {seed}: gridloom {seconds:.4f} s, gap {100 * plan.gap_rel:.4f} %")
        if shape.peers and shape.sites <= _SITES_FEW:
            peer = _solve(Program(columns, policy), "highs-simplex").seconds
            times.append((peer / seconds, seconds, peer, seed))
    of = f"{name}, seeds 2 to 6"
    yield Case(
        suite="match",
        case=of,
        metric="worst certified gap",
        value=100 * max(gaps),
        unit="%",
        better="lower",
        peers={},
        n=shape.jobs,
        note=f"asked: {100 * shape.gap:g} %; median {100 * median(gaps):.4f} %",
    )
    if times:
        _, seconds, peer, seed = min(times)
        ratios = ", ".join(f"{ratio:.1f}" for ratio, *_ in times)
        yield Case(
            suite="match",
            case=of,
            metric="time of the seed nearest to its peer",
            value=seconds,
            unit="CPU s",
            better="lower",
            peers={"highs-simplex": peer},
            n=shape.jobs,
            note=f"seed {seed}; times as fast, by seed: {ratios}",
        )


def _alike(count: int) -> Iterator[Case]:
    """Jobs of 50 kinds, solved together and, told apart by a release long past, one by one."""
    kinds = 50
    jobs, sites, series, ways = network(kinds, 8)
    of = np.random.default_rng(3).integers(0, kinds, count)
    ids = np.array([f"job-{k:06d}" for k in range(count)])
    many = replace(jobs.take(of), job_id=ids)
    wide = replace(sites, capacity=sites.capacity * (count // kinds))
    each = replace(many, release_slot=-np.arange(count))
    policy = _policy(0.0015)
    together, seconds = _timed((many, wide, series, ways), policy)
    apart, apart_s = _timed((each, wide, series, ways), policy)
    name = f"{count}x8, {kinds} kinds"
    say(f"{name}: together {seconds:.3f} s, one by one {apart_s:.3f} s")
    note = f"peer: ours without bundles; costs {together.primal:.2f} and {apart.primal:.2f}"
    yield from _beside(name, (together, seconds), "one by one", (apart, apart_s), note)


def _quotas(count: int, tenants: int) -> Iterator[Case]:
    """Every tenant gets four fifths of what it uses at the cheaper half without quotas."""
    columns, policy = network(count, 8), _policy(0.001)
    jobs, sites, series, ways = columns
    jobs = replace(jobs, tenant=np.random.default_rng(101).integers(0, tenants, count))
    free, free_s = _timed((jobs, sites, series, ways), policy)
    cheap = series.price_per_mwh[:, 0] < median(series.price_per_mwh[:, 0])
    whole = np.array([2000, 1000])  # cores come in pairs, accelerators alone
    limit = np.full((tenants, len(LIMITED)), ANY)
    for of in range(tenants):
        used = jobs.demand[(jobs.tenant == of) & (free.site >= 0) & cheap[free.site], :2]
        limit[of, :2] = used.sum(axis=0) * 4 // 5 // whole * whole
    covers = np.tile(cheap, (tenants, 1))
    ids = [f"tenant-{of}" for of in range(tenants)]
    quotas = Quotas.of(ids, limit, covers, 1, tenant=np.arange(tenants))
    terms = Terms.of(sites, quotas)
    plan, seconds = _timed((jobs, sites, series, ways), policy, terms=terms)
    name = f"{count}x8, {tenants} quotas"
    say(f"{name}: {seconds:.3f} s, gap {100 * plan.gap_rel:.4f} %")
    note = f"peer: ours without quotas; {plan.rejects} jobs rejected, {free.rejects} without"
    yield from _beside(name, (plan, seconds), "without quotas", (free, free_s), note)


def _beside(
    name: str, ours: tuple[Plan, float], peer: str, other: tuple[Plan, float], note: str
) -> Iterator[Case]:
    """CPU seconds and certified gap of a plan beside those of ours done another way."""
    for metric, (value, its), unit in (
        ("time", (ours[1], other[1]), "CPU s"),
        ("certified gap", (100 * ours[0].gap_rel, 100 * other[0].gap_rel), "%"),
    ):
        yield Case(
            suite="match",
            case=name,
            metric=metric,
            value=value,
            unit=unit,
            better="lower",
            peers={peer: its},
            n=len(ours[0].job_id),
            note=note,
        )


def _solve(program: Program, peer: str) -> Solved:
    if peer == "highs-mip":
        found = program.highs("choose", whole=True)
    elif peer.startswith("highs-"):
        found = program.highs(peer.removeprefix("highs-"))
    else:
        found = program.ortools(peer)
    say(f"  {peer}: {found.seconds:.3f} s, {found.cost:.2f}{', timed out' * found.timed_out}")
    return found


# -- small problems against the optimum ------------------------------------------------------------


def _small(count: int) -> Iterator[Case]:
    """Fails where a plan is dearer than its bound allows or the optimum lies outside."""
    excess, gaps = [], []
    for seed in range(count):
        problem = random_problem(seed)
        plan, optimum = match(*problem), optimum_of(problem)
        slack = 1e-7 * (1.0 + sum(lifted(problem)))
        fits = bool((plan.used <= problem[1].capacity).all())
        if not (fits and plan.dual <= optimum + slack and optimum <= plan.primal + slack):
            raise GridloomError(f"small problem {seed}: {plan.dual} {optimum} {plan.primal}")
        if optimum > 1e-6:
            excess.append((plan.primal - optimum) / optimum)
        gaps.append(plan.gap_rel)
    for metric, value, note in (
        ("median excess over the optimum", median(excess), f"mean {100 * np.mean(excess):.4f} %"),
        ("median certified gap", median(gaps), "all feasible, dual <= optimum <= primal"),
    ):
        yield Case(
            suite="match",
            case="small problems",
            metric=metric,
            value=100 * value,
            unit="%",
            better="lower",
            peers={},
            n=count,
            note=note,
        )


# -- ticks ---------------------------------------------------------------------------------------


def _churn(count: int) -> Iterator[Case]:
    """A twentieth of the jobs exchanged, prices up to 2 % off; the rest holds its place."""
    columns, policy = network(count, 8), _policy(0.003)
    before = match(*columns, policy)
    jobs, sites, series, ways = columns
    draw = np.random.default_rng(7)
    gone = draw.choice(count, int(_CHURN * count), replace=False)
    ids, current = jobs.job_id.astype("<U12"), before.site.astype(np.int64)
    ids[gone], current[gone] = [f"new-{k:06d}" for k in range(len(gone))], -1
    other = network(count, 8, 2)[0]
    changed = {
        name: np.where(np.isin(np.arange(count), gone), getattr(other, name), getattr(jobs, name))
        for name in ("duration_ms", "data_gb")
    }
    cost = before.cost_micro / 1e6
    ticked = replace(jobs, job_id=ids, current_site=current, migration_cost=0.02 * cost, **changed)
    price = series.price_per_mwh * draw.uniform(0.98, 1.02, series.price_per_mwh.shape)
    tick = (ticked, sites, replace(series, price_per_mwh=price), ways)
    cold, cold_s = _timed(tick, policy)
    warm, warm_s = _timed(tick, policy, before.warm())
    stayed = current >= 0
    moved = 100 * float((warm.site[stayed] != current[stayed]).mean())
    cold_moved = 100 * float((cold.site[stayed] != current[stayed]).mean())
    for metric, value, peer, unit in (
        ("certified gap", 100 * warm.gap_rel, 100 * cold.gap_rel, "%"),
        ("untouched jobs moved", moved, cold_moved, "%"),
        ("time", warm_s, cold_s, "CPU s"),
    ):
        yield Case(
            suite="match",
            case=f"{count}x8, 5 % churn, warm",
            metric=metric,
            value=value,
            unit=unit,
            better="lower",
            peers={"cold": peer},
            n=count,
            note="peer: ours from nothing",
        )


def _site_down(count: int) -> Iterator[Case]:
    """The largest site fails while all are nearly full."""
    columns, policy = network(count, 8), _policy(0.003)
    before = match(*columns, policy)
    jobs, sites, series, ways = columns
    down = int(sites.capacity[:, 0, 0].argmax())
    up = np.arange(8) != down
    cost = before.cost_micro / 1e6
    held = replace(jobs, current_site=before.site.astype(np.int64), migration_cost=cost)
    budget = count // 50
    policy = replace(policy, max_moves=budget)
    plan, seconds = _timed((held, replace(sites, up=up), series, ways), policy, before.warm())
    hit = before.site == down
    others = (before.site >= 0) & ~hit
    elsewhere = others & (plan.site >= 0) & (plan.site != before.site)
    away = 100 * float((others & (plan.site < 0)).sum() / others.sum())
    for metric, value, unit, note in (
        (
            "jobs of the site placed anew",
            100 * float((plan.site[hit] >= 0).mean()),
            "%",
            f"{away:.2f} % of the other jobs give way to dearer ones",
        ),
        (
            "other jobs moved",
            100 * float(elsewhere.sum() / others.sum()),
            "%",
            f"{int(others.sum())} others; budget {budget} moves",
        ),
        ("time", seconds, "CPU s", f"gap {100 * plan.gap_rel:.3f} %"),
    ):
        yield Case(
            suite="match",
            case=f"{count}x8, a site down",
            metric=metric,
            value=value,
            unit=unit,
            better="higher" if "anew" in metric else "lower",
            peers={},
            n=int(hit.sum()),
            note=note,
        )


# -- real traces ---------------------------------------------------------------------------------


def _cluster(name: str, cluster: Cluster | None, quick: bool) -> Iterator[Case]:
    if cluster is None:
        say(f"{name} is not run: its data set is not at GRIDLOOM_DATA")
        return
    plan, seconds = _timed(cluster.columns, _policy(cluster.gap)) if quick else _once(cluster)
    baselines = {"greedy": cluster.greedy(), "run-at-once": cluster.at_once()}
    ours = cluster.outcome(plan.site, plan.slot)
    say(f"{name}: {seconds:.2f} s, gap {100 * plan.gap_rel:.3f} %")
    for metric, unit, better, of in (
        ("placed share", "%", "higher", lambda at: 100 * at.placed),
        ("cost of a placed core hour", "micro", "lower", lambda at: 1e6 * at.cost_per_core_hour),
        ("carbon of a placed core hour", "g", "lower", lambda at: at.gram_per_core_hour),
        ("time", "CPU s", "lower", lambda at: at.seconds),
    ):
        yield Case(
            suite="match",
            case=name,
            metric=metric,
            value=seconds if metric == "time" else of(ours),
            unit=unit,
            better=better,
            peers={peer: of(at) for peer, at in baselines.items()},
            n=len(plan.site),
            note=f"{cluster.note}; certified gap {100 * plan.gap_rel:.3f} %",
        )


def _once(cluster: Cluster) -> tuple[Plan, float]:
    began = process_time()
    plan = match(*cluster.columns, _policy(cluster.gap))
    return plan, process_time() - began
