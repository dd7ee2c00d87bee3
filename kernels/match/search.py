"""Local search on a plan: descent, then ruin and recreate.

Descent: every job in turn moves to a cheaper option, alone or by moving one job out of its way.
Ruin and recreate: a job that could be cheaper (of two drawn, the one that loses more) is put at a
cheaper option, whatever is in the way and a few more jobs are taken out and placed anew; the
outcome stays if it is not dearer than the best plan by more than an allowance that shrinks to
nothing. Source: Schrimpf et al., Record breaking optimization results using the ruin and recreate
principle, J. Comp. Physics 159 (2000).

Work is counted in jobs and options looked at, never in seconds; the drawings are splitmix64.
_descent.pyx and _search.pyx are the same, move for move.
"""

from math import inf
from typing import TYPE_CHECKING

import numpy as np

from kernels.match.columns import F64, I32, I64

if TYPE_CHECKING:
    from kernels.match.reference import Engine

REJECTED = -1
# a move must gain more than the rounding of the two costs it compares
GAIN_MIN = 2.0**-30
LOOKS = 8  # times in a pass that the cost is compared with the one wanted
NEAR = 64  # jobs of a site looked at when room is made
SET_MAX = 40  # jobs taken out at once
EXTRA = 6  # fewer jobs than this are taken out without need
TRIES = 12  # drawings for a rejected job to try again
BLINK = 32  # one in so many options with room is passed over
ALLOWANCE = 2.0**-6  # of the jobs' least costs: how much dearer a plan may be to begin with
_MASK = 2**64 - 1


