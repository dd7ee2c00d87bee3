"""The one contract that every kernel keeps: a pure function of its items, whatever their order."""

import random
from pathlib import Path

import pytest

import kernels
from tests.contract.kernel_cases import KERNELS, REFUSED, Case

# bytes to rows in their order, or back: see tests/property for their oracles
CODECS = {"decode", "ipc", "records"}

pytestmark = pytest.mark.parametrize("name", KERNELS)


@pytest.fixture
def case(name: str) -> Case:
    return KERNELS[name]


def test_every_kernel_has_a_case(name: str) -> None:
    folders = {path.parent.name for path in Path(kernels.__path__[0]).glob("*/__init__.py")}
    assert folders - CODECS == set(KERNELS), "give each kernel a case in kernel_cases.py"
    assert KERNELS[name].plain_twin == Path(kernels.__path__[0], name, "reference.py").exists()


def test_the_same_input_gives_the_same_answers(case: Case) -> None:
    order = range(case.items)
    first, refused = case.answer(order, False)
    assert first
    assert refused == []
    assert case.answer(order, False) == (first, refused)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_items_changes_no_answer(case: Case, seed: int) -> None:
    order = random.Random(seed).sample(range(case.items), case.items)
    assert case.answer(order, False)[0] == case.answer(range(case.items), False)[0]


def test_a_bad_item_is_refused_and_changes_no_other_answer(name: str, case: Case) -> None:
    answers, refused = case.answer(range(case.items), True)
    assert refused == REFUSED[name]
    assert answers == case.answer(range(case.items), False)[0]


def test_the_plain_twin_gives_the_same_answers(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    if not case.plain_twin:
        pytest.skip("a solver's call: its proof is the certificate")
    compiled = [case.answer(range(case.items), bad) for bad in (False, True)]
    monkeypatch.setenv("GRIDLOOM_PURE", "1")
    assert [case.answer(range(case.items), bad) for bad in (False, True)] == compiled
