"""Peers of the match: HiGHS and OR-tools on the assignment as a linear or whole-number program.

    minimise  sum cost x + sum reject r,  sum_o x[i, o] + r[i] = 1,  sum use x <= capacity

for networks of one slot. Seconds are CPU seconds of the solve alone: building and reading the model
are not counted. A peer that does not end within TIMEOUT_S is timed out.
"""

import os
import sys
import tempfile
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import highspy
import numpy as np

from kernels.match import Policy
from kernels.match.columns import F64, I64
from kernels.match.prices import PriceTables
from kernels.match.problem import Problem, compile_problem, needs
from tests.bench.instances import Columns

TIMEOUT_S = 120.0


class Solved(NamedTuple):
    """What a peer found; `bound` <= optimum <= `cost`, inf where it found none."""

    seconds: float
    cost: float
    bound: float
    timed_out: bool


class Program:
    """The program of one network, as HiGHS takes it."""

    def __init__(self, columns: Columns, policy: Policy) -> None:
        problem = compile_problem(*columns, policy).problem
        assert problem.capacity.shape[1] == 1, "one slot only"
        self.problem = problem
        self.costs = _costs(problem)
        self._lp = _lp(problem, self.costs)

    def highs(self, solver: str, *, whole: bool = False) -> Solved:
        """`solver`: simplex, ipm or choose; one thread."""
        highs = _quiet()
        for option, setting in {
            "threads": 1,
            "time_limit": TIMEOUT_S,
            "solver": solver,
        }.items():
            highs.setOptionValue(option, setting)
        columns = self._lp.num_col_
        self._lp.integrality_ = [highspy.HighsVarType.kInteger] * columns if whole else []
        highs.passModel(self._lp)
        began = process_time()
        highs.run()
        seconds = process_time() - began
        info = highs.getInfo()
        optimal = highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
        found = optimal or whole
        cost = info.objective_function_value if found else float("inf")
        bound = info.mip_dual_bound if whole else (cost if optimal else -float("inf"))
        return Solved(seconds, cost, bound, not optimal)

    def ortools(self, solver: str) -> Solved:
        """`solver`: glop or pdlp, the latter to 1e-4."""
        from ortools.linear_solver.python import model_builder

        model = model_builder.Model()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "match.mps")
            highs = _quiet()
            self._lp.integrality_ = []
            highs.passModel(self._lp)
            highs.writeModel(str(path))
            assert model.import_from_mps_file(str(path))
        engine = model_builder.Solver(solver)
        engine.set_time_limit_in_seconds(TIMEOUT_S)
        if solver == "pdlp":
            engine.set_solver_specific_parameters(
                "num_threads: 1 termination_criteria { simple_optimality_criteria "
                "{ eps_optimal_relative: 1e-4 eps_optimal_absolute: 1e-4 } }"
            )
        began = process_time()
        status = engine.solve(model)
        seconds = process_time() - began
        optimal = status == model_builder.SolveStatus.OPTIMAL
        cost = float(engine.objective_value) if optimal else float("inf")
        return Solved(seconds, cost, cost if solver == "glop" else -float("inf"), not optimal)

    def greedy(self) -> Solved:
        """Jobs by regret, each to its cheapest site with room: what schedulers do, on costs."""
        problem = self.problem
        need = needs(problem.demand[:, None, :], problem.scale_ppm[None])
        began = process_time()
        offers = np.column_stack([self.costs, problem.reject])
        least = np.partition(offers, 1, axis=1)
        order = np.argsort(least[:, 0] - least[:, 1], kind="stable")
        free, cost = problem.capacity[:, 0].copy(), 0.0
        for job in order.tolist():
            room = (free >= need[job]).all(axis=1)
            priced = np.where(room, self.costs[job], np.inf)
            site = int(priced.argmin())
            if priced[site] <= problem.reject[job]:
                free[site] -= need[job, site]
            cost += min(float(priced[site]), float(problem.reject[job]))
        return Solved(process_time() - began, cost, -float("inf"), False)


def _quiet() -> highspy.Highs:
    """A solver that keeps off the standard output, where its first one writes its name."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        highs = highspy.Highs()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    highs.setOptionValue("output_flag", False)
    return highs


def _costs(problem: Problem) -> F64:
    table = PriceTables(problem).costs[0, :, :, 0]
    return np.where(problem.open[:, :, 0] == 1, problem.fixed + problem.demand @ table, np.inf)


def _lp(problem: Problem, costs: F64) -> Any:
    jobs, sites = costs.shape
    kinds = len(problem.active)
    job, site = np.nonzero(np.isfinite(costs))
    need = needs(problem.demand[job], problem.scale_ppm[site])
    unit = np.maximum(problem.capacity[:, 0], 1).astype(float)  # rows of a capacity of 1
    rows, values = _columns(job, site, need, unit, jobs, kinds)
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(job) + jobs, jobs + sites * kinds
    lp.col_cost_ = np.concatenate([costs[job, site], problem.reject])
    lp.col_lower_ = np.zeros(lp.num_col_)
    lp.col_upper_ = np.ones(lp.num_col_)
    capacity = (problem.capacity[:, 0] / unit).ravel()
    lp.row_lower_ = np.concatenate([np.ones(jobs), np.full(sites * kinds, -highspy.kHighsInf)])
    lp.row_upper_ = np.concatenate([np.ones(jobs), capacity])
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    ends = [(kinds + 1) * np.arange(len(job)), (kinds + 1) * len(job) + np.arange(jobs + 1)]
    lp.a_matrix_.start_ = np.concatenate(ends).astype(np.int32)
    lp.a_matrix_.index_ = np.concatenate([rows.ravel(), np.arange(jobs)]).astype(np.int32)
    lp.a_matrix_.value_ = np.concatenate([values.ravel(), np.ones(jobs)])
    return lp


def _columns(job: I64, site: I64, need: I64, unit: F64, jobs: int, kinds: int) -> tuple[I64, F64]:
    rows = np.empty((len(job), kinds + 1), np.int64)
    rows[:, 0] = job
    rows[:, 1:] = jobs + site[:, None] * kinds + np.arange(kinds)
    values = np.ones(rows.shape)
    values[:, 1:] = need / unit[site]
    return rows, values
