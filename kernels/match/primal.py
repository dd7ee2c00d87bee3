"""Primal: whole plans from prices. Several greedy orders, then local search on the best of them.

The first order is by regret, and whoever loses more in a plan than its place in the order was for
comes so much earlier in the next. Source: Joslin and Clements, Squeaky wheel optimization, Journal
of AI Research 10 (1999).
"""

from typing import NamedTuple

import numpy as np

from kernels.match.columns import F64, I32, I64, PPM, Policy
from kernels.match.greedy import Greedy, descending, smallest
from kernels.match.prices import PriceTables
from kernels.match.problem import Problem
from kernels.match.reference import Engine, Sweep
from kernels.match.volume import Costs

_TURNS, _TURN_OPTIONS = 10, 10_000_000  # of greedy plans by regret; fewer where options are many
_TURNS_MANY = 2  # of many jobs in one slot, where a turn costs more than it gains
_FAILED = 4  # turns in a row that find nothing cheaper are the last
_LOST = 0.5  # of the gap: what jobs lose is to be as much of it for one more turn
_IMPROVED_MAX = 5  # plans that local search starts from,
_IMPROVED_JOBS = 10_000  # fewer of them, down to one, above so many jobs in all
_CANDIDATES_MAX = 96  # options of a job that local search looks at,
_CANDIDATES = 200_000  # fewer of them, down to the policy's, above so many in all,
_JOBS_FEW = 5_000  # and in one slot with more jobs than this
_CANDIDATES_MANY, _SCAN_MANY = 4, 16  # so many, and so many jobs in the way: prices do the rest
_ROUNDS, _LOSERS = 6, 300  # of local search among the jobs that lose most, and so many of them;
_GIVE_WAY = 300  # jobs beside them that a plan kept is mended with,
_NEARLY = 3.0  # and all jobs where it is then so many times as far from the bound as it may be
_CORE = 10  # of so many jobs the one that gives way at the least loss is tried before all are
_SCAN_LOSERS = 200  # jobs of a site looked at for one of them
_SEED = 1
_SHADES = (0.98, 1.0)  # of the prices, for plans over several slots, by turns
_SHADES_MANY = (0.95, 0.98)  # of many jobs in one slot, where the prices themselves do not do,
_WORTH = 8.0  # and no plan is amended that is so many times as far from the bound as the best
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

    def __init__(
        self, problem: Problem, engine: Engine, tables: PriceTables, few: bool | None = None
    ) -> None:
        self._p, self._engine, self._tables = problem, engine, tables
        self._few = few
        if few is None:
            self._few = problem.capacity.shape[1] > 1 or len(problem.row) <= _JOBS_FEW
        self._greedy = Greedy(problem, engine, tables)
        self._repairs = 0
        self.cost = self.scale = float("inf")  # sum of costs, and of |costs|
        self.option: I32 = np.full(len(problem.row), -1, np.int32)
        self._free: I64 | None = problem.capacity

    def free(self) -> I64:
        """What the cheapest plan leaves of the capacity [R, T, k]."""
        if self._free is None:
            self._free = self._p.capacity - self._engine.used(self.option)
        return self._free

    def repair(self, prices: F64) -> Costs:
        """One greedy plan at these prices, by regret for its size, or by slack over several slots.

        What the cheapest so far costs.
        """
        if self._p.capacity.shape[1] > 1:
            self._take(self._greedy.by_slack(_SHADES[self._repairs % len(_SHADES)] * prices))
            self._repairs += 1
        else:
            table = self._tables.at(prices)
            answers = self._engine.sweep(table)
            order = descending((answers.second - answers.least) / self._greedy.share)
            self._take(self._greedy.by_order(table, order, answers.option))
        return Costs(self.cost, self.scale)

    def appraise(self, prices: F64) -> Costs:
        """What a repair at these prices costs, which is not kept."""
        table = self._tables.at(prices)
        answers = self._engine.sweep(table)
        costs = self._costs(
            self._greedy.by_order(table, descending(answers.second - answers.least), answers.option)
        )
        return Costs(float(costs.sum()), float(np.abs(costs).sum()))

    def keep(self, wanted: I32, prices: F64, policy: Policy) -> float:
        """The plan given, as far as it still holds, and mended at the prices; their bound.

        Jobs without a place come by regret; where that is not near enough, local search goes on.
        """
        everyone = np.arange(len(self._p.row))
        option, free = self._greedy.nothing()
        self._engine.keep(wanted, everyone, option, free)
        table = self._tables.at(prices)
        answers = self._engine.sweep(table)
        regret = answers.second - answers.least
        left = np.flatnonzero(option < 0)
        self._engine.place(table, left[descending(regret[left])], option, free, answers.option)
        self._take(self._greedy.fill(option, free), free)
        bound = float(answers.least.sum() - (prices * self._p.fillable()).sum())
        if not self.is_near(bound, policy):
            bound += self._rounded_up(prices, answers)
        if not self.is_near(bound, policy):
            self._mend(table, answers, bound, policy)
        return bound

    def improve(self, prices: F64, bound: float, policy: Policy) -> None:
        """Local search on the plan kept, among all jobs, if it is nearly what the policy asks."""
        far = self.cost - bound
        if self.is_near(bound, policy) or not far <= _NEARLY * policy.gap_target * self.scale:
            return
        table = self._tables.at(prices)
        shortlist = self._shortlist(table, self._engine.sweep(table).least, policy)
        self._take(self._descend(self.option.copy(), shortlist, bound, policy))

    def _mend(self, table: F64, answers: Sweep, bound: float, policy: Policy) -> None:
        """Local search on the plan kept, at prices that were right before.

        Only among the jobs that lose most and those that could give way at the least loss for
        their size; all others stay where they are.
        """
        least = answers.least
        lost = self._engine.costs(table, self.option[:, None])[:, 0] - least
        regret = answers.second - least
        losers = smallest(-lost, _LOSERS)
        losers = losers[lost[losers] > 0.0]
        rows = _either(losers, smallest(regret / self._greedy.share, _GIVE_WAY), len(lost))
        self._among(rows, self.option, table, least, bound, policy, all_first=False)

    def _among(
        self,
        rows: I64,
        start: I32,
        table: F64,
        least: F64,
        bound: float,
        policy: Policy,
        *,
        all_first: bool,
    ) -> None:
        """Local search among these jobs on the plan given; all others stay where they are."""
        costs, option, others = self._costs(start), start.copy(), start.copy()
        others[rows] = -1
        few = self._p.take(rows)._replace(capacity=self._p.capacity - self._engine.used(others))
        among = Plans(few, type(self._engine)(few), self._tables, self._few or not all_first)
        shortlist = among._shortlist(table, least[rows], policy)
        # what the others cost is no matter of this search, but counts in the gap
        costs[rows] = 0.0
        target = bound - float(costs.sum()) + policy.gap_target * float(np.abs(costs).sum())
        option[rows] = among._descend(option[rows], shortlist, target, policy, all_first=all_first)
        self._take(option)

    def is_near(self, bound: float, policy: Policy) -> bool:
        """Whether the best plan is as near to the bound as the policy asks."""
        return self.cost < np.inf and self.cost - bound <= policy.gap_target * self.scale

    def _rounded_up(self, prices: F64, answers: Sweep) -> float:
        """What the bound at these prices gains where whole units are paid for, at the least.

        Answers are priced by what is drawn, which a site rounds up for each job: a job pays for
        the rest too, or goes elsewhere. One slot without quotas.
        """
        p, at = self._p, answers.option
        if p.capacity.shape[1] > 1 or p.pools.rows.shape[2]:
            return 0.0
        more = np.zeros(len(at))
        for k in np.flatnonzero((p.scale_ppm != PPM).any(axis=0)):
            scale = np.where(at >= 0, p.scale_ppm[at, k], PPM)
            rest = p.times * (-(p.demand[:, k] // p.times) * scale % PPM)
            more += prices[at, 0, k] * rest
        return float(np.minimum(more / PPM, answers.second - answers.least).sum())

    def polish(self, prices: F64, bound: float, policy: Policy) -> None:
        """Repairs by regret, and local search on the best of them or the plan kept;

        then repairs in other orders; then the cheapest is ruined and recreated. Each only as long
        as the gap to `bound` is not met and there is work left.
        """
        if self.is_near(bound, policy):
            return
        for shade in _SHADES if self._p.capacity.shape[1] > 1 else ():
            self._take(self._greedy.by_slack(shade * prices))
            if self.is_near(bound, policy):
                return
        table = self._tables.at(prices)
        answers = self._engine.sweep(table)
        bound += self._rounded_up(prices, answers)
        starts = [self.option] if self.cost < np.inf else []
        starts.append(self._by_regret(table, answers, bound, policy))
        if not self._few and not self._p.pools.rows.shape[2]:
            self._amend(starts[-1], table, answers, bound, policy)
            self._shade(prices, bound, policy)
        if self.is_near(bound, policy):
            return
        shortlist = self._shortlist(table, answers.least, policy)
        self._improve(starts, 1, shortlist, bound, policy)
        if self.is_near(bound, policy):
            return
        regret = answers.second - answers.least
        by_share, by_size = descending(regret / self._greedy.share), descending(self._greedy.share)
        by_worth = descending(self._p.reject / self._greedy.share)
        starts += [
            self._greedy.by_order(table, by_size, answers.option),
            self._greedy.evict(table, answers.option, descending(regret), by_size),
            self._greedy.by_order(table, by_share, answers.option),
            self._greedy.by_order(table, by_worth, answers.option),
            self.option,
        ]
        count = min(max(_IMPROVED_JOBS // len(self._p.row), 1), _IMPROVED_MAX)
        self._improve(starts, count, shortlist, bound, policy)
        if not self.is_near(bound, policy):
            self._take(self._ruin(self.option.copy(), shortlist, bound, policy))

    def _amend(self, start: I32, table: F64, answers: Sweep, bound: float, policy: Policy) -> None:
        """Local search on a plan among those who lose in it or lose least, for their
        size, by another answer."""
        if self.is_near(bound, policy):
            return
        paid = self._engine.costs(table, start[:, None])[:, 0]
        regret = answers.second - answers.least
        near = smallest(regret / self._greedy.share, len(regret) // _CORE)
        rows = _either(np.flatnonzero(paid > answers.least), near, len(paid))
        self._among(rows, start, table, answers.least, bound, policy, all_first=True)

    def _shade(self, prices: F64, bound: float, policy: Policy) -> None:
        """Plans at prices a little lower, at which more jobs want the last of what is dear."""
        for shade in _SHADES_MANY:
            if self.is_near(bound, policy):
                return
            table = self._tables.at(shade * prices)
            answers = self._engine.sweep(table)
            start = self._by_regret(table, answers, bound, policy)
            if self.cost_of(start) - bound < _WORTH * (self.cost - bound):
                self._amend(start, table, answers, bound, policy)

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
        if not self._few:
            most = _CANDIDATES_MANY
        options = self._engine.candidates(table, min(most, _CANDIDATES_MAX, sites * slots))
        costs = self._engine.costs(self._tables.costs, options)
        keys = np.stack([self._greedy.share, self._p.reject / self._greedy.share])
        return Shortlist(options, costs, self._engine.costs(table, options), keys, table, least)

    def _descend(
        self,
        option: I32,
        shortlist: Shortlist,
        bound: float,
        policy: Policy,
        *,
        all_first: bool = True,
    ) -> I32:
        """Those that lose most; every job in turn, a few others looked at; again those that lose
        most, all looked at. Without `all_first`, only who loses.
        """
        free = self._p.capacity - self._engine.used(option)
        current = np.ascontiguousarray(self._costs(option))
        search = self._engine.search(*shortlist.arrays(), option, current, free)
        target = _target(bound, current, policy)
        few = self._few
        for turn, scan in enumerate((policy.scan, policy.scan, *[_SCAN_LOSERS] * _ROUNDS)):
            if float(current.sum()) <= target:
                break
            if turn == 1 and all_first:
                everyone, passes = np.arange(len(option)), policy.passes if few else 1
                search.descend(everyone, passes, policy.scan if few else _SCAN_MANY, target)
            if float(current.sum()) <= target:
                break
            paid = self._engine.costs(shortlist.table, option[:, None])[:, 0]
            lost = paid - shortlist.least
            losers = np.flatnonzero(lost > 0.0)
            losers = losers[descending(lost[losers])][:_LOSERS]
            if not search.descend(losers, 1, scan, target) and scan == _SCAN_LOSERS:
                break
        return self._greedy.fill(option, free)

    def _ruin(self, option: I32, shortlist: Shortlist, bound: float, policy: Policy) -> I32:
        free = self._p.capacity - self._engine.used(option)
        current = np.ascontiguousarray(self._costs(option))
        search = self._engine.search(*shortlist.arrays(), option, current, free)
        work = min(policy.work, _WORK_A_JOB * len(option))
        search.ruin(work, _SEED, _target(bound, current, policy))
        return self._greedy.fill(option, self._p.capacity - self._engine.used(option))

    def cost_of(self, option: I32) -> float:
        """Currency, rejections at their lifted cost."""
        return float(self._costs(option).sum())

    def _costs(self, option: I32) -> F64:
        costs: F64 = self._engine.costs(self._tables.costs, option[:, None])[:, 0]
        return costs

    def _by_regret(self, table: F64, answers: Sweep, bound: float, policy: Policy) -> I32:
        """The cheapest of a few greedy plans; who lost much in one is earlier in the next."""
        key, best, least = answers.second - answers.least, self.option, np.inf
        options = len(key) * self._p.capacity.shape[0] * self._p.capacity.shape[1]
        failed, most = 0, _TURNS if self._few else _TURNS_MANY
        for turn in range(min(max(_TURN_OPTIONS // options, 1), most)):
            option = self._greedy.by_regret(table, answers.option, key)
            costs = self._costs(option)
            cost = float(costs.sum())
            if cost < least:
                best, least, failed = option, cost, 0
                self._take(option, costs=costs)
            else:
                failed += 1
            lost = self._engine.costs(table, option[:, None])[:, 0] - answers.least
            squeaks = lost > key
            few = turn > 0 and float(lost.sum()) < _LOST * (cost - bound)
            if few or failed == _FAILED or not squeaks.any() or self.is_near(bound, policy):
                break
            key = np.where(squeaks, lost, key)
        return best

    def _take(self, option: I32, free: I64 | None = None, costs: F64 | None = None) -> None:
        """Keep it if it is the cheapest; the room it leaves and its costs, where they are known."""
        costs = self._costs(option) if costs is None else costs
        cost = float(costs.sum())
        if cost < self.cost:
            self.cost, self.scale, self.option = cost, float(np.abs(costs).sum()), option
            self._free = free


def _either(some: I64, others: I64, count: int) -> I64:
    """Rows of `count` that are among some or among others, ascending."""
    among = np.zeros(count, np.bool_)
    among[some] = among[others] = True
    return np.flatnonzero(among)


def _target(bound: float, current: F64, policy: Policy) -> float:
    """A cost that is near enough to the bound, though the scale shrinks with the cost."""
    return bound + policy.gap_target * min(float(np.abs(current).sum()), abs(bound))
