"""Reference engine where quotas bind: the smoothed dual over prices of sites and of quotas.

`reference.py` has the rest. _pooled.pyx is the same, step for step.
"""

from itertools import product

import numpy as np

from kernels.match.columns import F64, I64
from kernels.match.reference import FAINT, Engine, Soft, decay


class Pooled(Engine):
    """The loops over a problem with quotas."""

    def wanted(self) -> I64:
        """Use [R, T, k] if every job ran wherever and whenever it may; of a quota at one site."""
        p = self._p
        wanted = np.zeros((self.rows, self.slots, len(p.active)), np.int64)
        for job in range(len(p.row)):
            most: dict[int, I64] = {}
            for site in np.flatnonzero(p.open[job].any(axis=1)).tolist():
                starts = np.flatnonzero(p.open[job, site]).tolist()
                need = np.zeros(wanted.shape[1:], np.int64)
                need[starts[0] : self.end_of(job, site, starts[-1])] = p.need(job, site)
                wanted[site] += need
                for row in self._rows(job, site)[1:]:
                    most[row] = np.maximum(most.get(row, 0), need)
            for row, need in most.items():
                wanted[row] += need
        return wanted

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
        """What Engine.soften does, for prices of quotas too and any slots; column [R, T, k].

        All jobs have the same width, tau small. One price may be paid at several sites: the use
        that is expected of it is their sum.
        """
        use, curvature, least = np.zeros(count), np.zeros((count, count)), np.empty(len(rows))
        width = tau * small
        narrow = thin / width
        for at, job in enumerate(rows.tolist()):
            prices = [*self._priced_one(table, job).ravel().tolist(), self.reject[job]]
            least[at] = min(prices)
            weights = [decay((price - least[at]) * (1.0 / width)) for price in prices]
            whole = 0.0
            for weight in weights:  # one by one, which sum() does not do in every Python
                whole += weight
            curved = np.count_nonzero(weights) > 1 and at % thin == 0
            expected: dict[int, float] = {}
            for option in np.flatnonzero(weights[:-1]).tolist():
                site, start = divmod(option, self.slots)
                need, share = self._p.need(job, site), weights[option] / whole
                here = []  # column, use
                slots = range(start, self.end_of(job, site, start))
                for row, t in product(self._rows(job, site), slots):
                    for k in np.flatnonzero((need > 0) & (column[row, t] >= 0)).tolist():
                        own = need[k] * inverse_unit[k]
                        use[column[row, t, k]] += share * own
                        here.append((int(column[row, t, k]), own))
                if not curved or share <= FAINT:
                    continue
                for first, (one, own) in enumerate(here):
                    expected[one] = expected.get(one, 0.0) + share * own
                    for other, its in here[first:]:
                        curvature[one, other] += share * own * narrow * its
            drawn = list(expected.items())
            for first, (one, own) in enumerate(drawn):
                for other, its in drawn[first:]:
                    curvature[min(one, other), max(one, other)] -= own * narrow * its
        return Soft(least, use, curvature)
