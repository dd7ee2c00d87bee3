"""Symbols: texts (meters, registers, sources, places) as small integers inside a kernel's state.

Every text of a state has one code, whichever column it is in. A batch's dictionaries are mapped
once, so that the loops over rows see integers alone. `Texts` is the table, plain here and compiled
in _core.pyx; GRIDLOOM_PURE=1 chooses the plain one.
"""

import os
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernels.columns import numbers
from kernels.snapshot import Block

Codes = npt.NDArray[np.int32]


class Texts:
    """Texts by code, the plain twin of _core.Texts: dicts and lists."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = list(names)
        self._codes = {name: code for code, name in enumerate(self.names)}

    def code(self, name: str) -> int:
        """The code of a text; a new text takes the next one."""
        code = self._codes.get(name)
        if code is None:
            code = self._codes[name] = len(self.names)
            self.names.append(name)
        return code

    def codes(self, offsets: Codes, data: npt.NDArray[np.uint8]) -> Codes:
        """Codes of the texts data[offsets[i]:offsets[i + 1]], utf-8."""
        text, ends = data.tobytes(), offsets.tolist()
        return np.array([self.code(text[at:end].decode()) for at, end in pairwise(ends)], np.int32)

    def first_use(self, codes: Codes) -> tuple[Codes, Codes]:
        """(place of each code in `used`, used): the codes that occur, in order of first use."""
        place: dict[int, int] = {}
        places = [place.setdefault(code, len(place)) for code in codes.tolist()]
        return np.array(places, np.int32), np.array(list(place), np.int32)

    def compact(self, rows: npt.NDArray[Any], columns: Sequence[str]) -> Codes:
        """The codes that occur in these columns, in order of first use; recodes `rows` in place."""
        places, used = self.first_use(np.concatenate([rows[name] for name in columns]))
        for number, name in enumerate(columns):
            rows[name] = places[number * len(rows) : (number + 1) * len(rows)]
        return used

    def texts(self, codes: Codes) -> tuple[Codes, npt.NDArray[np.uint8]]:
        """(offsets, data) of these codes' texts, as Arrow lays them out."""
        texts = [self.names[code].encode() for code in codes.tolist()]
        offsets = np.cumsum([0, *map(len, texts)], dtype=np.int32)
        return offsets, np.frombuffer(b"".join(texts), np.uint8)


def _texts(names: Iterable[str]) -> Texts:
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return Texts(names)
    from kernels._core import Texts as Compiled

    compiled: Texts = Compiled(list(names))
    return compiled


class Symbols:
    """Texts by code; a code never changes while the table lives."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._texts = _texts(names)
        self._few: dict[bytes, pa.StringArray] = {}

    @property
    def texts(self) -> Texts:
        """The table itself, for loops that look up texts."""
        return self._texts

    @property
    def names(self) -> list[str]:
        """Every text by code; the list grows with the table."""
        return self._texts.names

    def code(self, name: str) -> int:
        """The code of a text; a new text takes the next one."""
        return self._texts.code(name)

    def indexed(self, column: pa.DictionaryArray) -> tuple[Codes, Codes]:
        """(the rows' indices, code of each text) of a dictionary column without nulls."""
        texts = column.dictionary
        indices: Codes = numbers(column.indices)
        if not len(texts):
            return indices, _NO_CODES
        if texts.null_count:
            raise ValueError("a text of the column is null")
        _, offsets, data = texts.buffers()
        ends = np.frombuffer(offsets, np.int32, len(texts) + 1, 4 * texts.offset)
        return indices, self.codes(ends, np.frombuffer(data or b"", np.uint8))

    def codes(self, offsets: Codes, data: npt.NDArray[np.uint8]) -> Codes:
        """Codes of the texts data[offsets[i]:offsets[i + 1]], utf-8."""
        return self._texts.codes(offsets, data)

    def array(self, codes: Codes) -> pa.DictionaryArray:
        """Codes as a dictionary column that holds the texts in use, in order of first use.

        Equal texts give equal bytes, whatever codes a restart gave them.
        """
        places, used = self._texts.first_use(codes)
        indices = pa.Array.from_buffers(_INT32, len(places), [None, pa.py_buffer(places)])
        return pa.DictionaryArray.from_arrays(indices, self._listed(used), safe=False)

    def _listed(self, codes: Codes) -> pa.StringArray:
        """The texts of these codes; a few, as most columns have, are made once."""
        few = codes.tobytes() if len(codes) <= _FEW else b""
        listed = self._few.get(few)
        if listed is None:
            offsets, data = map(pa.py_buffer, self._texts.texts(codes))
            listed = pa.StringArray.from_buffers(len(codes), offsets, data)
            if few and len(self._few) < _FEW_MAX:
                self._few[few] = listed
        return listed

    def compact(self, rows: npt.NDArray[Any], columns: Sequence[str]) -> list[str]:
        """The texts that `rows` use in `columns`, in order of first use; recodes `rows` in place.

        The order is the rows' alone: equal rows give equal lists, whatever was seen and dropped.
        """
        used = self._texts.compact(rows, columns)
        return list(map(self.names.__getitem__, used.tolist()))

    def compact_block(self, rows: npt.NDArray[Any], columns: Sequence[str]) -> Block:
        """`compact` that gives the texts as a block."""
        return Block(*self._texts.texts(self._texts.compact(rows, columns)))

    def recode(self, rows: npt.NDArray[Any], columns: Sequence[str], texts: Block) -> None:
        """Code by this table what is coded by the block, in place; takes in texts that are new."""
        codes = self._texts.codes(texts.offsets, texts.data)
        _recode(rows, columns, codes)


def _recode(rows: npt.NDArray[Any], columns: Sequence[str], codes: Codes) -> None:
    if os.environ.get("GRIDLOOM_PURE") == "1":
        recode(rows, columns, codes)
        return
    from kernels._core import recode as compiled

    compiled(rows, columns, codes)


def recode(rows: npt.NDArray[Any], columns: Sequence[str], codes: Codes) -> None:
    """rows[column] = codes[rows[column]]; the twin of _core's. IndexError for a code beyond."""
    for name in columns:
        rows[name] = codes[rows[name]] if len(rows) else rows[name]


def fixed_codes(column: pa.DictionaryArray, names: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Positions of a dictionary column's texts in a fixed list; UNLISTED where absent."""
    indices, codes = fixed_indexed(column, names)
    return codes[indices] if len(codes) else codes


def fixed_indexed(
    column: pa.DictionaryArray, names: Sequence[str]
) -> tuple[Codes, npt.NDArray[np.uint8]]:
    """(the rows' indices, position of each text in a fixed list); UNLISTED where absent."""
    place = {name: code for code, name in enumerate(names)}
    codes = [place.get(text, UNLISTED) for text in column.dictionary.to_pylist()]
    return numbers(column.indices), np.array(codes, np.uint8)


def fixed_array(codes: npt.NDArray[np.uint8] | Codes, names: Sequence[str]) -> pa.DictionaryArray:
    """Positions in a fixed list as a dictionary column."""
    indices = pa.array(codes.astype(np.int32, copy=False))
    return pa.DictionaryArray.from_arrays(indices, _listed(tuple(names)), safe=False)


@cache
def _listed(names: tuple[str, ...]) -> pa.StringArray:
    return pa.array(names, pa.string())


UNLISTED = 255
_NO_CODES: Codes = np.empty(0, np.int32)
_INT32 = pa.int32()
_FEW, _FEW_MAX = 8, 4096  # texts of a list that is kept; lists that are kept
