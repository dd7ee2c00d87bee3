"""Packing: what a ledger took in last, as narrow columns; the plain twin of _packing.pyx."""

from importlib import import_module
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kernels.rollup import reference
from kernels.rollup.layout import SAVED, TEXTS
from kernels.snapshot import Column, narrowed
from kernels.symbols import Texts


class Newest(Protocol):
    """Of a ledger's last `count` readings: codes of their texts by first use, and the columns."""

    def __call__(
        self, ledger: Any, texts: Texts, count: int
    ) -> tuple[npt.NDArray[np.int32], list[Column]]: ...


def newest(
    ledger: reference.Ledger, texts: Texts, count: int
) -> tuple[npt.NDArray[np.int32], list[Column]]:
    """The columns of layout.SAVED; a reading's texts are numbered by their first use."""
    rows = np.empty(count, SAVED)
    ledger.newest(rows)
    used = texts.compact(rows, TEXTS)
    return used, list(narrowed(rows))


def newest_of(ledger: object) -> Newest:
    """The twin that reads such a ledger."""
    if isinstance(ledger, reference.Ledger):
        return newest
    compiled: Newest = import_module("kernels.rollup._packing").newest
    return compiled
