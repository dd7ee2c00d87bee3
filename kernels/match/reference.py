"""Reference engine: the inner loops in plain numpy and Python, step for step what _core.pyx does.

An option is the number site x T + start; -1 is rejected. Ties go to the lower option, and jobs are
in the order of their id, so both engines give the same placements bit for bit.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from kernels.match.columns import F64, I32, I64
from kernels.match.problem import Problem
from kernels.match.search import REJECTED, Search

FAINT = 2.0**-10  # an answer of no larger share is left out of the curvature
_CHUNK = 1 << 20  # options priced at once


class Sweep(NamedTuple):
    """Every job's best answer to a price table."""

    least: F64  # [n] min(reject, cheapest option)
    second: F64  # [n] the same without the best option's site (or without rejection)
    option: I32  # [n] where `least` is; REJECTED


class Soft(NamedTuple):
    """Least prices smoothed with a width tau, and how their sum changes with q prices."""

    least: F64  # [rows] as they are, not smoothed
    use: F64  # [q] expected use, in units of a resource
    curvature: F64  # [q, q] how the use falls as prices rise; the upper half


def decay(x: float) -> float:
    """exp(-x) to nine digits for x >= 0, and 0 from 10 on; the same bits on any machine."""
    if x >= 10.0:
        return 0.0
    y = x / 256.0
    power = 1.0 - y * (1.0 - y * (0.5 - y * (1.0 / 6.0 - y * (1.0 / 24.0))))
    for _ in range(8):
        power *= power
    return power


