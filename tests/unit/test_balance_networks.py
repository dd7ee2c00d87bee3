"""Many networks in one call: the plans that each would have alone, on any number of threads."""

from dataclasses import fields, replace

import numpy as np
import pytest

from kernels.balance import (
    Dispatch,
    Network,
    NetworkWorkspace,
    Status,
    balance,
    balance_networks,
)
from schemas.errors import FieldError
from tests.bench.balance_problems import network, next_tick


def networks(count: int = 6) -> list[Network]:
    """Of several shapes: some for simplex, most for the interior point."""
    random = np.random.default_rng(7)
    return [network(random, 1 + n % 4, 4 * (1 + n % 3)) for n in range(count)]


def bytes_of(plan: Dispatch) -> list[object]:
    found: list[object] = []
    for field in fields(plan):
        column = getattr(plan, field.name)
        found.append(column.tobytes() if isinstance(column, np.ndarray) else repr(column))
    return found


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_each_network_has_the_bytes_that_it_has_alone_in_the_order_given(threads: int) -> None:
    nets = networks()
    plans = balance_networks(nets, threads=threads)
    assert [bytes_of(plan) for plan in plans] == [bytes_of(balance(net)) for net in nets]


@pytest.mark.parametrize("threads", [1, 3])
def test_each_begins_from_its_own_last_plan(threads: int) -> None:
    nets = [network(np.random.default_rng(n), 4, 24) for n in range(3)]
    last: list[Dispatch | None] = [balance(nets[0]), None, balance(nets[2])]
    later = [next_tick(np.random.default_rng(9), net) for net in nets]
    plans = balance_networks(later, last, threads=threads)
    assert [plan.method for plan in plans] == ["interior, warm", "interior", "interior, warm"]
    alone = [balance(net, start) for net, start in zip(later, last, strict=True)]
    assert [bytes_of(plan) for plan in plans] == [bytes_of(plan) for plan in alone]


def test_no_plan_depends_on_what_its_workspace_solved_before() -> None:
    nets = [network(np.random.default_rng(n), 2 + 3 * n, 48 // (1 + n)) for n in range(3)]
    new = [bytes_of(balance(net, workspace=NetworkWorkspace())) for net in nets]
    used = NetworkWorkspace()
    for order in ((0, 1, 2), (2, 0, 1)):
        for n in order:
            assert bytes_of(balance(nets[n], workspace=used)) == new[n]
    last = balance(nets[1])
    later = next_tick(np.random.default_rng(9), nets[1])
    assert bytes_of(balance(later, last, workspace=used)) == bytes_of(balance(later, last))


def test_a_bad_network_changes_no_other() -> None:
    nets = networks(3)
    load = nets[1].load_mw.copy()
    load[:] = np.nan
    plans = balance_networks([nets[0], replace(nets[1], load_mw=load), nets[2]], threads=2)
    assert set(plans[1].status) == {Status.BAD_INPUT}
    assert [bytes_of(plans[n]) for n in (0, 2)] == [bytes_of(balance(nets[n])) for n in (0, 2)]


def test_no_networks_have_no_plans() -> None:
    assert balance_networks([]) == ()


def test_plans_of_other_networks_and_fewer_threads_than_one_are_errors() -> None:
    nets = networks(2)
    with pytest.raises(FieldError, match="1 plans for 2 networks"):
        balance_networks(nets, [None])
    with pytest.raises(FieldError, match="0 threads"):
        balance_networks(nets, threads=0)
