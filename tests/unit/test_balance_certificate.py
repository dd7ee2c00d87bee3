"""The certificate: a bound that no plan beats, from prices alone, by code that knows no solver."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kernels.balance import Network, Prices, balance, certificate, lower_bound

# one battery of 4 MWh between an hour at 50 and an hour at 100, 10 MW of load in both
NET = Network.of(
    regions=("a",),
    dt_h=1.0,
    load_mw=[[10.0, 10.0]],
    import_max_mw=20.0,
    import_price=[[50.0, 100.0]],
    storage_charge_mw=[[4.0]],
    storage_discharge_mw=[[4.0]],
    storage_soc_max_mwh=[[4.0]],
    voll=1000.0,
)
OPTIMUM = 14 * 50 + 6 * 100


def prices(bus: list[float], stored: list[float], flex: float = 0.0) -> Prices:
    return Prices(np.array([bus]), np.array([[stored]]), np.array([flex]))


def wide(seed: int) -> Network:
    """Two regions, two links, everything in use."""
    random = np.random.default_rng(seed)
    some = (2, 5)
    return Network.of(
        regions=("a", "b"),
        dt_h=0.5,
        load_mw=random.uniform(5, 20, some),
        ren_avail_mw=random.uniform(0, 20, some),
        import_max_mw=random.uniform(0, 15, some),
        export_max_mw=random.uniform(0, 5, some),
        import_price=random.uniform(-20, 100, some),
        export_price=random.uniform(-20, 60, some),
        grid_ci=random.uniform(0, 1, some),
        flex_max_mw=random.uniform(0, 4, some),
        flex_energy_mwh=random.uniform(0, 12, 2),
        supply_cap_mw=random.uniform(0, 5, (2, 2)),
        supply_cost=random.uniform(20, 150, (2, 2)),
        supply_ci=random.uniform(0, 1, (2, 2)),
        storage_charge_mw=random.uniform(0, 5, (2, 2)),
        storage_discharge_mw=random.uniform(0, 5, (2, 2)),
        storage_eta_c=random.uniform(0.8, 1, (2, 2)),
        storage_eta_d=random.uniform(0.8, 1, (2, 2)),
        storage_retain=random.uniform(0.98, 1, (2, 2)),
        storage_soc0_mwh=random.uniform(1, 4, (2, 2)),
        storage_soc_min_mwh=random.uniform(0, 0.5, (2, 2)),
        storage_soc_max_mwh=random.uniform(4, 8, (2, 2)),
        storage_wear=random.uniform(0, 4, (2, 2)),
        storage_terminal_value=random.uniform(0, 60, (2, 2)),
        link_from=[0, 1],
        link_to=[1, 0],
        link_cap_mw=[3.0, 2.0],
        link_loss=[0.05, 0.02],
        link_tariff=[1.0, 2.0],
        carbon_price=30.0,
        voll=800.0,
    )


def test_the_right_prices_prove_the_optimum() -> None:
    # bound by hand: 50 x 10 + 100 x 10 - 4 MWh x (100 - 50) of the full battery
    assert lower_bound(NET, prices([50.0, 100.0], [100.0, 100.0])) == pytest.approx(OPTIMUM)
    assert lower_bound(NET, prices([50.0, 100.0], [50.0, 50.0])) == pytest.approx(OPTIMUM)


@pytest.mark.parametrize(
    ("bus", "stored", "bound"),
    [
        ([0.0, 0.0], [0.0, 0.0], 0.0),  # nothing is worth anything: costs at least nothing
        ([40.0, 90.0], [90.0, 90.0], 400 + 900 - 4 * 50),  # too cheap
        ([60.0, 100.0], [100.0, 100.0], 600 + 1000 - 20 * 10 - 4 * 40),  # too dear: 20 MW for 50
        ([50.0, 100.0], [120.0, 120.0], 1500 - 4 * 70 - 4 * 20),  # stored energy too dear
    ],
)
def test_wrong_prices_give_the_bound_that_a_hand_calculation_gives(
    bus: list[float], stored: list[float], bound: float
) -> None:
    assert bound <= OPTIMUM
    assert lower_bound(NET, prices(bus, stored)) == pytest.approx(bound)


@pytest.mark.parametrize("seed", range(20))
def test_no_prices_whatever_prove_more_than_the_optimum(seed: int) -> None:
    """The gap's other sign: a bound that is too high would hide a plan that is too dear."""
    net, random = wide(seed), np.random.default_rng(1000 + seed)
    plan = balance(net)
    scale = max(1.0, abs(plan.objective))
    assert lower_bound(net, plan.prices) == pytest.approx(plan.objective, abs=1e-9 * scale)
    for spread in (0.0, 1e-9, 1e-3, 1.0, 30.0, 1e4):
        for _ in range(20):
            moved = Prices(
                plan.prices.bus + spread * random.normal(size=(2, 5)),
                plan.prices.storage + spread * random.normal(size=(2, 2, 5)),
                plan.prices.flex + spread * random.normal(size=2),
            )
            assert lower_bound(net, moved) <= plan.objective + 1e-9 * scale


@pytest.mark.parametrize("seed", range(8))
def test_each_kind_of_price_matters_to_the_bound(seed: int) -> None:
    """A term that is left out of the bound would not notice its price."""
    net = wide(seed)
    plan = balance(net)
    for name in ("bus", "storage", "flex"):
        price = getattr(plan.prices, name)
        for by in (-20_000.0, -500.0, 500.0, 20_000.0):
            moved = replace(plan.prices, **{name: price + by})
            assert lower_bound(net, moved) < plan.objective - 1.0


@pytest.mark.parametrize(
    ("column", "by"),
    [
        ("load_mw", 1.0),
        ("ren_avail_mw", -1.0),
        ("import_max_mw", -1.0),
        ("supply_cap_mw", -1.0),
        ("supply_cost", 10.0),
        ("import_price", 10.0),
        ("export_price", -10.0),
        ("storage_soc0_mwh", -0.5),
        ("link_cap_mw", -1.0),
        ("link_loss", 0.1),
        ("link_tariff", 5.0),
        ("flex_energy_mwh", 1.0),
    ],
)
def test_the_bound_holds_when_the_network_gets_worse(column: str, by: float) -> None:
    net = wide(5)
    worse = replace(net, **{column: np.maximum(getattr(net, column) + by, 0)})
    old, new = balance(net), balance(worse)
    assert new.objective >= old.objective - 1e-6
    assert lower_bound(worse, old.prices) <= new.objective + 1e-6


def test_the_certificate_imports_nothing_of_a_solver() -> None:
    tree = ast.parse(Path(certificate.__file__).read_text())
    named: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import hides its source"
            named.add(str(node.module))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("__import__", "exec", "eval")
    assert named <= {"numpy", "kernels.balance.columns"}
