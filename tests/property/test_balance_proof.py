"""The compiled proof against its plain twins: right plans, wrong plans, prices of nonsense."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from balance_oracle import random_network
from kernels.balance._proof import prove

from kernels.balance import Network, Prices, Status, _proof, invariants, lower_bound
from kernels.balance.checks import check
from kernels.balance.interior import solve
from kernels.balance.machine import Workspace


def some(seed: int) -> tuple[Network, dict[str, Any], Prices]:
    """A checked network with a solved plan and its prices."""
    random = np.random.default_rng(seed)
    regions, storages = int(random.integers(1, 6)), int(random.integers(0, 3))
    net, _, _ = check(random_network(random, regions, 9, 2, storages, 2 * regions, seed % 2 == 0))
    return net, *solve(net, Workspace())


def agree(net: Network, plan: dict[str, Any], prices: Prices) -> None:
    proof = prove(net, plan, prices)
    objective, scale = invariants.cost(net, plan)
    reached = invariants.served(net, plan)
    size = max(1.0, float(np.abs(reached).max()), float(net.load_mw.max()))
    assert proof.objective == pytest.approx(objective, abs=1e-12 * max(1.0, scale))
    assert proof.scale == pytest.approx(scale, rel=1e-12)
    assert proof.lower_bound == pytest.approx(lower_bound(net, prices), rel=1e-11, abs=1e-9 * size)
    assert proof.served_mw == pytest.approx(reached, rel=1e-12, abs=1e-12 * size)
    worst = invariants.residual(net, plan, reached)
    assert proof.residual == pytest.approx(worst, rel=1e-9, abs=1e-12 * size)
    assert proof.is_within == invariants.within_limits(net, plan)


@pytest.mark.parametrize("seed", range(20))
def test_both_say_the_same_of_solved_plans_and_of_broken_ones(seed: int) -> None:
    net, plan, prices = some(seed)
    agree(net, plan, prices)
    random = np.random.default_rng(seed)
    for name, block in plan.items():
        if block.size:
            moved = {**plan, name: block + random.exponential(size=block.shape)}
            agree(net, moved, prices)
    wild = Prices(*(100 * random.normal(size=price.shape) for price in columns_of(prices)))
    agree(net, plan, wild)


def columns_of(prices: Prices) -> tuple[Any, ...]:
    return prices.bus, prices.storage, prices.flex


@pytest.mark.parametrize("by", [-1e-9, 1e-9])
def test_a_variable_outside_its_box_by_any_amount_is_seen(by: float) -> None:
    net, plan, prices = some(3)
    assert prove(net, plan, prices).is_within
    for name, limit in (("import", net.import_max_mw), ("ren", net.ren_avail_mw)):
        moved = plan[name].copy()
        moved[0, 0] = by if by < 0 else limit[0, 0] * (1 + by) + by
        assert not prove(net, {**plan, name: moved}, prices).is_within, name


def test_what_is_no_number_proves_nothing() -> None:
    net, plan, prices = some(5)
    broken = {**plan, "import": plan["import"].copy()}
    broken["import"][0, 0] = np.nan
    proof = prove(net, broken, prices)
    assert np.isnan(proof.objective)
    assert np.isnan(proof.residual)
    assert not proof.is_within


def test_shed_burnt_and_unmet_energy_is_named_by_region() -> None:
    net, plan, prices = some(7)
    blank = {name: np.zeros_like(block) for name, block in plan.items()}
    blank["shed"][0, 4] = 1.0
    blank["unmet"][1] = 1.0
    blank["charge"][2, 0, 3] = blank["discharge"][2, 0, 3] = 1.0
    seen = [Status(s) for s in prove(net, blank, prices).seen]
    assert seen[:3] == [Status.SHED, Status.FLEX_UNMET, Status.BURN]
    blank["charge"][2, 0, 3] = 0.0
    assert prove(net, blank, prices).seen[2] == 0


def test_a_column_that_is_not_its_shape_is_refused_by_name() -> None:
    net, plan, prices = some(2)
    with pytest.raises(ValueError, match="import"):
        prove(net, {**plan, "import": plan["import"][:, :-1]}, prices)
    with pytest.raises(ValueError, match="ren"):
        prove(net, {**plan, "ren": plan["ren"].astype(np.float32)}, prices)


def test_the_compiled_proof_names_no_module_of_a_solver() -> None:
    source = Path(_proof.__file__).with_name("_proof.pyx").read_text()
    named = set(re.findall(r"^(?:from|import|cimport)\s+([\w.]+)", source, re.MULTILINE))
    assert named <= {
        "typing",
        "numpy",
        "libc.math",
        "kernels.balance._network_columns",
        "kernels.balance.columns",
    }
