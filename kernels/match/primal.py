"""Primal: whole plans from prices. Several greedy orders, then local search on the best of them."""

from typing import NamedTuple

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
_ROUNDS, _LOSERS = 6, 300  # of local search among the jobs that lose most, and so many of them;
_SCAN_LOSERS = 2_000  # jobs of a site looked at for one of them
_SEED = 1
_WORK_A_JOB = 2_000  # of ruin and recreate at most: a handful of jobs is soon tried out


class Shortlist(NamedTuple):
    """What local search looks at, at some prices."""

    options: I32  # [n, C] candidates, the cheapest at the prices first
    costs: F64  # [n, C]
    priced: F64  # [n, C] costs at the prices
    keys: F64  # [2, n] orders to place jobs in
    table: F64  # [d, k, M, T] the prices
    least: F64  # [n] the least cost at the prices

    def arrays(self) -> tuple[I32, F64, F64, F64]:
        """What the search itself asks for."""
        return self[:4]


class Plans:
    """Builds plans and keeps the cheapest."""

    def __init__(self, problem: Problem, engine: Engine, tables: PriceTables) -> None:
        self._p, self._engine, self._tables = problem, engine, tables
        self._share = _largest_share(problem)
        self.cost = self.scale = float("inf")  # sum of costs, and of |costs|
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
            table = self._tables.at(prices)
            shortlist = self._shortlist(table, self._engine.sweep(table).least, policy)
            self._take(self._descend(self.option.copy(), shortlist, bound, policy, all_first=False))

    def is_near(self, bound: float, policy: Policy) -> bool:
        """Whether the best plan is as near to the bound as the policy asks."""
        return self.cost < np.inf and self.cost - bound <= policy.gap_target * self.scale

    def polish(self, prices: F64, bound: float, policy: Policy) -> None:
        """A repair in the order that serves most often, and local search on it or the plan kept;

        then repairs in other orders; then the cheapest is ruined and recreated. Each only as long
        as the gap to `bound` is not met and there is work left.
        """
        if self.is_near(bound, policy):
            return
        table = self._tables.at(prices)
        answers = self._engine.sweep(table)
        regret = answers.second - answers.least
        by_regret = _descending(regret)
        starts = [self._greedy(table, by_regret)]
        if self.cost < np.inf:
            starts.append(self.option)
        shortlist = self._shortlist(table, answers.least, policy)
        self._improve(starts, 1, shortlist, bound, policy)
        if self.is_near(bound, policy):
            return
        by_share, by_size = _descending(regret / self._share), _descending(self._share)
        starts += [
            self._greedy(table, by_size),
            self._evict(table, answers.option, by_regret, by_size),
            self._greedy(table, by_share),
            self._greedy(table, _descending(self._p.reject / self._share)),
            self.option,
        ]
        count = min(max(_IMPROVED_JOBS // len(self._p.row), 1), _IMPROVED_MAX)
        self._improve(starts, count, shortlist, bound, policy)
        if not self.is_near(bound, policy):
            self._take(self._ruin(self.option.copy(), shortlist, bound, policy))

    def rework(self, option: I32, prices: F64, bound: float, policy: Policy) -> I32:
        """Local search on the plan given, then ruin and recreate; the cheapest plan known."""
        self.offer(option)
        table = self._tables.at(prices)
        shortlist = self._shortlist(table, self._engine.sweep(table).least, policy)
        self.offer(self._descend(self.option.copy(), shortlist, bound, policy))
        self.offer(self._ruin(self.option.copy(), shortlist, bound, policy))
        return self.option

    def offer(self, option: I32) -> None:
        """A plan from elsewhere, kept if it is the cheapest."""
        self._take(option)

    def _improve(
        self,
        starts: list[I32],
        count: int,
        shortlist: Shortlist,
        bound: float,
        policy: Policy,
    ) -> None:
        """Descend from the cheapest few; they leave the list."""
        starts.sort(key=self.cost_of)
        self._take(starts[0])
        for _ in range(count):
            if self.is_near(bound, policy):
                return
            self._take(self._descend(starts.pop(0).copy(), shortlist, bound, policy))

    def _shortlist(self, table: F64, least: F64, policy: Policy) -> Shortlist:
        sites, slots, _ = self._p.capacity.shape
        most = max(_CANDIDATES // len(self._p.row), policy.candidates)
        if not self._few():
            most = _CANDIDATES_MANY
        options = self._engine.candidates(table, min(most, _CANDIDATES_MAX, sites * slots))
        costs = self._engine.costs(self._tables.costs, options)
        keys = np.stack([self._share, self._p.reject / self._share])
        return Shortlist(options, costs, self._engine.costs(table, options), keys, table, least)

    def _few(self) -> bool:
        return self._p.capacity.shape[1] > 1 or len(self._p.row) <= _JOBS_FEW

    def _descend(
        self,
        option: I32,
        shortlist: Shortlist,
        bound: float,
        policy: Policy,
        *,
        all_first: bool = True,
    ) -> I32:
        """Every job in turn, a few others looked at; then those that lose most, all looked at.

        Without `all_first`, only the latter.
        """
        free = self._p.capacity - self._engine.used(option)
        current = np.ascontiguousarray(self._costs(option))
        search = self._engine.search(*shortlist.arrays(), option, current, free)
        target = bound + policy.gap_target * float(np.abs(current).sum())
        few = self._few()
        if all_first:
            everyone, passes = np.arange(len(option)), policy.passes if few else 1
            search.descend(everyone, passes, policy.scan if few else _SCAN_MANY, target)
        for scan in (policy.scan, *[_SCAN_LOSERS] * _ROUNDS):
            if float(current.sum()) <= target:
                break
            paid = self._engine.costs(shortlist.table, option[:, None])[:, 0]
            lost = paid - shortlist.least
            losers = np.flatnonzero(lost > 0.0)
            losers = losers[_descending(lost[losers])][:_LOSERS]
            if not search.descend(losers, 1, scan, target) and scan == _SCAN_LOSERS:
                break
        return self._fill(option, free)

    def _ruin(self, option: I32, shortlist: Shortlist, bound: float, policy: Policy) -> I32:
        free = self._p.capacity - self._engine.used(option)
        current = np.ascontiguousarray(self._costs(option))
        search = self._engine.search(*shortlist.arrays(), option, current, free)
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
        left = np.flatnonzero(option < 0)
        order = left[_descending(self._p.reject[left])]
        self._engine.place(self._tables.costs, order, option, free)
        return option

    def _take(self, option: I32) -> None:
        costs = self._costs(option)
        cost = float(costs.sum())
        if cost < self.cost:
            self.cost, self.scale, self.option = cost, float(np.abs(costs).sum()), option


def _largest_share(problem: Problem) -> F64:
    """Largest share [n] that a job's demand is of all capacity of a resource."""
    total = problem.capacity.sum(axis=(0, 1), dtype=np.float64)
    share = problem.demand / np.where(total > 0, total, 1.0)
    largest: F64 = share.max(axis=1)
    return np.where(largest > 0, largest, 1.0)  # who needs nothing fits wherever it is tried


def _descending(key: F64) -> I64:
    return np.argsort(-key, kind="stable").astype(np.int64)