class Search:
    """One plan under search: `option`, `current` and `free` are changed in place.

    options, costs, priced [n, C]: candidates in order of `priced`; keys [2, n]: orders in which
    jobs are placed anew, the largest first.
    """

    def __init__(
        self,
        engine: "Engine",
        options: I32,
        costs: F64,
        priced: F64,
        keys: F64,
        option: I32,
        current: F64,
        free: I64,
    ) -> None:
        self._engine, self._free = engine, free
        self._options, self._costs = options.tolist(), costs.tolist()
        self._by_price = [list(range(len(row))) for row in self._options]
        self._by_cost = np.argsort(costs, axis=1, kind="stable").tolist()
        self._priced, self._keys = priced.tolist(), keys.tolist()
        self._current, self._option = current, option
        self._reject = engine.reject
        self._slots = engine.slots
        self._escape = list(engine.reject)
        self._cheapest = np.minimum(costs.min(axis=1), self._reject).tolist()
        self._members: list[list[int]] = [[] for _ in range(engine.sites)]
        self._at = [0] * len(option)
        for job in np.flatnonzero(option >= 0).tolist():
            self._enter(job, int(option[job]))

    # -- descent ---------------------------------------------------------------------------------

    def descend(self, jobs: I64, passes: int, scan: int, target: float) -> int:
        """Moves of `jobs` until none gains, the cost is `target`, or so many passes; the moves."""
        moves, between = 0, len(jobs) // LOOKS + 1
        for _ in range(passes):
            for job in range(len(self._options)):
                self._find_escape(job)
            made = 0
            for turn, job in enumerate(jobs.tolist()):
                made += self._improve(job, scan)
                if (turn + 1) % between == 0 and self._total() <= target:
                    return moves + made
            moves += made
            if not made or self._total() <= target:
                break
        return moves

    def _total(self) -> float:
        total = 0.0
        for cost in self._current.tolist():
            total += cost
        return total

    def _find_escape(self, job: int) -> None:
        """The cheapest other place with room; rejection is one."""
        left = int(self._option[job])
        if left < 0:
            return
        self._engine.occupy(job, left, self._free, -1)
        least = self._reject[job]
        for q in self._by_cost[job]:
            option = self._options[job][q]
            if self._costs[job][q] >= least:
                break
            if option >= 0 and option != left and self._fits(job, option):
                least = self._costs[job][q]
                break
        self._engine.occupy(job, left, self._free, 1)
        self._escape[job] = least

    def _improve(self, job: int, scan: int) -> int:
        engine, free = self._engine, self._free
        now, cost_now = int(self._option[job]), float(self._current[job])
        if cost_now <= self._cheapest[job]:
            return 0
        engine.occupy(job, now, free, -1)
        for option, cost in zip(self._options[job], self._costs[job], strict=True):
            if option < 0:
                break
            gain = cost - cost_now
            if option == now or gain >= -GAIN_MIN * (abs(cost) + abs(cost_now)):
                continue
            if engine.fits(job, option, free):
                self._move(job, option, cost)
                self._find_escape(job)
                return 1
            if self._eject(job, option, cost, gain, scan):
                return 1
        engine.occupy(job, now, free, 1)
        return 0

    def _eject(self, job: int, option: int, cost: float, gain: float, scan: int) -> bool:
        """Of the jobs in the way, move the one whose move leaves the largest saving."""
        engine, free = self._engine, self._free
        now = int(self._option[job])
        best, other, to, to_cost = -GAIN_MIN * (abs(cost) + abs(cost - gain)), -1, -1, 0.0
        for one in self._members[option // self._slots][: -scan - 1 : -1]:
            if one == job:
                continue
            left, left_cost = int(self._option[one]), float(self._current[one])
            # a pass old: what has opened up since then is seen by the next one
            if gain + (self._cheapest[one] - left_cost) >= best:
                continue
            # it could escape, or take the place that the job gives up
            away = self._escape[one]
            if gain + (away - left_cost) >= best:
                away = self._cost_at(one, now)
            if gain + (away - left_cost) >= best:
                continue
            engine.occupy(one, left, free, -1)
            if engine.fits(job, option, free):
                engine.occupy(job, option, free, 1)
                for place, place_cost in zip(self._options[one], self._costs[one], strict=True):
                    if place < 0:
                        break
                    saving = gain + (place_cost - left_cost)
                    if place != left and saving < best and engine.fits(one, place, free):
                        best, other, to, to_cost = saving, one, place, place_cost
                reject = self._reject[one]
                saving = gain + (reject - left_cost)
                if saving < best:
                    best, other, to, to_cost = saving, one, REJECTED, reject
                engine.occupy(job, option, free, -1)
            engine.occupy(one, left, free, 1)
        if other < 0:
            return False
        engine.occupy(other, int(self._option[other]), free, -1)
        self._move(other, to, to_cost)
        self._move(job, option, cost)
        self._find_escape(other)
        self._find_escape(job)
        return True

    def _cost_at(self, job: int, option: int) -> float:
        """Cost of one of its candidates, inf where it is none."""
        if option < 0 or option not in self._options[job]:
            return inf
        return float(self._costs[job][self._options[job].index(option)])

    # -- ruin and recreate -----------------------------------------------------------------------

    def ruin(self, work: int, seed: int, target: float) -> int:
        """Until the cost is `target` or the work is done; leaves the best plan; the work done."""
        self._state, n = seed & _MASK, len(self._options)
        total = size = 0.0
        for cost, cheapest in zip(self._current.tolist(), self._cheapest, strict=True):
            total += cost
            size += abs(cheapest)
        least, kept = total, (self._option.copy(), self._current.copy())
        allowance = ALLOWANCE * size
        self._spent = 0
        while self._spent < work and least > target:
            self._spent += 1
            job = max(self._draw(n), self._draw(n), key=self._excess)
            want = self._wanted(job)
            if want < 0:
                continue
            before = self._take_out(job, want)
            after = self._put_back()
            limit = least + allowance * (1.0 - self._spent / work)
            if total + (after - before) > limit:
                self._restore()
                continue
            total += after - before
            if total < least:
                least, kept = total, (self._option.copy(), self._current.copy())
        self._option[:], self._current[:] = kept
        return self._spent

    def _excess(self, job: int) -> float:
        """What the job costs more than it would alone."""
        return float(self._current[job] - self._cheapest[job])

    def _wanted(self, job: int) -> int:
        """Any of the candidates [C] that would cost less, -1 = none."""
        if self._current[job] <= self._cheapest[job]:
            return -1
        cheaper = [
            q
            for q, option in enumerate(self._options[job])
            if option >= 0 and self._costs[job][q] < self._current[job]
        ]
        return cheaper[self._draw(len(cheaper))] if cheaper else -1

    def _take_out(self, job: int, want: int) -> float:
        """Clear the wanted option of the job, put the job there; the cost of all taken out."""
        option, cost = self._options[job][want], self._costs[job][want]
        self._set: list[int] = []
        self._was: list[tuple[int, float]] = []
        self._leave(job)
        near = self._near(option, job)
        while near and len(self._set) < SET_MAX and not self._fits(job, option):
            self._leave(self._pick(near))
        if self._fits(job, option):
            for _ in range(self._draw(EXTRA)):
                if near and len(self._set) < SET_MAX:
                    self._leave(self._pick(near))
            for _ in range(TRIES):
                one = self._draw(len(self._options))
                if self._option[one] < 0 and one not in self._set and len(self._set) < SET_MAX:
                    self._leave(one)
            self._move(job, option, cost)
        before = 0.0
        for _, left_cost in self._was:
            before += left_cost
        return before

    def _near(self, option: int, job: int) -> list[int]:
        """Jobs of the site that run while the option would, from any one of them on."""
        site, start = divmod(option, self._slots)
        end = self._engine.end_of(job, site, start)
        members, near = self._members[site], []
        if members:
            first = self._draw(len(members))
            for step in range(min(len(members), NEAR)):
                one = members[(first + step) % len(members)]
                begun = int(self._option[one]) % self._slots
                if begun < end and start < self._engine.end_of(one, site, begun):
                    near.append(one)
            self._spent += min(len(members), NEAR)
        return near

    def _pick(self, near: list[int]) -> int:
        at = self._draw(len(near))
        near[at], near[-1] = near[-1], near[at]
        return near.pop()

    def _leave(self, job: int) -> None:
        self._set.append(job)
        self._was.append((int(self._option[job]), float(self._current[job])))
        self._engine.occupy(job, int(self._option[job]), self._free, -1)
        self._move(job, REJECTED, self._reject[job])

    def _put_back(self) -> float:
        """Place anew what is out; the cost of all of the set."""
        again = self._set[1:]
        if self._option[self._set[0]] < 0:
            again = list(self._set)
        order = self._draw(4)
        if order < 2:
            again.sort(key=self._keys[order].__getitem__, reverse=True)
        by_cost = self._draw(2) == 0
        ranks = self._by_cost if by_cost else self._by_price
        values = self._costs if by_cost else self._priced
        for job in again:
            for q in ranks[job]:
                option = self._options[job][q]
                if option < 0:
                    continue
                if values[job][q] > self._reject[job]:
                    break
                self._spent += 1
                if self._fits(job, option) and self._draw(BLINK) > 0:
                    self._move(job, option, self._costs[job][q])
                    break
        after = 0.0
        for job in self._set:
            after += float(self._current[job])
        return after

    def _restore(self) -> None:
        for job in self._set:
            self._engine.occupy(job, int(self._option[job]), self._free, -1)
            self._move(job, REJECTED, 0.0)
        for job, (option, cost) in zip(self._set, self._was, strict=True):
            self._move(job, option, cost)

    def _draw(self, below: int) -> int:
        """A whole number from 0 on below `below`."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return (z ^ (z >> 31)) % below

    # -- moves -----------------------------------------------------------------------------------

    def _fits(self, job: int, option: int) -> bool:
        return self._engine.fits(job, option, self._free)

    def _move(self, job: int, option: int, cost: float) -> None:
        """To `option`; what the job used before is free already."""
        before = int(self._option[job])
        if before >= 0:
            members, at = self._members[before // self._slots], self._at[job]
            members[at] = members[-1]
            self._at[members[at]] = at
            members.pop()
        if option >= 0:
            self._enter(job, option)
        self._engine.occupy(job, option, self._free, 1)
        self._option[job] = option
        self._current[job] = cost

    def _enter(self, job: int, option: int) -> None:
        members = self._members[option // self._slots]
        self._at[job] = len(members)
        members.append(job)
