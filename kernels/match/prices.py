"""Price tables: what a run of a given length that starts in a given slot pays per unit of demand.

    table[d, k, m, s] = sum over t in [s, s + lengths[d]) of price[m, t, k] x scale[m, k]

where the price is that of the site and of the quotas that the run's signature uses there too, and
for k = POWER the energy cost of an IT watt is added, so that the cost of an option at given
prices is fixed[i, m] + sum_k demand[i, k] x table[d, k, m, s]. Prices end with the horizon; energy
beyond it is paid at the last slot's cost. Sums are built up slot by slot: no cancellation.
"""

import numpy as np

from kernels.match.columns import F64, POWER, PPM
from kernels.match.problem import Problem


class PriceTables:
    """Tables of one problem; energy is summed once."""

    def __init__(self, problem: Problem) -> None:
        self._p = problem
        self._signatures = range(len(problem.pools.rows))
        self._runs = [np.flatnonzero(problem.of_signature == s) for s in self._signatures]
        self._lengths = [problem.lengths[at].tolist() for at in self._runs]
        self._scale = (problem.scale_ppm / PPM).T[:, :, None]  # [k, M, 1]
        self._power = problem.active.tolist().index(POWER)
        count, horizon = problem.watt_cost.shape
        self._shape = (len(problem.lengths), len(problem.active), count, horizon)
        self._is_plain = horizon == 1 == len(problem.lengths) and len(problem.capacity) == count
        self._energy = np.empty((self._shape[0], count, horizon))
        for s in self._signatures:
            paid = problem.pools.factor[s][:, None] * problem.watt_cost
            self._energy[self._runs[s]] = _run_sums(paid[None], self._lengths[s], paid[:, -1:])[
                :, 0
            ]
        self.costs = np.zeros(self._shape)
        self.costs[:, self._power] = self._energy

    def at(self, prices: F64) -> F64:
        """Table [d, k, M, T] at prices [R, T, k]: of a site, and of the quotas used there."""
        if self._is_plain:  # the sums are the rates themselves
            table = np.ascontiguousarray((prices[:, 0].T * self._scale[:, :, 0])[None, :, :, None])
            table[:, self._power] += self._energy
            return table
        table = np.empty(self._shape)
        sites, padded = len(self._p.watt_cost), np.concatenate([prices, np.zeros_like(prices[:1])])
        for s in self._signatures:
            paid = prices[:sites]
            for at in range(self._p.pools.rows.shape[2]):
                paid = paid + padded[self._p.pools.rows[s, :, at]]  # ANY is the row of zeros
            by_resource = np.ascontiguousarray(paid.transpose(2, 0, 1)) * self._scale
            table[self._runs[s]] = _run_sums(by_resource, self._lengths[s], np.zeros((1, 1)))
        table[:, self._power] += self._energy
        return table


def _run_sums(rates: F64, lengths: list[int], beyond: F64) -> F64:
    """Sums [d, k, M, T] of rates [k, M, T] over runs; `beyond` [M, 1] holds past the horizon."""
    horizon = rates.shape[2]
    sums = np.empty((len(lengths), *rates.shape))
    total = np.zeros_like(rates)
    done = 0
    for index, length in enumerate(lengths):
        for step in range(done, length):
            total[:, :, : horizon - step] += rates[:, :, step:]
            total[:, :, horizon - step :] += beyond
        sums[index] = total
        done = length
    return sums
