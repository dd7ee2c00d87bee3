"""Match: which job runs at which site and when, at the least cost, with a certified gap.

    minimise    sum over placed jobs of cost[i, o]  +  sum over rejected jobs of reject[i]
    subject to  sum of use[i, (site, slot, k)] <= capacity[site, slot, k]   (exact, integers)

An option o is a site and a start slot; pairs that class, precision, latency, residency, affinity
or deadline forbid are no options. README.md has the model in formulas, the methods and figures.
`GRIDLOOM_PURE=1` runs the plain reference engine instead of the compiled one: the same placements.
"""

import os

import numpy as np

from kernels.match.certificate import Certificate, certify
from kernels.match.checks import Checked, check
from kernels.match.columns import (
    ANY,
    CLASSES,
    F64,
    I32,
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
    Warm,
)
from kernels.match.prices import PriceTables
from kernels.match.primal import Plans
from kernels.match.problem import Compiled, Problem, compile_problem
from kernels.match.reasons import explain
from kernels.match.reference import Engine
from kernels.match.volume import ascend, restrict
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
    checked = check(jobs, sites, series, network)
    compiled = compile_problem(jobs, sites, series, network, policy, checked)
    found = _Found(jobs, compiled)
    if len(compiled.problem.row):
        found.solve(policy, warm)
    proof = certify(
        jobs,
        sites,
        series,
        network,
        policy,
        checked.jobs,
        checked.sites,
        found.site,
        found.slot,
        found.prices,
    )
    if proof.violations:
        raise GridloomError(
            f"the match broke its own proof: {'; '.join(proof.violations)}",
            "report the columns of this tick",
        )
    return found.plan(jobs, policy, checked, proof)


def _engine(problem: Problem) -> Engine:
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return Engine(problem)
    from kernels.match._core import Engine as Core

    compiled: Engine = Core(problem)
    return compiled


class _Found:
    """What a solve found, by row of Jobs."""

    def __init__(self, jobs: Jobs, compiled: Compiled) -> None:
        rows = len(jobs.job_id)
        count, horizon, _ = compiled.problem.capacity.shape
        self._compiled = compiled
        self._problem = compiled.problem
        self._jobs = jobs
        self.site: I32 = np.full(rows, ANY, np.int32)
        self.slot: I32 = np.full(rows, ANY, np.int32)
        self.cost = np.zeros(rows)
        self.prices: F64 = np.zeros((count, horizon, len(RESOURCES)))
        self.reason = compiled.reason.copy()
        self.reason_site: I32 = np.full(rows, ANY, np.int32)
        self.reason_resource = compiled.too_large.copy()
        self.iterations = 0

    def solve(self, policy: Policy, warm: Warm | None) -> None:
        problem = self._problem
        engine, tables = _engine(problem), PriceTables(problem)
        plans = Plans(problem, engine, tables)
        start = np.zeros(problem.capacity.shape)
        if warm is not None:
            plans.keep(self._wanted(warm))
            if warm.prices is not None:
                start = restrict(warm.prices, problem.active, problem.capacity.shape)
        ascent = ascend(
            problem, engine, tables, start, plans.repair, policy.gap_target, policy.iterations
        )
        plans.polish(ascent.prices, policy.candidates, policy.passes, policy.scan)
        self.iterations = ascent.iterations
        self.prices[:, :, problem.active] = ascent.prices
        self._place(plans.option, engine, tables, ascent.prices)

    def _wanted(self, warm: Warm) -> I32:
        """The warm plan's options, jobs matched by id."""
        problem = self._problem
        count, horizon, _ = problem.capacity.shape
        wanted = np.full(len(problem.row), ANY, np.int32)
        if len(warm.job_id):
            order = np.argsort(warm.job_id, kind="stable")
            ids = self._jobs.job_id[problem.row]
            at = order[np.searchsorted(warm.job_id, ids, sorter=order).clip(0, len(order) - 1)]
            site, slot = warm.site[at], warm.slot[at]
            known = (warm.job_id[at] == ids) & (site >= 0) & (site < count)
            known &= (slot >= 0) & (slot < horizon)
            wanted[known] = (site * horizon + slot)[known]
        return wanted

    def _place(self, option: I32, engine: Engine, tables: PriceTables, prices: F64) -> None:
        problem, row = self._problem, self._problem.row
        placed = option >= 0
        horizon = problem.capacity.shape[1]
        self.site[row] = np.where(placed, option // horizon, ANY)
        self.slot[row] = np.where(placed, option % horizon, ANY)
        cost = engine.costs(tables.costs, np.ascontiguousarray(option[:, None]))[:, 0]
        self.cost[row] = np.where(placed, cost, 0.0)
        why = explain(problem, engine, tables, prices, option)
        self.reason[row], self.reason_site[row] = why.reason, why.site
        self.reason_resource[row] = why.resource

    def plan(self, jobs: Jobs, policy: Policy, checked: Checked, proof: Certificate) -> Plan:
        placed = self.site >= 0
        gap = proof.primal - proof.dual
        status = Status.GAP_MET if gap <= policy.gap_target * proof.scale else Status.BUDGET
        if ((self.reason == Reason.REJECTED_CAPACITY) & (jobs.affinity != ANY)).any():
            status |= Status.INFEASIBLE_PINNED
        if checked.errors:
            status |= Status.BAD_INPUT
        runs = self._compiled.slots[np.arange(len(placed)), self.site] if placed.any() else 0
        return Plan(
            job_id=jobs.job_id,
            site=self.site,
            slot=self.slot,
            slots=np.where(placed, runs, 0).astype(np.int32),
            cost_micro=np.rint(self.cost * 1e6).astype(np.int64),
            reason=self.reason,
            reason_site=self.reason_site,
            reason_resource=self.reason_resource,
            prices=self.prices,
            used=proof.used,
            primal=proof.primal,
            dual=proof.dual,
            gap_rel=gap / proof.scale if proof.scale > 0 else 0.0,
            rejects=int((~placed & (self.reason != Reason.BAD_INPUT)).sum()),
            moves=int((placed & (jobs.current_site >= 0) & (self.site != jobs.current_site)).sum()),
            status=status,
            iterations=self.iterations,
            errors=checked.errors,
        )
