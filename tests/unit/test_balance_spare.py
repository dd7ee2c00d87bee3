"""A storage that charges and discharges at once is spared it where that costs nothing."""

from typing import Any

import numpy as np
import pytest
from kernels.balance._spare import spare_the_storages

from kernels.balance import Network
from kernels.balance.invariants import cost, residual, served

# charge 2 at 0.8 stores 1.6; discharge 1 takes 1 / 0.5 = 2: of both, 2 x 0.4 = 0.8 MW is burning


def network(**given: Any) -> Network:
    columns: dict[str, Any] = {
        "regions": ("a",),
        "dt_h": 1.0,
        "load_mw": [[5.0]],
        "import_max_mw": 9.0,
        "storage_charge_mw": [[4.0]],
        "storage_discharge_mw": [[4.0]],
        "storage_eta_c": 0.8,
        "storage_eta_d": 0.5,
        "storage_soc0_mwh": [[3.0]],
        "storage_soc_max_mwh": [[8.0]],
    }
    return Network.of(**(columns | given))


def burning(**sources: float) -> dict[str, Any]:
    """Charges 2 MW, discharges 1; 6 MW come for a load of 5."""
    plan = {name: np.zeros((1, 1)) for name in ("import", "export", "ren", "flex", "shed")}
    plan |= {"supply": np.zeros((1, 0, 1)), "flow": np.zeros((0, 1)), "unmet": np.zeros(1)}
    plan |= {"charge": np.full((1, 1, 1), 2.0), "discharge": np.ones((1, 1, 1))}
    plan["soc"] = np.full((1, 1, 1), 3.0 + 1.6 - 2.0)
    for name, power in sources.items():
        plan[name][...] = power
    return plan


def test_it_stops_where_a_source_can_give_less_and_every_row_still_holds() -> None:
    net, plan = network(ren_avail_mw=[[9.0]]), burning(ren=6.0)
    before = plan["soc"].copy()
    spare_the_storages(net, plan)
    assert plan["charge"].item() == 0.0
    assert plan["discharge"].item() == pytest.approx(0.2)  # 1 - 2 x 0.4
    assert plan["ren"].item() == pytest.approx(4.8)  # 2 x (1 - 0.4) less
    assert plan["soc"].tobytes() == before.tobytes()
    assert residual(net, plan, served(net, plan)) <= 1e-12


def test_it_goes_only_as_far_as_the_sources_can_give_less() -> None:
    net, plan = network(ren_avail_mw=[[9.0]], import_price=[[-30.0]]), burning(ren=0.3)
    plan["import"][...] = 5.7
    spare_the_storages(net, plan)
    assert plan["ren"].item() == pytest.approx(0.0, abs=1e-12)
    assert plan["charge"].item() == pytest.approx(2.0 - 0.3 / 0.6)
    assert residual(net, plan, served(net, plan)) <= 1e-12


def test_it_goes_on_where_the_source_pays_for_being_used() -> None:
    net = network(import_price=[[-30.0]])
    plan, same = burning(**{"import": 6.0}), burning(**{"import": 6.0})
    spare_the_storages(net, plan)
    assert all(plan[name].tobytes() == same[name].tobytes() for name in plan)


def test_its_cost_never_rises() -> None:
    net, plan = network(import_price=[[40.0]], storage_wear=2.0), burning(**{"import": 6.0})
    before, _ = cost(net, plan)
    spare_the_storages(net, plan)
    assert cost(net, plan)[0] == pytest.approx(before - 1.2 * 40 - 0.8 * 2)
