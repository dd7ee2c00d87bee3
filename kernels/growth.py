"""Growth: a large state as a base and the rows it has taken in since, so that a save is small.

A ledger's state follows from the rows it accepted, in their order. It holds them in that order, so
once somebody has taken a base, `Growth` need only count what came since: the ledger's newest rows
are what a save adds. Nothing is counted for a state that is always saved whole.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.snapshot import Snapshot
from kernels.symbols import Symbols

Rows = npt.NDArray[Any]


class Growth:
    """How many rows were accepted since the base, or since the last seal."""

    def __init__(self) -> None:
        self.rows = 0
        self.has_base = False

    def seal(self) -> None:
        """What was added is saved for good."""
        self.rows = 0

    def restart(self, has_base: bool) -> None:
        """Another base, which holds what was added; or none, because rows went."""
        self.seal()
        self.has_base = has_base


def pieces(snapshot: Snapshot, rows: int, texts: Sequence[str]) -> Iterator[Snapshot]:
    """The snapshot in pieces of so many rows, at least one, each with its own rows' texts alone."""
    symbols = Symbols(snapshot.names)
    for first in range(0, max(1, len(snapshot.rows)), rows):
        part = snapshot.rows[first : first + rows].copy()
        yield Snapshot(snapshot.parameters, symbols.compact(part, texts), part)


def recode(snapshot: Snapshot, texts: Sequence[str], symbols: Symbols) -> Rows:
    """The snapshot's rows, coded by `symbols`, which takes in the texts it does not know."""
    codes = np.array([symbols.code(name) for name in snapshot.names], np.int32)
    if len(snapshot.rows):
        for column in texts:
            snapshot.rows[column] = codes[snapshot.rows[column]]
    return snapshot.rows
