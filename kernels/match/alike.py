"""Alike: rows of a problem that nothing tells apart are priced as one.

A row's least price is the same for all rows that ask for the same, cost the same and may start at
the same times, so the bound and the use of a relaxed plan are sums over kinds of rows, each counted
as often as it comes. That is exact, and what the volume method works on; plans are made job by job.
"""

import numpy as np
import numpy.typing as npt

from kernels.match.columns import F64, I64
from kernels.match.problem import Problem

_SAVED = 2  # rows are to be at least so many times fewer
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # of splitmix64


def by_kind(problem: Problem) -> Problem:
    """A row for each kind, in order of its first; the problem itself where that saves little."""
    rows = len(problem.row)
    if not rows or (problem.times != 1).any():
        return problem
    if any(is_mostly_distinct(column, _SAVED) for column in (problem.reject, problem.fixed[:, 0])):
        return problem
    words = _words(problem)
    _, first, kind = np.unique(_mixed(words), return_index=True, return_inverse=True)
    if len(first) * _SAVED > rows or (words != words[first[kind]]).any():
        return problem  # the second, where two kinds mix to one number: never, as good as
    first, times = _in_order(first, kind)
    once = problem.take(first)
    return once._replace(
        demand=once.demand * times[:, None],
        times=times,
        fixed=once.fixed * times[:, None],
        reject=once.reject * times,
    )


def is_mostly_distinct(column: F64, share: int) -> bool:
    """Whether more than n / share of n numbers differ, seen at a glance; if not seen, they may.

    What marks different places of a table differs.
    """
    count = len(column)
    power = max(count.bit_length() + 1, 1)
    place = ((column + 0.0).view(np.uint64) * _MULTIPLIER) >> np.uint64(64 - power)
    marked = np.zeros(1 << power, np.bool_)
    marked[place.view(np.int64)] = True
    return int(np.count_nonzero(marked)) * share > count


def _in_order(first: I64, kind: I64) -> tuple[I64, I64]:
    order = np.argsort(first, kind="stable")
    return first[order], np.bincount(kind)[order].astype(np.int64)


def _words(problem: Problem) -> npt.NDArray[np.uint64]:
    """All that a row's prices depend on, [n, words]."""
    rows = len(problem.row)
    starts = np.packbits(problem.open.reshape(rows, -1), axis=1)
    short = [problem.span.view(np.uint8).reshape(rows, -1), starts]
    bits = sum(part.shape[1] for part in short)
    padded = np.zeros((rows, -(-bits // 8) * 8), np.uint8)
    padded[:, :bits] = np.concatenate(short, axis=1)
    return np.concatenate(
        [
            problem.demand.view(np.uint64),
            (problem.fixed + 0.0).view(np.uint64),
            (problem.reject[:, None] + 0.0).view(np.uint64),
            problem.pools.signature[:, None].astype(np.uint64),
            padded.view(np.uint64),
        ],
        axis=1,
    )


def _mixed(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """One number [n] of each row's words."""
    number = np.zeros(len(words), np.uint64)
    for word in words.T:
        number = (number ^ word) * _MULTIPLIER
        number ^= number >> np.uint64(29)
    return number
