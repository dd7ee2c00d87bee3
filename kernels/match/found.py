"""Found: what a solve finds. Prices, a plan near their bound, and the reason of every row.

`Found` holds the answer by row of the admitted jobs; what makes it is in files of its own: prices
in smooth.py or volume.py, plans in primal.py, reasons in reasons.py and quota_reasons.py.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from kernels.match.alike import by_kind
from kernels.match.columns import ANY, F64, I32, I64, LIMITED, RESOURCES, Policy, Texts, Warm
from kernels.match.ids import places_of
from kernels.match.kinds import Kinds, Placed, fill, places
from kernels.match.pooled import Pooled
from kernels.match.prices import PriceTables
from kernels.match.primal import Plans
from kernels.match.problem import Compiled, Problem
from kernels.match.quota_reasons import explain_quotas
from kernels.match.quota_search import improve_by_quota, is_choice_by_quota
from kernels.match.reasons import explain
from kernels.match.reference import Engine, Sweep
from kernels.match.shares import parts_of, shares_of
from kernels.match.smooth import climb, is_smooth_better
from kernels.match.terms import Terms
from kernels.match.volume import Ascent, Costs, ascend, restrict


def _engine(problem: Problem, threads: int) -> Engine:
    pooled = bool(problem.pools.rows.shape[2])
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return Pooled(problem) if pooled else Engine(problem)
    if pooled:
        from kernels.match._pooled import Pooled as Core
    else:
        from kernels.match._core import Engine as Core

    compiled: Engine = Core(problem, threads)
    return compiled


def _near(
    plans: Plans,
    problem: Problem,
    engine: Engine,
    tables: PriceTables,
    ascent: Ascent,
    policy: Policy,
) -> None:
    """Plans as near to the bound as the policy asks; many jobs with quotas are tried by quota."""
    if not is_choice_by_quota(problem):
        plans.polish(ascent.prices, ascent.bound, policy)
        return
    plans.polish(ascent.prices, ascent.bound, replace(policy, work=0))
    improve_by_quota(plans, problem, engine, tables, ascent.prices, ascent.bound, policy)


# rows that are alike answer a price all at once, which smoothing makes hard and aggregation easy
_MANY_ALIKE = 16
_ANEW = 4  # more ascents at most, where quotas bind
_PAYS = 1e-3  # of the bound: what one more ascent has to add
_BY_ROW = (
    "site",
    "slot",
    "cost",
    "reason",
    "reason_site",
    "reason_resource",
    "reason_quota",
    "second",
    "relax",
)


class _Solved(NamedTuple):
    """A plan of a problem, its prices, and what they were found with."""

    option: I32
    engine: Engine
    tables: PriceTables
    alone: Sweep  # each job's best options at no prices
    prices: F64  # [R, T, k]
    free: I64  # [R, T, k] what the plan leaves


class Found:
    """What a solve found, by row of the admitted jobs."""

    def __init__(self, compiled: Compiled, terms: Terms, threads: int = 1) -> None:
        rows = len(compiled.reason)
        self._threads = threads
        self.problem, self._terms = compiled.problem, terms
        self.site: I32 = np.full(rows, ANY, np.int32)
        self.slot: I32 = np.full(rows, ANY, np.int32)
        self.cost = np.zeros(rows)
        self.prices: F64 = np.zeros((*self.problem.watt_cost.shape, len(RESOURCES)))
        self.quota_prices: F64 = np.zeros(terms.quotas.limit.shape)
        self.reason = compiled.reason
        self.reason_site: I32 = np.full(rows, ANY, np.int32)
        self.reason_resource = compiled.too_large
        self.reason_quota = compiled.quota
        self.second = np.zeros(rows)
        self.relax = np.zeros(rows)
        self.iterations = 0

    def solve(self, last: I32, policy: Policy, warm: Warm | None) -> None:
        """Place the jobs, if any has an option; last [N]: theirs in the warm plan."""
        if len(self.problem.row):
            solved = self._optimise(last, policy, warm)
            self.place(solved)

    def by_kind(
        self, last: I32, kinds: Kinds, of_kinds: Compiled, policy: Policy, warm: Warm | None
    ) -> tuple["Found", Placed]:
        """Place bundles of jobs, and what they leave job by job; a row for each place found."""
        option = np.full(len(kinds.bundle), ANY, np.int32)
        free, prices = self.problem.capacity.copy(), np.zeros(self.problem.capacity.shape)
        if len(self.problem.row):
            solved = self._optimise(last, policy, warm)
            option[self.problem.row], prices = solved.option, solved.prices
            free = solved.free.copy()
        return self._filled(kinds, of_kinds, option, prices, free)

    def by_share(
        self, kinds: Kinds, of_kinds: Compiled, policy: Policy
    ) -> tuple["Found", Placed] | None:
        """Place kinds as their program splits them, the last few of each part one by one.

        None where that program is too large.
        """
        problem = self.problem
        tables, size = PriceTables(problem), kinds.size[problem.row]
        shares = shares_of(problem, tables, size)
        if shares is None:
            return None
        parts, left, free = parts_of(problem, shares, size)
        rest = problem.take(np.repeat(np.arange(len(size)), left))
        rest = rest._replace(capacity=free.copy())
        engine, its_tables = _engine(rest, self._threads), PriceTables(rest)
        plans = Plans(rest, engine, its_tables)
        least = engine.sweep(its_tables.at(shares.prices)).least
        bound = float(least.sum() - (shares.prices * free).sum())
        whole = float(
            np.abs(_engine(problem, self._threads).sweep(tables.costs).least * size).sum()
        )
        own = float(np.abs(engine.sweep(its_tables.costs).least).sum())
        asked = policy.gap_target * max(whole / own, 1.0) if own > 0.0 else policy.gap_target
        ascent = Ascent(shares.prices, bound, shares.steps)
        _near(plans, rest, engine, its_tables, ascent, replace(policy, gap_target=asked))
        self._tell(ascent)
        none = np.setdiff1d(np.arange(len(kinds.size)), problem.row)
        kinds = kinds._replace(
            bundle=np.concatenate([problem.row[parts.kind], rest.row, none]),
            times=np.concatenate([parts.times, np.ones(len(rest.row), np.int64), kinds.size[none]]),
        )
        nowhere = np.full(len(none), ANY, np.int32)
        option = np.concatenate([parts.option, plans.option, nowhere])
        free -= engine.used(plans.option)
        return self._filled(kinds, of_kinds, option, shares.prices, free)

    def _filled(
        self, kinds: Kinds, of_kinds: Compiled, option: I32, prices: F64, free: I64
    ) -> tuple["Found", Placed]:
        """What bundles were given, and more of their jobs where there is room."""
        problem = of_kinds.problem
        placed = fill(problem, PriceTables(problem), kinds, option, free)
        found = Found(places(of_kinds, placed.kind), self._terms, self._threads)
        found.prices, found.quota_prices = self.prices, self.quota_prices
        found.iterations = self.iterations
        if len(found.problem.row):
            engine, tables = _engine(found.problem, self._threads), PriceTables(found.problem)
            at, alone = placed.option[found.problem.row], engine.sweep(tables.costs)
            found.place(_Solved(at, engine, tables, alone, prices, free))
        return found, placed

    def take(self, rows: I64) -> "Found":
        """What was found for these rows."""
        for name in _BY_ROW:
            setattr(self, name, getattr(self, name).take(rows, axis=0))
        return self

    def at_its_prices(self, job_id: Texts, warm: Warm | None) -> Warm:
        """The plan of a warm start, or none, at the prices found here."""
        nowhere: I32 = np.full(len(job_id), ANY, np.int32)
        plan = warm or Warm(job_id, nowhere, nowhere)
        return replace(plan, prices=self.prices, quota_prices=self.quota_prices)

    def _optimise(self, last: I32, policy: Policy, warm: Warm | None) -> "_Solved":
        """The best plan and prices."""
        problem = self.problem
        engine, tables = _engine(problem, self._threads), PriceTables(problem)
        plans = Plans(problem, engine, tables)
        alone = engine.sweep(tables.costs)
        ascent = self._ascend(engine, tables, plans, alone.least, last, policy, warm)
        _near(plans, problem, engine, tables, ascent, policy)
        self._tell(ascent)
        return _Solved(plans.option, engine, tables, alone, ascent.prices, plans.free())

    def _tell(self, ascent: Ascent) -> None:
        """The prices, by resource and quota, and the work they took."""
        problem, sites = self.problem, len(self.prices)
        self.iterations = ascent.iterations
        priced = np.zeros((*problem.capacity.shape[:2], len(LIMITED)))
        priced[:, :, problem.active] = ascent.prices
        self.prices[:] = priced[:sites, :, : len(RESOURCES)]
        self.quota_prices[problem.pools.quota] = priced[sites:]

    def _ascend(
        self,
        engine: Engine,
        tables: PriceTables,
        plans: Plans,
        least: F64,
        last: I32,
        policy: Policy,
        warm: Warm | None,
    ) -> Ascent:
        """Prices; those of the warm start, where the plan kept is near enough to their bound."""
        problem = self.problem
        start = np.zeros(problem.capacity.shape)
        if warm is not None:
            if warm.prices is not None:
                known = self._prices_of(warm)
                start = np.maximum(restrict(known, problem.active, start.shape), 0.0)
            bound = plans.keep(last[problem.row], start, policy)
            if plans.is_near(bound, policy):
                return Ascent(start, bound, 0)
        kinds = by_kind(problem)
        few = len(kinds.row) * _MANY_ALIKE <= len(problem.row)
        priced = engine if kinds is problem else _engine(kinds, self._threads)
        smooth, worth = Ascent(start, -np.inf, 0), None

        def repair(prices: F64) -> Costs:
            return worth or plans.repair(prices)

        def volume(start: F64) -> Ascent:
            target = policy.gap_target
            return ascend(problem, priced, tables, start, repair, target, policy.iterations)

        if is_smooth_better(problem):
            if problem.capacity.shape[1] > 1:
                volume(start)  # for the plans at its prices: those at the best ones may be worse
            smooth = climb(problem, engine, tables, least, start, policy.gap_target)
            if warm is not None:
                plans.improve(smooth.prices, smooth.bound, policy)
            if not few:
                return smooth
            # beside a smoothed dual plans come later, from the better prices of the two
            worth = plans.appraise(smooth.prices)
        best = volume(start)
        if problem.pools.rows.shape[2] or few:
            best = _anew(volume, best)
        spent = best.iterations + smooth.iterations
        return max(best, smooth, key=lambda one: one.bound)._replace(iterations=spent)

    def _prices_of(self, warm: Warm) -> F64:
        """Last tick's prices [R, T, 6]; nothing for quotas where they are others."""
        problem, shape = self.problem, self.quota_prices.shape
        assert warm.prices is not None
        sites = np.concatenate([warm.prices, np.zeros_like(warm.prices[:, :, :1])], axis=2)
        quotas = np.zeros(shape)
        given = warm.quota_prices
        if given is not None and given.shape[1:] == shape[1:] and len(given) <= len(quotas):
            quotas[: len(given)] = given
        if sites.shape[1:] != shape[1:]:
            return sites
        return np.concatenate([sites, quotas[problem.pools.quota]])

    def place(self, solved: "_Solved") -> None:
        problem, rows = self.problem, self.problem.row
        row = slice(None) if len(rows) == len(self.site) else rows
        option, engine, tables, alone, prices, free = solved
        placed, horizon = option >= 0, self.problem.capacity.shape[1]
        site = option // horizon  # ANY where rejected
        self.site[row] = site
        self.slot[row] = np.where(placed, option - site * horizon, ANY)
        why = explain(problem, engine, tables, alone, prices, option, free)
        self.cost[row] = np.where(placed, why.cost, 0.0)
        if problem.pools.rows.shape[2]:
            quotas, whole = self._terms.quotas, free.copy()
            whole[len(self.prices) :] += problem.pools.spare[:, :, problem.active]
            why, by = explain_quotas(problem, quotas, whole, prices, alone.option, option, why)
            self.reason_quota[row] = by
        self.reason[row], self.reason_site[row] = why.reason, why.site
        self.reason_resource[row] = why.resource
        self.second[row], self.relax[row] = why.second, why.relax


def _anew(volume: Callable[[F64], Ascent], best: Ascent) -> Ascent:
    """From the best prices on with fresh steps, while that pays: with quotas steps tire soon."""
    for _ in range(_ANEW):
        further = volume(best.prices)
        worth = further.bound - best.bound > _PAYS * abs(best.bound)
        spent = best.iterations + further.iterations
        if further.bound > best.bound:
            best = further
        best = best._replace(iterations=spent)
        if not worth:
            break
    return best


def last_options(job_id: Texts, warm: Warm | None, count: int, horizon: int) -> I32:
    """The warm plan's options [n], jobs matched by id; ANY = none. The ids are ascending."""
    if warm is None or not len(warm.job_id):
        return np.full(len(job_id), ANY, np.int32)
    site, slot = warm.site, warm.slot
    known = (site >= 0) & (site < count) & (slot >= 0) & (slot < horizon)
    option = np.full(len(site) + 1, ANY, np.int32)  # the last one: of jobs that it does not know
    option[:-1] = np.where(known, site * horizon + slot, ANY)
    return option[places_of(warm.job_id, job_id)]
