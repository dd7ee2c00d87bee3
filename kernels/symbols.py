"""Symbols: texts (meters, registers, sources, places) as small integers inside a kernel's state.

Every text of a state has one code, whichever column it is in. A batch's dictionaries are mapped
once, so that the loops over rows see integers alone.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Codes = npt.NDArray[np.int32]


class Symbols:
    """Texts by code; a code never changes while the table lives."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names: list[str] = list(names)
        self._codes = {name: code for code, name in enumerate(self.names)}

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
        used = pa.array(codes).dictionary_encode()
        texts = [self.names[code] for code in used.dictionary.to_pylist()]
        return pa.DictionaryArray.from_arrays(used.indices, pa.array(texts, pa.string()))

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
