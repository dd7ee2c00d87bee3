"""Price tables: what a run of a given length that starts in a given slot pays per unit of demand.

    table[d, k, m, s] = sum over t in [s, s + lengths[d]) of price[m, t, k] x scale[m, k]

and for k = POWER the energy cost of an IT watt is added, so that the cost of an option at given
prices is fixed[i, m] + sum_k demand[i, k] x table[d, k, m, s]. Prices end with the horizon; energy
beyond it is paid at the last slot's cost. Sums are built up slot by slot: no cancellation.
"""

import numpy as np

from kernels.match.columns import F64, POWER, PPM
from kernels.match.problem import Problem


class PriceTables:
    """Tables of one problem; energy is summed once."""

    def __init__(self, problem: Problem) -> None:
        self._lengths = problem.lengths.tolist()
        self._scale = (problem.scale_ppm / PPM).T[:, :, None]  # [k, M, 1]
        self._power = problem.active.tolist().index(POWER)
        count, horizon = problem.watt_cost.shape
        self._shape = (len(self._lengths), len(problem.active), count, horizon)
        self._energy = _run_sums(problem.watt_cost[None], self._lengths, problem.watt_cost[:, -1:])
        self.costs = np.zeros(self._shape)
        self.costs[:, self._power] = self._energy[:, 0]

    def at(self, prices: F64) -> F64:
        """Table [d, k, M, T] at prices [M, T, k]."""
        by_resource = np.ascontiguousarray(prices.transpose(2, 0, 1)) * self._scale
        table = _run_sums(by_resource, self._lengths, np.zeros((1, 1)))
        table[:, self._power] += self._energy[:, 0]
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
