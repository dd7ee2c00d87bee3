"""Columns of Arrow as numpy arrays, without a copy."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

# The first array that pyarrow makes looks for pandas and imports it, which takes half a second
# where it is installed: now, and not while the first batch waits.
pa.array([])


def numbers(column: pa.Array) -> npt.NDArray[Any]:
    """The values of a column of numbers, read only. ValueError where one is null."""
    if column.null_count:
        raise ValueError(f"{column.null_count} values of a column are null")
    dtype = np.dtype(_DTYPES[column.type])
    if not len(column):
        return np.empty(0, dtype)
    return np.frombuffer(column.buffers()[1], dtype, len(column), column.offset * dtype.itemsize)


_DTYPES = {pa.int64(): "<i8", pa.int32(): "<i4", pa.float64(): "<f8"}
