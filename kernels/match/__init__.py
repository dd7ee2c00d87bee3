"""Match: which job runs at which site and when, at the least cost, with a certified gap.

    minimise    sum over placed jobs of cost[i, o]  +  sum over rejected jobs of reject[i]
    subject to  sum of use[i, (site, slot, k)] <= capacity[site, slot, k]   (exact, integers)
                the same of every quota: its members' use at the sites that it covers

An option o is a site and a start slot; pairs that class, precision, latency, residency, affinity
or deadline forbid are no options. README.md has the model in formulas, the methods and figures.
`GRIDLOOM_PURE=1` runs the plain reference engine instead of the compiled one: the same placements.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.match.certificate import Certificate, certify
from kernels.match.checks import Admitted, admit, admit_terms
from kernels.match.columns import (
    ANY,
    CLASSES,
    F64,
    I32,
    I64,
    LIMITED,
    PRECISIONS,
    RESOURCES,
    BadInput,
    Bool,
    Jobs,
    Network,
    Plan,
    Policy,
    Reason,
    Series,
    Sites,
    Status,
    Texts,
    Warm,
)
from kernels.match.joint import join, unlike
from kernels.match.kinds import Kinds, Placed, fill, kinds_of, places
from kernels.match.moves import hold
from kernels.match.prices import PriceTables
from kernels.match.primal import Plans
from kernels.match.problem import Compiled, Problem, compile_problem
from kernels.match.quota_reasons import but_forbidden, explain_quotas
from kernels.match.reasons import explain
from kernels.match.reference import Engine, Sweep
from kernels.match.relaxations import relaxations
from kernels.match.smooth import climb, is_smooth_better
from kernels.match.terms import Quotas, Rules, Terms
from kernels.match.volume import Ascent, ascend, restrict
from schemas.errors import FieldError, GridloomError

__all__ = [
    "ANY",
    "CLASSES",
    "LIMITED",
    "PRECISIONS",
    "RESOURCES",
    "BadInput",
    "Certificate",
    "Jobs",
    "Network",
    "Plan",
    "Policy",
    "Quotas",
    "Reason",
    "Rules",
    "Series",
    "Sites",
    "Status",
    "Terms",
    "Warm",
    "certify",
    "match",
]


def match(
    jobs: Jobs,
    sites: Sites,
    series: Series,
    network: Network | None = None,
    policy: Policy | None = None,
    warm: Warm | None = None,
    terms: Terms | None = None,
) -> Plan:
    """Place the jobs; one row of the plan a job, in the order given.

    Bad rows are left out alone and named in Plan.errors. Columns that do not belong together
    (sites of another number of slots than the series or the quotas) raise FieldError. The result
    depends on the columns only: not on the machine, the order of the jobs or the unit of money.
    """
    network, policy = network or Network.of(), policy or Policy()
    if sites.capacity.shape[:2] != series.price_per_mwh.shape:
        raise FieldError(
            "shape",
            "capacity",
            f"{sites.capacity.shape[:2]} beside prices {series.price_per_mwh.shape}",
            "give sites and series the same sites and slots",
        )
    terms, term_errors = admit_terms((terms or Terms.of(sites)).fitting(sites))
    quotas = len(terms.quotas.quota_id)
    admitted = admit(jobs, sites, series, network)
    bad, group_errors = unlike(admitted.jobs, admitted.row)
    admitted = admitted._replace(
        row=admitted.row[~bad],
        jobs=admitted.jobs.take(np.flatnonzero(~bad)) if bad.any() else admitted.jobs,
        errors=admitted.errors + group_errors + term_errors,
    )
    sites, series, joint = admitted.sites, admitted.series, join(admitted.jobs)
    terms = terms.with_apart(joint.jobs, sites)

    def solve(wanted: Jobs) -> tuple[_Found, Certificate]:
        columns = (sites, series, network, policy, terms)
        kinds = kinds_of(wanted, _last_options(wanted.job_id, warm, *sites.capacity.shape[:2]))
        if kinds is None:
            found = _Found(compile_problem(wanted, *columns), terms)
            found.solve(wanted, policy, warm)
            return found, prove(wanted, found)
        of_kinds = compile_problem(wanted.take(kinds.first), *columns, alike=kinds.size)
        bundles = wanted.take(kinds.first[kinds.bundle])
        together = _Found(compile_problem(bundles, *columns, times=kinds.times), terms)
        found, placed = together.by_kind(bundles, kinds, of_kinds, policy, warm)
        proof = prove(wanted.take(kinds.first[placed.kind]), found, placed.times)
        return found.take(placed.of_jobs(kinds)), proof

    def prove(wanted: Jobs, found: _Found, count: I64 | None = None) -> Certificate:
        plan = (found.site, found.slot, found.prices, terms, found.quota_prices, count)
        return certify(wanted, sites, series, network, policy, *plan)

    if policy.max_moves == ANY:
        found, proof = solve(joint.jobs)
    else:
        found, dual = hold(solve, joint.jobs, sites, policy.max_moves)
        proof = prove(joint.jobs, found)
        proof = proof._replace(dual=max(proof.dual, dual))
    amount, nearest = relaxations(joint.jobs, sites, series, network, found.reason)
    amount, nearest = but_forbidden(terms.rules, joint.jobs, len(sites.up), amount, nearest)
    found.relax += amount
    found.reason_site[nearest >= 0] = nearest[nearest >= 0]
    if proof.violations:
        raise GridloomError(
            f"the match broke its own proof: {'; '.join(proof.violations)}",
            "report the columns of this tick",
        )
    found.take(joint.row).cost[~joint.first] = 0.0
    return _plan(jobs, admitted, found, proof, policy, quotas, joint.first)


def _engine(problem: Problem) -> Engine:
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return Engine(problem)
    if problem.pools.rows.shape[2]:
        from kernels.match._pooled import Pooled as Core
    else:
        from kernels.match._core import Engine as Core

    compiled: Engine = Core(problem)
    return compiled


_ANEW = 4  # more ascents at most, where quotas bind
_PAYS = 1e-3  # of the bound: what one more ascent has to add
_BY_ROW = (
    "site",
    "slot",
    "cost",
    "runs",
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


class _Found:
    """What a solve found, by row of the admitted jobs."""

    def __init__(self, compiled: Compiled, terms: Terms) -> None:
        rows = len(compiled.reason)
        self.problem, self._terms = compiled.problem, terms
        self.runs = compiled.slots
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

    def solve(self, jobs: Jobs, policy: Policy, warm: Warm | None) -> None:
        """Place the jobs, if any has an option."""
        if len(self.problem.row):
            solved = self._optimise(jobs, policy, warm)
            self._place(solved, self.problem.capacity - solved.engine.used(solved.option))

    def by_kind(
        self, jobs: Jobs, kinds: Kinds, of_kinds: Compiled, policy: Policy, warm: Warm | None
    ) -> tuple["_Found", Placed]:
        """Place bundles of jobs, and what they leave job by job; a row for each place found."""
        option = np.full(len(jobs.job_id), ANY, np.int32)
        problem, free = of_kinds.problem, self.problem.capacity.copy()
        prices = np.zeros(problem.capacity.shape)
        if len(self.problem.row):
            solved = self._optimise(jobs, policy, warm)
            option[self.problem.row], prices = solved.option, solved.prices
            free -= solved.engine.used(solved.option)
        placed = fill(problem, PriceTables(problem), kinds, option, free)
        found = _Found(places(of_kinds, placed.kind), self._terms)
        found.prices, found.quota_prices = self.prices, self.quota_prices
        found.iterations = self.iterations
        if len(found.problem.row):
            engine, tables = _engine(found.problem), PriceTables(found.problem)
            at, alone = placed.option[found.problem.row], engine.sweep(tables.costs)
            found._place(_Solved(at, engine, tables, alone, prices), free)
        return found, placed

    def take(self, rows: I64) -> "_Found":
        """What was found for these rows."""
        for name in _BY_ROW:
            setattr(self, name, getattr(self, name)[rows])
        return self

    def _optimise(self, jobs: Jobs, policy: Policy, warm: Warm | None) -> "_Solved":
        """The best plan and prices."""
        problem = self.problem
        engine, tables = _engine(problem), PriceTables(problem)
        plans = Plans(problem, engine, tables)
        alone = engine.sweep(tables.costs)
        ascent = self._ascend(engine, tables, plans, alone.least, jobs, policy, warm)
        plans.polish(ascent.prices, ascent.bound, policy)
        self.iterations = ascent.iterations
        priced = np.zeros((*problem.capacity.shape[:2], len(LIMITED)))
        priced[:, :, problem.active] = ascent.prices
        sites = len(self.prices)
        self.prices[:] = priced[:sites, :, : len(RESOURCES)]
        self.quota_prices[problem.pools.quota] = priced[sites:]
        return _Solved(plans.option, engine, tables, alone, ascent.prices)

    def _ascend(
        self,
        engine: Engine,
        tables: PriceTables,
        plans: Plans,
        least: F64,
        jobs: Jobs,
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
            last = _last_options(jobs.job_id[problem.row], warm, *problem.watt_cost.shape)
            bound = plans.keep(last, start)
            plans.mend(start, bound, policy)
            if plans.is_near(bound, policy):
                return Ascent(start, bound, 0)
        if is_smooth_better(problem):
            return climb(problem, engine, tables, least, start, policy.gap_target)

        def volume(start: F64) -> Ascent:
            repair, target = plans.repair, policy.gap_target
            return ascend(problem, engine, tables, start, repair, target, policy.iterations)

        best = volume(start)
        if problem.pools.rows.shape[2]:
            best = _anew(volume, best)
        return best

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

    def _place(self, solved: "_Solved", free: I64) -> None:
        problem, row = self.problem, self.problem.row
        option, engine, tables, alone, prices = solved
        placed, horizon = option >= 0, self.problem.capacity.shape[1]
        self.site[row] = np.where(placed, option // horizon, ANY)
        self.slot[row] = np.where(placed, option % horizon, ANY)
        cost = engine.costs(tables.costs, np.ascontiguousarray(option[:, None]))[:, 0]
        self.cost[row] = np.where(placed, cost, 0.0)
        why = explain(problem, engine, tables, alone, prices, option, free)
        if problem.pools.rows.shape[2]:
            quotas = self._terms.quotas
            why, by = explain_quotas(problem, quotas, free, prices, alone.option, option, why)
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


def _last_options(job_id: Texts, warm: Warm | None, count: int, horizon: int) -> I32:
    """The warm plan's options [n], jobs matched by id; ANY = none."""
    wanted = np.full(len(job_id), ANY, np.int32)
    if warm is not None and len(warm.job_id):
        order = np.argsort(warm.job_id, kind="stable")
        at = order[np.searchsorted(warm.job_id, job_id, sorter=order).clip(0, len(order) - 1)]
        site, slot = warm.site[at], warm.slot[at]
        known = (warm.job_id[at] == job_id) & (site >= 0) & (site < count)
        known &= (slot >= 0) & (slot < horizon)
        wanted[known] = (site * horizon + slot)[known]
    return wanted


