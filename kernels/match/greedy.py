"""Greedy: whole plans at prices, each job in some order at its cheapest option with room."""

import os
from functools import cached_property

import numpy as np

from kernels.match.columns import F64, I32, I64
from kernels.match.prices import PriceTables
from kernels.match.problem import Problem
from kernels.match.reference import Engine
from kernels.match.search import REJECTED

_SURE_FROM, _SURE = 2_000, 0.8  # from so many jobs on, so many are placed without an order


class Greedy:
    """Plans [n] of one problem, by order."""

    def __init__(self, problem: Problem, engine: Engine, tables: PriceTables) -> None:
        self._p, self._engine, self._tables = problem, engine, tables
        self._first: I64 | None = None  # order by slack, once it is asked for

    @cached_property
    def share(self) -> F64:
        """Size [n] of a job: the largest share that its demand is of all capacity of a resource."""
        total = self._p.capacity.sum(axis=(0, 1), dtype=np.float64)
        largest = np.zeros(len(self._p.row))
        for asked, whole in zip(self._p.demand.T, np.where(total > 0, total, 1.0), strict=True):
            np.maximum(largest, asked / whole, out=largest)
        return np.where(largest > 0, largest, 1.0)  # who needs nothing fits wherever it is tried

    def nothing(self) -> tuple[I32, I64]:
        """A plan [n] that places no job, and the room that it leaves [R, T, k]."""
        return np.full(len(self._p.row), -1, np.int32), self._p.capacity.copy()

    def by_order(self, table: F64, order: I64, wanted: I32 | None = None) -> I32:
        """Every job of `order` in turn; wanted [n]: the cheapest option at the prices, if known."""
        option, free = self.nothing()
        self._engine.place(table, order, option, free, wanted)
        return self.fill(option, free)

    def by_slack(self, prices: F64) -> I32:
        """Long runs first, and of them those with the fewest starts to choose from.

        At the right prices many starts cost a job the same. A little below them it takes the one
        that all want while there is room, so that no such room is left over; where that leaves
        too little for those who have no other, the prices themselves serve better.
        """
        if self._first is None:
            count = self._engine.starts()
            run = np.where(count > 0, self._p.lengths[self._p.span], self._p.capacity.shape[1])
            self._first = descending(run.min(axis=1).astype(np.float64) ** 2 / count.sum(axis=1))
        return self.by_order(self._tables.at(prices), self._first)

    def by_regret(self, table: F64, wanted: I32, key: F64) -> I32:
        """Greedy by `key`, the largest first. Whom there is room for in any order go ahead."""
        option, free = self.nothing()
        order = np.arange(len(key))
        if len(key) >= _SURE_FROM:
            at = int((1.0 - _SURE) * len(key))
            sure = key > np.partition(key, at)[at]
            ahead = np.where(sure, wanted, np.int32(REJECTED))
            left = free - self._engine.used(ahead)
            if (left >= 0).all():
                option, free, order = ahead, left, np.flatnonzero(~sure)
        self._engine.place(table, order[descending(key[order])], option, free, wanted)
        return self.fill(option, free)

    def evict(self, table: F64, wanted: I32, order: I64, again: I64) -> I32:
        """What each job wants at the prices; those without room are placed anew, large first."""
        option, free = self.nothing()
        self._engine.keep(wanted, order, option, free)
        self._engine.place(table, again, option, free, wanted)
        return self.fill(option, free)

    def fill(self, option: I32, free: I64) -> I32:
        """Place what is rejected though it has room and pays: afterwards no such job is left."""
        left = np.flatnonzero(option < 0)
        order = left[descending(self._p.reject[left])]
        self._engine.place(self._tables.costs, order, option, free)
        return option


def smallest(key: F64, count: int) -> I64:
    """Rows of the smallest keys, the earlier ones of those equal to the last."""
    if len(key) <= count:
        return np.arange(len(key))
    last = np.partition(key, count)[count]
    below = np.flatnonzero(key < last)
    return np.concatenate([below, np.flatnonzero(key == last)[: count - len(below)]])


def descending(key: F64) -> I64:
    """Rows of the largest keys first, the earlier ones of those that are equal."""
    if os.environ.get("GRIDLOOM_PURE") != "1":
        from kernels.match._order import descending as by_bytes

        order: I64 = by_bytes(key)
        return order
    return np.argsort(-key, kind="stable").astype(np.int64)
