"""Threads: rows in blocks, each worked on alone. What a block finds does not depend on the others.

Only loops whose results are of a row, or sums of whole numbers, are split: so the bits are the same
at any number of threads. A block is worth a thread only where its work takes longer than a start.
"""

from collections.abc import Callable
from itertools import pairwise
from threading import Thread
from typing import Generic, TypeVar

Result = TypeVar("Result")
_PAIRS_A_THREAD = 20_000  # pairs of a row and an option that pay for a thread


def in_blocks(
    work: Callable[[int, int], Result], rows: int, options: int, threads: int
) -> list[Result]:
    """What work(first, past_last) returns for blocks of the rows, in their order."""
    count = max(min(threads, rows * options // _PAIRS_A_THREAD), 1)
    if count == 1:
        return [work(0, rows)]
    bounds = [rows * block // count for block in range(count + 1)]
    blocks = [_Block(work, *ends) for ends in pairwise(bounds)]
    for block in blocks[1:]:
        block.start()
    blocks[0].run()
    return [block.result() for block in blocks]


class _Block(Thread, Generic[Result]):
    """One block of rows; what fails in it fails where the result is asked for."""

    def __init__(self, work: Callable[[int, int], Result], first: int, past: int) -> None:
        super().__init__()
        self._work, self._first, self._past = work, first, past
        self._found: list[Result] = []
        self._failed: BaseException | None = None

    def run(self) -> None:
        try:
            self._found.append(self._work(self._first, self._past))
        except BaseException as failed:  # told by result()
            self._failed = failed

    def result(self) -> Result:
        if self.ident is not None:
            self.join()
        if self._failed is not None:
            raise self._failed
        return self._found[0]
