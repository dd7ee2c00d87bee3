"""Filling: columns to lines by part, by a loop over rows and by both twins."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.ipc.lines import Filling

DTYPE = np.dtype([("a", "<i8"), ("b", "<i4"), ("c", "<f8"), ("d", "<i4")])
WHOLE = st.integers(-(2**31), 2**31 - 1)


@pytest.fixture(params=["compiled", "pure"], autouse=True)
def twin(request):
    with mock.patch.dict("os.environ", GRIDLOOM_PURE="1" if request.param == "pure" else "0"):
        yield


@st.composite
def column(draw, size):
    """(what is given, the number of each row)."""
    form = draw(st.sampled_from(["rows", "strided", "table", "one"]))
    if form == "one":
        one = draw(WHOLE)
        return one, [one] * size
    if form == "table":
        table = draw(st.lists(WHOLE, min_size=1, max_size=4))
        index = draw(st.lists(st.integers(0, len(table) - 1), min_size=size, max_size=size))
        return (np.array(table), np.array(index, np.int64)), [table[i] for i in index]
    rows = draw(st.lists(WHOLE, min_size=size, max_size=size))
    if form == "rows":
        return np.array(rows, np.int64), rows
    wide = np.zeros(size, [("spare", "<i4"), ("number", "<i4")])
    wide["number"] = rows
    return wide["number"], rows


@st.composite
def case(draw):
    size = draw(st.integers(0, 20)) * draw(st.sampled_from([1, 1, 20]))
    columns, of_rows = {}, {}
    for name in DTYPE.names:
        columns[name], of_rows[name] = draw(column(size % 21)) if size > 20 else draw(column(size))
        if size > 20:  # more than are filled at once: the same again and again
            columns[name] = _repeated(columns[name], size)
            of_rows[name] = [of_rows[name][i % (size % 21)] for i in range(size)] * bool(size % 21)
    part_of = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    places = [i * 7 % len(part_of) for i in range(size)]
    chosen = draw(st.none() | st.lists(st.integers(0, size - 1))) if size else None
    return size, columns, of_rows, part_of, places, chosen


def _repeated(given, size):
    if isinstance(given, tuple):
        return given[0], np.resize(given[1], size)
    return np.resize(given, size) if isinstance(given, np.ndarray) else given


@settings(max_examples=300, deadline=None)
@given(case().filter(lambda made: made[0] <= 20 or made[0] % 21))
def test_every_row_is_one_line_of_its_part_in_order(made):
    size, columns, of_rows, part_of, places, chosen = made
    part = np.array(part_of), np.array(places, np.int64)
    filling = Filling(DTYPE, size, columns, part, 4)
    found = filling.lines(None if chosen is None else np.array(chosen, np.int64))
    wanted = {}
    for row in range(size) if chosen is None else chosen:
        line = tuple(of_rows[name][row] for name in DTYPE.names)
        wanted.setdefault(part_of[places[row]], []).append(line)
    assert len(filling) == size
    assert [number for number, _ in found] == sorted(wanted)
    assert all(lines.dtype == DTYPE for _, lines in found)
    assert {number: lines.tolist() for number, lines in found} == wanted


ONE = {"a": 1, "b": 2, "c": 3.0, "d": np.arange(3)}
HERE = np.zeros(1, np.int64), np.zeros(3, np.int64)


@pytest.mark.parametrize("place", [-1, 2, 2**31 - 1])
def test_a_place_that_is_not_there_is_no_line(place):
    places = np.array([0, place, 1])
    with pytest.raises(IndexError):
        Filling(DTYPE, 3, ONE | {"b": (np.array([1, 2]), places)}, HERE, 1).lines()
    with pytest.raises(IndexError):
        Filling(DTYPE, 3, ONE, (np.zeros(2, np.int64), places), 1).lines()


@pytest.mark.parametrize("part", [-1, 2])
def test_a_part_that_is_none_is_refused(part):
    parts = np.array([0, part]), np.array([0, 1, 0])
    with pytest.raises(IndexError):
        Filling(DTYPE, 3, ONE, parts, 2).lines()


@pytest.mark.parametrize("row", [-1, 3])
def test_a_row_that_is_not_there_is_refused(row):
    with pytest.raises(IndexError):
        Filling(DTYPE, 3, ONE, HERE, 1).lines(np.array([0, row]))


def test_a_column_of_another_length_is_refused():
    with pytest.raises(ValueError, match="2 rows of 3"):
        Filling(DTYPE, 3, ONE | {"d": np.arange(2)}, HERE, 1)
    with pytest.raises(ValueError, match="2 rows of 3"):
        Filling(DTYPE, 3, ONE | {"d": (np.arange(2), np.zeros(2, np.int64))}, HERE, 1)
