"""Symbols: texts (meters, registers, sources, places) as small integers inside a kernel's state.

Every text of a state has one code, whichever column it is in. A batch's dictionaries are mapped
once, so that the loops over rows see integers alone.
"""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_FEW = 4  # texts of a dictionary that is worth remembering
_FEW_MAX = 1_000

Codes = npt.NDArray[np.int32]


class Symbols:
    """Texts by code; a code never changes while the table lives."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names: list[str] = list(names)
        self._codes = {name: code for code, name in enumerate(self.names)}
        self._texts: pa.Array = pa.array([], pa.string())  # the first of the names
        self._few: dict[bytes, pa.Array] = {}  # codes -> their texts
        self._place_of = np.empty(0, np.int32)  # -1 of each code

    def code(self, name: str) -> int:
        """The code of a text; a new text takes the next one."""
        code = self._codes.get(name)
        if code is None:
            code = self._codes[name] = len(self.names)
            self.names.append(name)
        return code

    def encode(self, column: pa.DictionaryArray) -> Codes:
        """Codes of a dictionary column."""
        texts = column.dictionary.to_pylist()
        known = self._codes.get
        codes = np.array([known(text, -1) for text in texts], np.int32)
        for place in np.nonzero(codes < 0)[0].tolist():
            codes[place] = self.code(texts[place])
        return codes[column.indices.to_numpy(zero_copy_only=False)] if texts else _NO_CODES

    def array(self, codes: Codes) -> pa.DictionaryArray:
        """Codes as a dictionary column that holds the texts in use, in order of first use.

        Equal texts give equal bytes, whatever codes a restart gave them.
        """
        if os.environ.get("GRIDLOOM_PURE") == "1":
            used = pa.array(codes).dictionary_encode()
            return pa.DictionaryArray.from_arrays(
                used.indices, self._texts_of(used.dictionary.to_pylist())
            )
        from kernels._symbols import first_use

        if len(self._place_of) < len(self.names):
            self._place_of = np.full(2 * len(self.names), -1, np.int32)
        places, used = first_use(np.ascontiguousarray(codes, np.int32), self._place_of)
        if len(used) and used.max() >= len(self._texts):
            self._texts = pa.array(self.names, pa.string())
        # places are below the dictionary's size by their making
        return pa.DictionaryArray.from_arrays(
            pa.array(places), self._dictionary(used.tobytes()), safe=False
        )

    def _dictionary(self, used: bytes) -> pa.Array:
        """The texts of these codes (int32); few ones, as of kinds and units, are remembered."""
        known = self._few.get(used)
        if known is None:
            known = self._texts.take(pa.array(np.frombuffer(used, np.int32)))
            if len(known) <= _FEW and len(self._few) < _FEW_MAX:
                self._few[used] = known
        return known

    def _texts_of(self, codes: list[int]) -> pa.Array:
        return pa.array([self.names[code] for code in codes], pa.string())

    def compact(self, rows: npt.NDArray[Any], columns: Sequence[str]) -> "Symbols":
        """The texts that `rows` use in `columns`, in order of first use; recodes `rows` in place.

        The order is the rows' alone: equal rows give equal tables, whatever was seen and dropped.
        """
        used = np.concatenate([rows[column] for column in columns])
        first = np.full(len(self.names), len(used), np.int64)
        first[used[::-1]] = np.arange(len(used) - 1, -1, -1)  # the last assignment is the first use
        kept = np.argsort(first, kind="stable")[: np.count_nonzero(first < len(used))]
        recode = np.empty(len(self.names), np.int32)
        recode[kept] = np.arange(len(kept), dtype=np.int32)
        for column in columns:
            rows[column] = recode[rows[column]]
        return Symbols(self.names[code] for code in kept.tolist())


def fixed_codes(column: pa.DictionaryArray, names: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Positions of a dictionary column's texts in a fixed list; UNLISTED where absent."""
    place = {name: code for code, name in enumerate(names)}
    texts = column.dictionary.to_pylist()
    codes = np.array([place.get(text, UNLISTED) for text in texts], np.uint8)
    return codes[column.indices.to_numpy(zero_copy_only=False)] if texts else _NO_CODES.astype("u1")


def fixed_array(codes: npt.NDArray[np.uint8], names: Sequence[str]) -> pa.DictionaryArray:
    """Positions in a fixed list as a dictionary column."""
    indices = pa.array(codes.astype(np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array(list(names), pa.string()))


UNLISTED = 255
_NO_CODES: Codes = np.empty(0, np.int32)
