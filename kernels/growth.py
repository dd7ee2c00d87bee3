"""Growth: a large state as a base and the rows it has taken in since, so that a save is small.

A ledger's state follows from the rows it accepted, in their order. `Growth` notes these rows once
somebody has taken a base, so that what is new since can be saved without reading the state again;
nothing is noted for a state that is always saved whole. A ledger that can give its newest rows by
itself only counts them here, in `rows`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.snapshot import Snapshot
from kernels.symbols import Symbols

Rows = npt.NDArray[Any]


class Growth:
    """Rows accepted since the base, or since the last seal."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        # Both blocks stay: fresh memory for every save would cost more than its copy.
        self._noted, self._copy = np.empty(0, dtype), np.empty(0, dtype)
        self.rows = 0
        self.has_base = False

    def note(self, rows: Rows) -> None:
        """Remember rows that were taken into the state."""
        known = self.rows
        if known + len(rows) > len(self._noted):
            larger = np.empty(2 * (known + len(rows)), rows.dtype)
            _copy(self._noted[:known], larger)
            self._noted, self._copy = larger, np.empty_like(larger)
        _copy(rows, self._noted[known:])
        self.rows = known + len(rows)

    def added(self) -> Rows:
        """The rows noted, in the order they were accepted; a copy, until it is asked for again."""
        _copy(self._noted[: self.rows], self._copy)
        return self._copy[: self.rows]

    def seal(self) -> None:
        """What was noted is saved for good."""
        self.rows = 0

    def restart(self, has_base: bool) -> None:
        """Another base: what was noted is in it, or its codes hold no longer."""
        self.seal()
        self.has_base = has_base


def _copy(rows: Rows, to: Rows) -> None:
    """As bytes: numpy copies structs a field at a time."""
    to[: len(rows)].view(np.uint8)[:] = np.ascontiguousarray(rows).view(np.uint8)


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
