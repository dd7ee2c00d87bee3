"""The interior point against simplex and an independent model: proven plans, warm or cold."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from balance_oracle import Oracle, random_network
from kernels.balance._scan import has_avx2

from kernels import balance as kernel
from kernels.balance import Dispatch, Network, Status, _network, _network_avx2, balance, lower_bound
from kernels.balance.checks import check
from kernels.balance.interior import _empty, connected, solve
from kernels.balance.invariants import cost, residual, served, within_limits
from kernels.balance.machine import Workspace


@pytest.fixture(autouse=True)
def _every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "SMALL", 0)  # also what simplex would take


def some(seed: int) -> Network:
    """Regions 1 to 6, steps 4 to 24, 0 to 2 storages; links, ties, zero widths, scales."""
    random = np.random.default_rng(seed)
    regions, steps = int(random.integers(1, 7)), int(random.integers(4, 25))
    storages, links = int(random.integers(0, 3)), int(random.integers(0, 2 * regions + 1))
    return random_network(random, regions, steps, 2, storages, links, bool(random.random() < 0.3))


def arrays(plan: Dispatch) -> dict[str, bytes]:
    return {
        name: getattr(plan, name).tobytes()
        for name in plan.__slots__
        if isinstance(getattr(plan, name), np.ndarray)
    }


def test_random_and_degenerate_networks_are_proven_mostly_without_simplex() -> None:
    methods: Counter[str] = Counter()
    for seed in range(120):
        plan = balance(some(seed))
        methods[plan.method] += 1
        assert -1e-9 <= plan.gap_rel <= 1e-7, f"seed {seed}"
        assert not any(Status.GAP_LOOSE in flags for flags in plan.status)
    assert set(methods) <= {"interior", "interior, then highs"}
    assert methods["interior"] >= 114


@pytest.mark.parametrize("seed", range(30))
def test_it_costs_what_an_independent_model_costs(seed: int) -> None:
    net = some(seed)
    plan, oracle = balance(net), Oracle(net)
    assert abs(plan.objective - oracle.objective) <= 1e-7 * oracle.scale


@pytest.mark.parametrize("regions", [2, 8, 20])
def test_the_plan_keeps_its_rows_and_limits_without_simplex(regions: int) -> None:
    net, _, _ = check(random_network(np.random.default_rng(regions), regions, 30, 3, 2, 3))
    plan, prices = solve(net, Workspace())
    objective, scale = cost(net, plan)
    size = max(1.0, float(net.load_mw.max()), float(net.storage_soc_max_mwh.max()))
    assert residual(net, plan, served(net, plan)) <= 1e-9 * size
    assert within_limits(net, plan)
    assert abs(objective - lower_bound(net, prices)) <= 1e-7 * scale


def test_a_warm_start_is_as_exact_and_shorter() -> None:
    random, cold, warm = np.random.default_rng(1), 0, 0
    for seed in range(12):
        net = random_network(np.random.default_rng(seed), 4, 24, 2, 1, 6)
        last = balance(net)
        then = replace(net, load_mw=net.load_mw * random.uniform(0.98, 1.02, net.load_mw.shape))
        one, two = balance(then), balance(then, last)
        assert -1e-9 <= two.gap_rel <= 1e-7
        assert two.objective == pytest.approx(one.objective, rel=2e-7, abs=1e-6)
        checked, workspace = check(then)[0], Workspace()
        if len(connected(checked)) == 1:
            solve(checked, workspace)
            cold += workspace.iterations
            solve(checked, workspace, last)
            warm += workspace.iterations
    assert 0 < warm < cold


def test_a_start_from_a_plan_of_another_shape_or_of_nonsense_changes_no_cost() -> None:
    net, other = some(3), some(4)
    plan = balance(net)
    wild = replace(plan, import_mw=plan.import_mw * np.nan, soc_mwh=plan.soc_mwh + 1e12)
    for last in (balance(other), wild):
        again = balance(net, last)
        assert again.objective == pytest.approx(plan.objective, rel=2e-7)
        assert -1e-9 <= again.gap_rel <= 1e-7


def test_the_same_network_gives_the_same_bytes_in_a_used_workspace() -> None:
    first = arrays(balance(some(5)))
    balance(some(6))
    balance(some(11))
    assert arrays(balance(some(5))) == first


def test_a_bad_value_changes_no_byte_of_a_region_that_no_link_joins_to_it() -> None:
    net = random_network(np.random.default_rng(8), 3, 24, 2, 1, 0)
    broken = replace(net, import_price=net.import_price.copy())
    broken.import_price[1, 3] = np.nan
    good, plan = balance(net), balance(broken)
    assert plan.status[1] == Status.BAD_INPUT
    for name in ("import_mw", "charge_mw", "soc_mwh", "flex_mw", "bus_price", "ren_used_mw"):
        ours, theirs = getattr(plan, name), getattr(good, name)
        assert ours[[0, 2]].tobytes() == theirs[[0, 2]].tobytes()


def test_connected_parts_follow_the_links() -> None:
    net = Network.of(
        regions=tuple("abcde"),
        dt_h=1.0,
        load_mw=np.ones((5, 2)),
        link_from=[4, 1],
        link_to=[1, 0],
        link_cap_mw=[1.0, 1.0],
    )
    parts = [(regions.tolist(), links.tolist()) for regions, links in connected(net)]
    assert parts == [([0, 1, 4], [0, 1]), ([2], []), ([3], [])]


def test_a_storage_that_could_burn_for_nothing_does_not() -> None:
    # sun for nothing in plenty: charge and discharge at once would cost nothing either
    net = Network.of(
        regions=("a",),
        dt_h=1.0,
        load_mw=np.full((1, 24), 5.0),
        ren_avail_mw=np.full((1, 24), 50.0),
        storage_charge_mw=[[4.0]],
        storage_discharge_mw=[[4.0]],
        storage_eta_c=0.9,
        storage_eta_d=0.9,
        storage_soc0_mwh=[[2.0]],
        storage_soc_max_mwh=[[4.0]],
    )
    plan = balance(net)
    assert plan.method == "interior"
    assert not np.minimum(plan.charge_mw, plan.discharge_mw).any()
    assert plan.status == (Status(0),)


def test_where_all_load_is_shed_the_price_is_that_of_shedding() -> None:
    net = Network.of(
        regions=("a", "b"),
        dt_h=1.0,
        load_mw=np.full((2, 24), 5.0),
        import_max_mw=np.array([[9.0] * 24, [0.0] * 24]),
        import_price=70.0,
        voll=3000.0,
    )
    plan = balance(net)
    assert plan.method == "interior"
    assert plan.shed_mw[1].tolist() == [5.0] * 24
    assert plan.bus_price[1] == pytest.approx(np.full(24, 3000.0))
    assert plan.bus_price[0] == pytest.approx(np.full(24, 70.0))
    assert plan.status == (Status(0), Status.SHED)


def test_wider_vectors_change_no_bit() -> None:
    if not has_avx2():
        pytest.skip("this machine has no AVX2")
    for seed in range(20):
        net, _, _ = check(some(seed))
        found = []
        for module in (_network, _network_avx2):
            plan, prices = _empty(net)
            module.solve_network(net, plan, prices, module.Workspace())
            found.append([x.tobytes() for x in (*plan.values(), prices.bus, prices.storage)])
        assert found[0] == found[1], f"seed {seed}"
