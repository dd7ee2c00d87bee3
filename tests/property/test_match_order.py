"""The order by a key: the compiled radix sort beside numpy's stable sort."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.match.greedy import descending

_EDGES = (0.0, -0.0, float("inf"), float("-inf"), float("nan"), -float("nan"), 5e-324, -5e-324)


@given(st.lists(st.floats() | st.sampled_from(_EDGES) | st.integers(-3, 3).map(float)))
def test_any_keys_come_in_the_order_of_a_stable_sort(keys: list[float]) -> None:
    key = np.array(keys, np.float64)
    assert descending(key).tolist() == np.argsort(-key, kind="stable").tolist()


@pytest.mark.parametrize("rows", [255, 256, 257, 5_000])
def test_equal_keys_keep_their_order_in_long_columns_too(rows: int) -> None:
    key = np.random.default_rng(rows).integers(-20, 20, rows) * 1e-3
    assert descending(key).tolist() == np.argsort(-key, kind="stable").tolist()
    strided = np.repeat(key, 2)[::2]
    assert descending(strided).tolist() == np.argsort(-key, kind="stable").tolist()
