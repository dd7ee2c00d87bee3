"""Real networks: the same cost as an independent model, to 1e-6."""

from pathlib import Path

import pytest
from balance_cases import citylearn, rts
from balance_oracle import Oracle

from kernels.balance import Status, balance
from tests.bench.peers import balance_solvers

pytestmark = pytest.mark.data


@pytest.mark.parametrize("day", [0, 100, 181, 300])
def test_the_three_areas_of_rts_gmlc_cost_what_an_independent_model_costs(
    data_dir: Path, day: int
) -> None:
    net = rts(data_dir, 24 * day)
    plan, oracle = balance(net), Oracle(net)
    assert plan.objective == pytest.approx(oracle.objective, rel=1e-6)
    assert plan.objective > 0
    assert -1e-9 <= plan.gap_rel <= 1e-7
    assert plan.max_residual <= 1e-9 * net.load_mw.max()


def test_a_day_of_rts_gmlc_costs_what_pypsa_finds(data_dir: Path) -> None:
    pytest.importorskip("pypsa")
    net = rts(data_dir, 24 * 181)
    _, cost = balance_solvers.pypsa(net)
    assert balance(net).objective == pytest.approx(cost, rel=1e-6)


def test_citylearns_buildings_cost_what_an_independent_model_costs(data_dir: Path) -> None:
    for day in (10, 200):
        net = citylearn(data_dir, 24 * day)
        plan, oracle = balance(net), Oracle(net)
        assert plan.objective == pytest.approx(oracle.objective, rel=1e-6)
        assert plan.gap_rel <= 1e-7
        assert plan.status == (Status(0),) * 17