class Engine:
    """The loops over one problem."""

    def __init__(self, problem: Problem) -> None:
        self._p = problem
        self.sites, self.slots = problem.watt_cost.shape
        self.rows = len(problem.capacity)
        self._lengths: list[int] = problem.lengths.tolist()
        self.reject: list[float] = problem.reject.tolist()

    def sweep(self, table: F64) -> Sweep:
        """Price all options of all jobs."""
        n = len(self._p.row)
        least, second = np.empty(n), np.empty(n)
        option = np.empty(n, np.int32)
        for at, priced in self._priced(table):
            part = slice(at, at + len(priced))
            by_site = priced.min(axis=2)
            answers = np.column_stack([by_site, self._p.reject[part]])
            two = np.partition(answers, 1, axis=1) if answers.shape[1] > 1 else answers
            least[part], second[part] = two[:, 0], two[:, 1]
            best = priced.reshape(len(priced), -1).argmin(axis=1)
            placed = by_site.min(axis=1) <= self._p.reject[part]
            option[part] = np.where(placed, best, REJECTED)
        return Sweep(least, second, option)

    def soften(
        self,
        table: F64,
        rows: I64,
        tau: float,
        small: float,
        column: I64,
        inverse_unit: F64,
        count: int,
        thin: int,
    ) -> Soft:
        """One slot: answers with weights exp(-(price - least) / width), by `rows`.

        width = tau max(least, small). column [M, T, k]: index in q of a price, -1 = none, those of
        a resource after those of the one before; inverse_unit [k]: of what use is counted in. The
        curvature is that of every thin-th row, times as many.
        """
        kinds = len(self._p.active)
        sure, use = np.zeros((2, kinds, self.sites))
        least = np.empty(len(rows))
        curvature = np.zeros((kinds, self.sites, kinds, self.sites))
        growth = np.zeros((kinds, kinds, self.sites))
        for row, job in enumerate(rows.tolist()):
            prices = [*self._priced_one(table, job)[:, 0].tolist(), self.reject[job]]
            low = least[row] = min(prices)
            width = tau * max(low, small)
            *weights, rejected = [decay((price - low) * (1.0 / width)) for price in prices]
            lanes = [0.0, 0.0, 0.0, 0.0]  # in which _soft.h adds them up
            for at, weight in enumerate(weights):
                lanes[at % 4] += weight
            part = 1.0 / ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3]) + rejected)
            share = np.array(weights) * part
            own = self._p.need(job, np.arange(self.sites)).T.astype(np.float64)
            if np.count_nonzero([*weights, rejected]) == 1:
                sure += share * own
                continue  # nothing that a small change of price would change
            use += share * own
            if row % thin:
                continue
            narrow, own = thin * (1.0 / width), np.where(share > FAINT, own, 0.0)
            expected = share * own
            for k, site in np.argwhere(own > 0.0).tolist():
                curvature[k, site] -= expected[k, site] * narrow * expected
                growth[k, k:, site] += share[site] * narrow * own[k, site] * own[k:, site]
        for site in range(self.sites):
            curvature[:, site, :, site] += growth[:, :, site]
        of, priced = np.nonzero(column[:, 0].T >= 0)
        unit = inverse_unit[of]
        matrix = np.triu(curvature[of, priced][:, of, priced])
        matrix *= unit[:, None]
        matrix *= unit
        return Soft(least, (sure + use)[of, priced] * unit, matrix)

    def solve(self, matrix: F64, right: F64) -> F64:
        """x of matrix x = right, symmetric and positive, its upper half given; both are used up."""
        for j in range(len(right)):
            for i in range(j + 1, len(right)):
                factor = matrix[j, i] / matrix[j, j]
                if factor != 0.0:
                    matrix[i, i:] -= factor * matrix[j, i:]
                    right[i] -= factor * right[j]
        for i in range(len(right) - 1, -1, -1):
            right[i] = right[i] / matrix[i, i]
            right[:i] -= matrix[:i, i] * right[i]
        return right

    def _priced(self, table: F64) -> Iterator[tuple[int, F64]]:
        """Prices [chunk, M, T] of options, inf where closed."""
        p = self._p
        step = max(1, _CHUNK // max(1, self.sites * self.slots))
        site = np.arange(self.sites)
        for at in range(0, len(p.row), step):
            part = slice(at, at + step)
            span = p.span[part]
            priced = np.repeat(p.fixed[part][:, :, None], self.slots, axis=2)
            for k in range(len(p.active)):
                priced += p.demand[part, k][:, None, None] * table[:, k][span, site]
            yield at, np.where(p.open[part] == 1, priced, np.inf)

    def used(self, option: I32) -> I64:
        """Use [M, T, k] of the options."""
        p = self._p
        edges = np.zeros((self.rows, self.slots + 1, len(p.active)), np.int64)
        job = np.flatnonzero(option >= 0)
        site, start = np.divmod(option[job], self.slots)
        end = np.minimum(start + p.lengths[p.span[job, site]], self.slots)
        need = p.need(job, site)
        shared = p.pools.rows[p.pools.signature[job], site]  # [placed, L]
        for row in (site, *shared.T):
            has = row >= 0
            np.add.at(edges, (row[has], start[has]), need[has])
            np.subtract.at(edges, (row[has], end[has]), need[has])
        return np.ascontiguousarray(edges.cumsum(axis=1)[:, : self.slots])

    def wanted(self) -> I64:
        """One slot: use [M, k] if every job came wherever it may."""
        p = self._p
        open_ = p.open[:, :, :1] == 1
        job, site = np.ogrid[: len(p.demand), : len(p.scale_ppm)]
        wanted: I64 = np.where(open_, p.need(job, site), 0).sum(axis=0)
        return wanted

    def starts(self) -> I64:
        """How many starts [n, M] a job may choose from at a site."""
        count: I64 = self._p.open.sum(axis=2, dtype=np.int64)
        return count

    def place(
        self, table: F64, order: I64, option: I32, free: I64, wanted: I32 | None = None
    ) -> None:
        """Jobs of `order` that are not placed: the cheapest option with room, if worth it.

        wanted [n]: the cheapest option, if worth it. Not needed here: it is found again.
        """
        for job in order.tolist():
            if option[job] != REJECTED:
                continue
            priced = self._priced_one(table, job)
            room = np.where(self._room(job, free), priced, np.inf)
            best = int(room.argmin())
            if room.flat[best] <= self.reject[job] and self._p.open[job].flat[best]:
                option[job] = best
                self.occupy(job, best, free, 1)

    def _priced_one(self, table: F64, job: int) -> F64:
        p = self._p
        span, site = p.span[job], np.arange(self.sites)
        priced = np.repeat(p.fixed[job][:, None], self.slots, axis=1)
        for k in range(len(p.active)):
            priced += float(p.demand[job, k]) * table[:, k][span, site]
        return np.where(p.open[job] == 1, priced, np.inf)

    def _room(self, job: int, free: I64) -> F64:
        """Starts [M, T] whose every slot has room."""
        p = self._p
        need = p.need(job, slice(None))[:, None, :]
        short = (free[: self.sites] < need).any(axis=2)
        for row in p.pools.rows[p.pools.signature[job]].T:
            short |= (free[row] < need).any(axis=2) & (row >= 0)[:, None]
        count = np.zeros((self.sites, self.slots + 1), np.int64)
        np.cumsum(short, axis=1, out=count[:, 1:])
        length = p.lengths[p.span[job]][:, None]
        end = np.minimum(np.arange(self.slots)[None, :] + length, self.slots)
        clear: F64 = np.take_along_axis(count, end, axis=1) == count[:, :-1]
        return clear

    def keep(self, wanted: I32, order: I64, option: I32, free: I64) -> None:
        """Jobs of `order` that are not placed: the wanted option, if open and with room."""
        for job in order.tolist():
            want = int(wanted[job])
            if want < 0 or option[job] != REJECTED or not self._p.open[job].flat[want]:
                continue
            if self.fits(job, want, free):
                option[job] = want
                self.occupy(job, want, free, 1)

    def candidates(self, table: F64, count: int) -> I32:
        """The `count` cheapest options [n, count] of every job at these prices; -1 pads."""
        found = np.full((len(self._p.row), count), REJECTED, np.int32)
        for at, priced in self._priced(table):
            flat = priced.reshape(len(priced), -1)
            order = np.argsort(flat, axis=1, kind="stable")[:, :count]
            open_ = np.isfinite(np.take_along_axis(flat, order, axis=1))
            found[at : at + len(priced), : order.shape[1]] = np.where(open_, order, REJECTED)
        return found

    def costs(self, table: F64, option: I32) -> F64:
        """Cost [n, q] of options [n, q]; the reject cost where REJECTED."""
        p = self._p
        job = np.arange(len(p.row))[:, None]
        site, start = np.divmod(np.maximum(option, 0), self.slots)
        span = p.span[job, site]
        cost = p.fixed[job, site]
        for k in range(len(p.active)):
            cost = cost + p.demand[:, k][:, None] * table[span, k, site, start]
        return np.where(option >= 0, cost, p.reject[:, None])

    def search(self, *arrays: Any) -> Search:
        """Local search on a plan."""
        return Search(self, *arrays)

    def end_of(self, job: int, site: int, start: int) -> int:
        return int(min(start + self._lengths[self._p.span[job, site]], self.slots))

    def fits(self, job: int, option: int, free: I64) -> bool:
        site, start = divmod(option, self.slots)
        need = self._p.need(job, site)
        end = self.end_of(job, site, start)
        return all(bool((free[row, start:end] >= need).all()) for row in self._rows(job, site))

    def occupy(self, job: int, option: int, free: I64, sign: int) -> None:
        if option < 0:
            return
        site, start = divmod(option, self.slots)
        need = self._p.need(job, site)
        for row in self._rows(job, site):
            free[row, start : self.end_of(job, site, start)] -= sign * need

    def _rows(self, job: int, site: int) -> list[int]:
        """Rows of capacity that the job uses at the site: its own, and quotas."""
        shared = self._p.pools.rows[self._p.pools.signature[job], site]
        return [site, *shared[shared >= 0].tolist()]
