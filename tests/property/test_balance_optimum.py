"""The balance against an independently stated model: same cost, every row kept, bounds exact."""

import numpy as np
import pytest
from balance_oracle import Oracle, random_network
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernels.balance import Dispatch, Network, Status, balance

RELATIVE = 1e-7


def rows_broken(net: Network, plan: Dispatch) -> float:
    """The largest violation of a rule of the model, in MW or MWh, from the plan alone."""
    hours, worst = net.dt_h, 0.0
    for r in range(net.shape[0]):
        for t in range(net.shape[1]):
            comes = plan.import_mw[r, t] - plan.export_mw[r, t] + plan.ren_used_mw[r, t]
            comes += plan.supply_mw[r, :, t].sum() + plan.shed_mw[r, t] - plan.flex_mw[r, t]
            comes += plan.discharge_mw[r, :, t].sum() - plan.charge_mw[r, :, t].sum()
            for n in range(net.shape[4]):
                comes -= plan.flow_mw[n, t] * (net.link_from[n] == r)
                comes += plan.flow_mw[n, t] * (1 - net.link_loss[n]) * (net.link_to[n] == r)
            worst = max(worst, abs(comes - net.load_mw[r, t]))
        for s in range(net.shape[3]):
            held = net.storage_soc0_mwh[r, s]
            for t in range(net.shape[1]):
                held *= net.storage_retain[r, s]
                held += hours * net.storage_eta_c[r, s] * plan.charge_mw[r, s, t]
                held -= hours / net.storage_eta_d[r, s] * plan.discharge_mw[r, s, t]
                worst = max(worst, abs(held - plan.soc_mwh[r, s, t]))
                held = plan.soc_mwh[r, s, t]
        served = hours * plan.flex_mw[r].sum()
        worst = max(worst, served - net.flex_energy_mwh[r])
    return worst


def bounds_broken(net: Network, plan: Dispatch) -> list[str]:
    limits = {
        "import_mw": net.import_max_mw,
        "export_mw": net.export_max_mw,
        "ren_used_mw": net.ren_avail_mw,
        "supply_mw": net.supply_cap_mw[:, :, None],
        "charge_mw": net.storage_charge_mw[:, :, None],
        "discharge_mw": net.storage_discharge_mw[:, :, None],
        "soc_mwh": net.storage_soc_max_mwh[:, :, None],
        "flex_mw": net.flex_max_mw,
        "shed_mw": net.load_mw,
        "flow_mw": net.link_cap_mw[:, None],
    }
    out = [name for name, limit in limits.items() if (getattr(plan, name) > limit).any()]
    out += [name for name in limits if (getattr(plan, name) < 0).any()]
    low = net.storage_soc_min_mwh[:, :, None]
    return out + ["soc_mwh below"] * bool((plan.soc_mwh < low).any())


def agrees(net: Network) -> None:
    plan, oracle = balance(net), Oracle(net)
    scale = max(oracle.scale, 1.0)
    assert abs(plan.objective - oracle.objective) <= RELATIVE * scale + oracle.taken
    assert -1e-9 <= plan.gap_rel <= RELATIVE
    size = max(1.0, float(net.load_mw.max()), float(net.storage_soc_max_mwh.max(initial=0)))
    assert rows_broken(net, plan) <= 1e-9 * size
    assert bounds_broken(net, plan) == []
    assert np.array_equal(plan.curtailed_mw, net.ren_avail_mw - plan.ren_used_mw)
    both = np.minimum(plan.charge_mw, plan.discharge_mw).max(axis=(1, 2), initial=0.0)
    for r, status in enumerate(plan.status):
        assert both[r] <= 1e-6 or Status.BURN in status


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32 - 1))
def test_a_random_network_costs_what_an_independent_model_costs(seed: int) -> None:
    random = np.random.default_rng(seed)
    links = int(random.integers(0, 7))
    agrees(random_network(random, int(random.integers(1, 5)), 8, 2, 1, links))


@pytest.mark.parametrize("seed", range(12))
def test_negative_prices_cost_what_an_independent_model_costs(seed: int) -> None:
    agrees(random_network(np.random.default_rng(seed), 2, 8, 2, 1, 3, negative=True))


@pytest.mark.parametrize("storages", [0, 2, 4])
def test_several_storages_or_none_cost_what_an_independent_model_costs(storages: int) -> None:
    for seed in range(6):
        agrees(random_network(np.random.default_rng(seed), 2, 6, 1, storages, 2))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 4))
def test_cost_scales_with_the_size_of_the_network(seed: int, factor: float) -> None:
    net = random_network(np.random.default_rng(seed), 2, 6, 1, 1, 2)
    power = {
        name: getattr(net, name) * factor
        for name in net.__slots__
        if name.endswith(("_mw", "_mwh"))
    }
    rest = {
        name: getattr(net, name)
        for name in net.__slots__
        if name not in power and name not in ("regions", "dt_h", "carbon_price", "voll")
    }
    bigger = Network.of(
        regions=net.regions,
        dt_h=net.dt_h,
        carbon_price=net.carbon_price,
        voll=net.voll,
        **power,
        **rest,
    )
    one, other = balance(net), balance(bigger)
    assert other.objective == pytest.approx(factor * one.objective, rel=1e-7, abs=1e-6 * factor)
