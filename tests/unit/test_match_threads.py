"""Threads of the match: the plan is the same bit for bit at any number of them."""

from dataclasses import fields

import numpy as np
import pytest

from kernels.match import Plan, Policy, match
from kernels.match.threads import in_blocks
from schemas.errors import FieldError
from tests.bench.instances import Columns, lumpy_day, network

DAY = Policy(carbon_price_per_kg=0.2, iterations=60, work=5_000, passes=1)
CASES: dict[str, tuple[Columns, Policy]] = {
    # all large enough for a thread to get rows of its own
    "one slot": (network(9_000, 8), Policy(carbon_price_per_kg=0.2, gap_target=3e-3)),
    "a day of slots": (lumpy_day(600, 8, 24), DAY),
}


def _same(one: Plan, other: Plan) -> bool:
    return all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name))
        for field in fields(Plan)
    )


@pytest.mark.parametrize("case", CASES)
def test_the_plan_is_the_same_at_any_number_of_threads(case: str) -> None:
    columns, policy = CASES[case]
    alone = match(*columns, policy)
    for threads in (2, 3):
        assert _same(match(*columns, policy, threads=threads), alone)
    warm = match(*columns, policy, alone.warm())
    assert _same(match(*columns, policy, alone.warm(), threads=3), warm)


def test_the_plain_engine_gives_the_plan_of_three_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = lumpy_day(150, 12, 24)
    policy = Policy(carbon_price_per_kg=0.2, iterations=10, work=200, passes=1, gap_target=0.5)
    threaded = match(*columns, policy, threads=3)
    monkeypatch.setenv("GRIDLOOM_PURE", "1")
    assert _same(match(*columns, policy, threads=3), threaded)


def test_blocks_cover_every_row_once_and_come_in_order() -> None:
    for threads in (1, 2, 3, 7):
        blocks = in_blocks(lambda first, past: (first, past), 100_001, 8, threads)
        assert len(blocks) == threads
        assert [first for first, _ in blocks[1:]] == [past for _, past in blocks[:-1]]
        assert (blocks[0][0], blocks[-1][1]) == (0, 100_001)
    assert len(in_blocks(lambda first, past: past, 100, 8, 4)) == 1  # not worth a second


def test_what_fails_in_a_block_fails_where_it_was_asked_for() -> None:
    def work(first: int, past: int) -> int:
        if first:
            raise ValueError("second block")
        return past

    with pytest.raises(ValueError, match="second block"):
        in_blocks(work, 100_000, 8, 2)


@pytest.mark.parametrize("threads", [0, -1])
def test_less_than_one_thread_is_refused_by_name(threads: int) -> None:
    with pytest.raises(FieldError, match="threads"):
        match(*lumpy_day(10, 2, 24), threads=threads)
