"""Primal: whole plans from prices. Several greedy orders, then local search on the best of them."""

import numpy as np

from kernels.match.columns import F64, I32, I64, Policy
from kernels.match.prices import PriceTables
from kernels.match.problem import Problem
from kernels.match.reference import Engine

_IMPROVED_MAX = 5  # plans that local search starts from,
_IMPROVED_JOBS = 10_000  # fewer of them, down to one, above so many jobs in all
_CANDIDATES_MAX = 96  # options of a job that local search looks at,
_CANDIDATES = 200_000  # fewer of them, down to the policy's, above so many in all,
_JOBS_FEW = 5_000  # and in one slot with more jobs than this
_CANDIDATES_MANY, _SCAN_MANY = 8, 16  # so many, and so many jobs in the way: prices do the rest
_SEED = 1
_WORK_A_JOB = 2_000  # of ruin and recreate at most: a handful of jobs is soon tried out


class Plans:
    """Builds plans and keeps the cheapest."""

    def __init__(self, problem: Problem, engine: Engine, tables: PriceTables) -> None:
        self._p, self._engine, self._tables = problem, engine, tables
        self._share = _largest_share(problem)
        self.cost = float("inf")
        self.option: I32 = np.full(len(problem.row), -1, np.int32)

    def repair(self, prices: F64) -> float:
        """One greedy plan at these prices, by regret for its size; the cheapest cost so far."""
        table = self._tables.at(prices)
        answers = self._engine.sweep(table)
        order = _descending((answers.second - answers.least) / self._share)
        self._take(self._greedy(table, order))
        return self.cost

    def keep(self, wanted: I32, prices: F64) -> float:
        """The plan given, as far as it still holds; others by regret at the prices. The bound."""
        everyone = np.arange(len(self._p.row))
        option, free = self._nothing()
        self._engine.keep(wanted, everyone, option, free)
        table = self._tables.at(prices)
        answers = self._engine.sweep(table)
        self._engine.place(table, _descending(answers.second - answers.least), option, free)
        self._take(self._fill(option, free))
        return float(answers.least.sum() - (prices * self._p.capacity).sum())

    def mend(self, prices: F64, bound: float, policy: Policy) -> None:
        """Local search on the plan kept, at prices that were right before."""
        if not self.is_near(bound, policy):
            shortlist = self._shortlist(self._tables.at(prices), policy)
            scan = policy.scan if self._few() else _SCAN_MANY
            self._improve([self.option], 1, shortlist, bound, policy, scan)

    def is_near(self, bound: float, policy: Policy) -> bool:
        """Whether the best plan is as near to the bound as the policy asks."""
        costs = self._costs(self.option)
        return float(costs.sum()) - bound <= policy.gap_target * float(np.abs(costs).sum())

    def polish(self, prices: F64, bound: float, policy: Policy) -> None:
        """Repairs in the order that serves most often, local search on them and on the plan kept;

        then repairs in other orders; then the cheapest is ruined and recreated. Each only as long
        as the gap to `bound` is not met and there is work left.
        """
        if self.is_near(bound, policy):
            return
        table = self._tables.at(prices)
        answers = self._engine.sweep(table)
        regret = answers.second - answers.least
        by_share, by_size = _descending(regret / self._share), _descending(self._share)
        by_regret, by_worth = _descending(regret), _descending(self._p.reject / self._share)
        shortlist = self._shortlist(table, policy)
        starts = [self.option]
        if self._few():
            starts.append(self._greedy(table, by_size))
            self._improve(starts, 2, shortlist, bound, policy, policy.scan)
        else:
            starts += [self._greedy(table, by_regret), self._greedy(table, by_worth)]
            self._improve(starts, 1, shortlist, bound, policy, _SCAN_MANY)
        if self.is_near(bound, policy):
            return
        starts += [
            self._evict(table, answers.option, by_regret, by_size),
            self._greedy(table, by_share),
            self._greedy(table, by_regret),
            self._greedy(table, by_worth),
            self.option,
        ]
        count = min(max(_IMPROVED_JOBS // len(self._p.row), 1), _IMPROVED_MAX)
        self._improve(starts, count, shortlist, bound, policy, policy.scan)
        if not self.is_near(bound, policy):
            self._take(self._ruin(self.option.copy(), shortlist, bound, policy))

    def _improve(
        self,
        starts: list[I32],
        count: int,
        shortlist: tuple[I32, F64, F64, F64],
        bound: float,
        policy: Policy,
        scan: int,
    ) -> None:
        """Descend from the cheapest few; they leave the list."""
        starts.sort(key=self.cost_of)
        self._take(starts[0])
        for _ in range(count):
            if self.is_near(bound, policy):
                return
            self._take(self._descend(starts.pop(0).copy(), shortlist, policy.passes, scan))

    def _shortlist(self, table: F64, policy: Policy) -> tuple[I32, F64, F64, F64]:
        """Candidates [n, C], their costs and prices, and orders [2, n] to place jobs in."""
        sites, slots, _ = self._p.capacity.shape
        most = max(_CANDIDATES // len(self._p.row), policy.candidates)
        if not self._few():
            most = _CANDIDATES_MANY
        options = self._engine.candidates(table, min(most, _CANDIDATES_MAX, sites * slots))
        costs = self._engine.costs(self._tables.costs, options)
        keys = np.stack([self._share, self._p.reject / self._share])
        return options, costs, self._engine.costs(table, options), keys

    def _few(self) -> bool:
        return self._p.capacity.shape[1] > 1 or len(self._p.row) <= _JOBS_FEW

    def _descend(
        self, option: I32, shortlist: tuple[I32, F64, F64, F64], passes: int, scan: int
    ) -> I32:
        free = self._p.capacity - self._engine.used(option)
        current = np.ascontiguousarray(self._costs(option))
        search = self._engine.search(*shortlist, option, current, free)
        search.descend(passes, scan)
        return self._fill(option, free)

    def _ruin(
        self, option: I32, shortlist: tuple[I32, F64, F64, F64], bound: float, policy: Policy
    ) -> I32:
        free = self._p.capacity - self._engine.used(option)
        current = np.ascontiguousarray(self._costs(option))
        search = self._engine.search(*shortlist, option, current, free)
        scale = float(np.abs(current).sum())
        work = min(policy.work, _WORK_A_JOB * len(option))
        search.ruin(work, _SEED, bound + policy.gap_target * scale)
        return self._fill(option, self._p.capacity - self._engine.used(option))

    def cost_of(self, option: I32) -> float:
        """Currency, rejections at their lifted cost."""
        return float(self._costs(option).sum())

    def _costs(self, option: I32) -> F64:
        costs: F64 = self._engine.costs(self._tables.costs, option[:, None])[:, 0]
        return costs

    def _nothing(self) -> tuple[I32, I64]:
        return np.full(len(self._p.row), -1, np.int32), self._p.capacity.copy()

    def _greedy(self, table: F64, order: I64) -> I32:
        option, free = self._nothing()
        self._engine.place(table, order, option, free)
        return self._fill(option, free)

    def _evict(self, table: F64, wanted: I32, order: I64, again: I64) -> I32:
        """What each job wants at the prices; those without room are placed anew, large first."""
        option, free = self._nothing()
        self._engine.keep(wanted, order, option, free)
        self._engine.place(table, again, option, free)
        return self._fill(option, free)

    def _fill(self, option: I32, free: I64) -> I32:
        """Place what is rejected though it has room and pays: afterwards no such job is left."""
        self._engine.place(self._tables.costs, _descending(self._p.reject), option, free)
        return option

    def _take(self, option: I32) -> None:
        cost = self.cost_of(option)
        if cost < self.cost:
            self.cost, self.option = cost, option


def _largest_share(problem: Problem) -> F64:
    """Largest share [n] that a job's demand is of all capacity of a resource."""
    total = problem.capacity.sum(axis=(0, 1), dtype=np.float64)
    share = problem.demand / np.where(total > 0, total, 1.0)
    largest: F64 = share.max(axis=1)
    return np.where(largest > 0, largest, 1.0)  # who needs nothing fits wherever it is tried


def _descending(key: F64) -> I64:
    return np.argsort(-key, kind="stable").astype(np.int64)
