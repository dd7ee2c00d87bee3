"""The wrapper and the journal in simulated worlds; `python -m tests.sim` runs many more."""

import pytest

from streams.log import configure
from streams.settings import Settings
from tests.sim.check import violations
from tests.sim.mutants import MUTANTS, process_of

_SCHEDULES = 1_000
_FIND_WITHIN = 1_000


@pytest.fixture(autouse=True)
def quiet() -> None:
    configure(Settings(log_level="critical"))


def test_no_schedule_breaks_a_promise() -> None:
    assert {seed: what for seed in range(_SCHEDULES) if (what := violations(seed))} == {}


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_a_wrapper_that_is_broken_on_purpose_is_found(mutant: type) -> None:
    process = process_of(mutant)
    assert any(violations(seed, process) for seed in range(_FIND_WITHIN))


def test_a_schedule_is_a_function_of_its_seed() -> None:
    process = process_of(MUTANTS["HalfAppliedStepKept"])
    assert [violations(seed, process) for seed in range(20)] == [
        violations(seed, process) for seed in range(20)
    ]