def _plan(
    jobs: Jobs,
    admitted: Admitted,
    found: _Found,
    proof: Certificate,
    policy: Policy,
    quotas: int,
    first: Bool,
) -> Plan:
    """The plan in the order of the jobs given, bad rows included; of the quotas given."""
    placed, current = found.site >= 0, admitted.jobs.current_site
    slots = np.zeros(len(placed), np.int32)
    slots[placed] = found.runs[placed, found.site[placed]]
    gap = proof.primal - proof.dual
    status = Status.GAP_MET if gap <= policy.gap_target * proof.scale else Status.BUDGET
    pinned = (found.reason == Reason.REJECTED_CAPACITY) & (admitted.jobs.affinity != ANY)
    if pinned.any():
        status |= Status.INFEASIBLE_PINNED
    if admitted.errors:
        status |= Status.BAD_INPUT
    spread = partial(_spread, len(jobs.job_id), admitted.row)
    return Plan(
        job_id=jobs.job_id,
        site=spread(found.site, ANY),
        slot=spread(found.slot, ANY),
        slots=spread(slots, 0),
        cost_micro=spread(np.rint(found.cost * 1e6).astype(np.int64), 0),
        reason=spread(found.reason, Reason.BAD_INPUT),
        reason_site=spread(found.reason_site, ANY),
        reason_resource=spread(found.reason_resource, ANY),
        reason_quota=spread(np.where(found.reason_quota < quotas, found.reason_quota, ANY), ANY),
        second_cost=spread(found.second, 0),
        relax=spread(found.relax, 0),
        prices=found.prices,
        used=proof.used,
        quota_prices=found.quota_prices[:quotas],
        quota_used=proof.quota_used[:quotas],
        primal=proof.primal,
        dual=proof.dual,
        gap_rel=gap / proof.scale if proof.scale > 0 else 0.0,
        rejects=int((~placed).sum()),
        moves=int((first & placed & (current >= 0) & (found.site != current)).sum()),
        status=status,
        iterations=found.iterations,
        errors=admitted.errors,
    )


def _spread(rows: int, row: I64, column: npt.NDArray[Any], absent: int) -> npt.NDArray[Any]:
    whole = np.full(rows, absent, column.dtype)
    whole[row] = column
    return whole
