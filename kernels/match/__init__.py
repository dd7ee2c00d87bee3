"""Match: which job runs at which site and when, at the least cost, with a certified gap.

    minimise    sum over placed jobs of cost[i, o]  +  sum over rejected jobs of reject[i]
    subject to  sum of use[i, (site, slot, k)] <= capacity[site, slot, k]   (exact, integers)

An option o is a site and a start slot; pairs that class, precision, latency, residency, affinity
or deadline forbid are no options. README.md has the model in formulas, the methods and figures.
`GRIDLOOM_PURE=1` runs the plain reference engine instead of the compiled one: the same placements.
"""

import os
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.match.certificate import Certificate, certify
from kernels.match.checks import Admitted, admit
from kernels.match.columns import (
    ANY,
    CLASSES,
    F64,
    I32,
    I64,
    PRECISIONS,
    RESOURCES,
    BadInput,
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
from kernels.match.moves import hold
from kernels.match.prices import PriceTables
from kernels.match.primal import Plans
from kernels.match.problem import Compiled, Problem, compile_problem
from kernels.match.reasons import explain
from kernels.match.reference import Engine, Sweep
from kernels.match.relaxations import relaxations
from kernels.match.smooth import climb, is_smooth_better
from kernels.match.volume import Ascent, ascend, restrict
from schemas.errors import FieldError, GridloomError

__all__ = [
    "ANY",
    "CLASSES",
    "PRECISIONS",
    "RESOURCES",
    "BadInput",
    "Certificate",
    "Jobs",
    "Network",
    "Plan",
    "Policy",
    "Reason",
    "Series",
    "Sites",
    "Status",
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
) -> Plan:
    """Place the jobs; one row of the plan a job, in the order given.

    Bad rows are left out alone and named in Plan.errors. Columns that do not belong together
    (sites of another number of slots than the series) raise FieldError. The result depends on the
    columns only: not on the machine, the order of the jobs or the unit of money.
    """
    network, policy = network or Network.of(), policy or Policy()
    if sites.capacity.shape[:2] != series.price_per_mwh.shape:
        raise FieldError(
            "shape",
            "capacity",
            f"{sites.capacity.shape[:2]} beside prices {series.price_per_mwh.shape}",
            "give sites and series the same sites and slots",
        )
    admitted = admit(jobs, sites, series, network)
    sites, series = admitted.sites, admitted.series

    def solve(wanted: Jobs) -> tuple[_Found, Certificate]:
        found = _Found(compile_problem(wanted, sites, series, network, policy))
        if len(found.problem.row):
            found.solve(wanted, policy, warm)
        plan = (found.site, found.slot, found.prices)
        return found, certify(wanted, sites, series, network, policy, *plan)

    if policy.max_moves == ANY:
        found, proof = solve(admitted.jobs)
    else:
        found, dual = hold(solve, admitted.jobs, sites, policy.max_moves)
        plan = (found.site, found.slot, found.prices)
        proof = certify(admitted.jobs, sites, series, network, policy, *plan)
        proof = proof._replace(dual=max(proof.dual, dual))
    amount, nearest = relaxations(admitted.jobs, sites, series, network, found.reason)
    found.relax += amount
    found.reason_site[nearest >= 0] = nearest[nearest >= 0]
    if proof.violations:
        raise GridloomError(
            f"the match broke its own proof: {'; '.join(proof.violations)}",
            "report the columns of this tick",
        )
    return _plan(jobs, admitted, found, proof, policy)


def _engine(problem: Problem) -> Engine:
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return Engine(problem)
    from kernels.match._core import Engine as Core

    compiled: Engine = Core(problem)
    return compiled


class _Found:
    """What a solve found, by row of the admitted jobs."""

    def __init__(self, compiled: Compiled) -> None:
        rows = len(compiled.reason)
        self.problem = compiled.problem
        self.runs = compiled.slots
        self.site: I32 = np.full(rows, ANY, np.int32)
        self.slot: I32 = np.full(rows, ANY, np.int32)
        self.cost = np.zeros(rows)
        self.prices: F64 = np.zeros((*self.problem.capacity.shape[:2], len(RESOURCES)))
        self.reason = compiled.reason
        self.reason_site: I32 = np.full(rows, ANY, np.int32)
        self.reason_resource = compiled.too_large
        self.second = np.zeros(rows)
        self.relax = np.zeros(rows)
        self.iterations = 0

    def solve(self, jobs: Jobs, policy: Policy, warm: Warm | None) -> None:
        problem = self.problem
        engine, tables = _engine(problem), PriceTables(problem)
        plans = Plans(problem, engine, tables)
        alone = engine.sweep(tables.costs)
        ascent = self._ascend(engine, tables, plans, alone.least, jobs, policy, warm)
        plans.polish(ascent.prices, ascent.bound, policy)
        self.iterations = ascent.iterations
        self.prices[:, :, problem.active] = ascent.prices
        self._place(plans.option, engine, tables, alone, ascent.prices)

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
                start = np.maximum(restrict(warm.prices, problem.active, start.shape), 0.0)
            bound = plans.keep(_wanted(problem, jobs.job_id, warm), start)
            plans.mend(start, bound, policy)
            if plans.is_near(bound, policy):
                return Ascent(start, bound, 0)
        if is_smooth_better(problem):
            return climb(problem, engine, tables, least, start, policy.gap_target)
        repair, target = plans.repair, policy.gap_target
        return ascend(problem, engine, tables, start, repair, target, policy.iterations)

    def _place(
        self, option: I32, engine: Engine, tables: PriceTables, alone: Sweep, prices: F64
    ) -> None:
        problem, row = self.problem, self.problem.row
        placed, horizon = option >= 0, self.problem.capacity.shape[1]
        self.site[row] = np.where(placed, option // horizon, ANY)
        self.slot[row] = np.where(placed, option % horizon, ANY)
        cost = engine.costs(tables.costs, np.ascontiguousarray(option[:, None]))[:, 0]
        self.cost[row] = np.where(placed, cost, 0.0)
        why = explain(problem, engine, tables, alone, prices, option)
        self.reason[row], self.reason_site[row] = why.reason, why.site
        self.reason_resource[row] = why.resource
        self.second[row], self.relax[row] = why.second, why.relax


def _wanted(problem: Problem, job_id: Texts, warm: Warm) -> I32:
    """The warm plan's options [n], jobs matched by id."""
    count, horizon, _ = problem.capacity.shape
    wanted = np.full(len(problem.row), ANY, np.int32)
    if len(warm.job_id):
        order = np.argsort(warm.job_id, kind="stable")
        ids = job_id[problem.row]
        at = order[np.searchsorted(warm.job_id, ids, sorter=order).clip(0, len(order) - 1)]
        site, slot = warm.site[at], warm.slot[at]
        known = (warm.job_id[at] == ids) & (site >= 0) & (site < count)
        known &= (slot >= 0) & (slot < horizon)
        wanted[known] = (site * horizon + slot)[known]
    return wanted


def _plan(
    jobs: Jobs, admitted: Admitted, found: _Found, proof: Certificate, policy: Policy
) -> Plan:
    """The plan in the order of the jobs given, bad rows included."""
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
        second_cost=spread(found.second, 0),
        relax=spread(found.relax, 0),
        prices=found.prices,
        used=proof.used,
        primal=proof.primal,
        dual=proof.dual,
        gap_rel=gap / proof.scale if proof.scale > 0 else 0.0,
        rejects=int((~placed).sum()),
        moves=int((placed & (current >= 0) & (found.site != current)).sum()),
        status=status,
        iterations=found.iterations,
        errors=admitted.errors,
    )


def _spread(rows: int, row: I64, column: npt.NDArray[Any], absent: int) -> npt.NDArray[Any]:
    whole = np.full(rows, absent, column.dtype)
    whole[row] = column
    return whole
