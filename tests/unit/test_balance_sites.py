"""Sites in a batch: plans by hand, statuses, bad rows, threads, warm starts."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kernels.balance import sites_certificate
from kernels.balance.columns import Status
from kernels.balance.sites import Workspace, balance_sites
from kernels.balance.sites_columns import COLUMNS, DP, HIGHS, PLAN_AXES, SitePlans, Sites
from schemas.errors import FieldError
from tests.bench.balance_problems import next_tick
from tests.bench.sites_models import model_sites
from tests.property.sites_cases import random_sites

OK = Status(0)


def site(**columns: Any) -> Sites:
    """One site that must import 10 MW for 50 and 100 per MWh, with a lossless storage of 5 MWh."""
    made: dict[str, Any] = {
        "load_mw": [[10.0, 10.0]],
        "import_max_mw": 100.0,
        "import_price": [[50.0, 100.0]],
        "storage_charge_mw": [5.0],
        "storage_discharge_mw": [5.0],
        "storage_soc_max_mwh": [5.0],
        "dt_h": 1.0,
        "voll": 1000.0,
    }
    return Sites.of(**{**made, **columns})


def assert_same_bytes(one: SitePlans, other: SitePlans) -> None:
    for name in (*PLAN_AXES, "status", "method"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name


def test_a_storage_buys_when_it_is_cheap_and_serves_when_it_is_dear() -> None:
    plans = balance_sites(site())
    assert plans.charge_mw[0, 0].tolist() == [5, 0]
    assert plans.discharge_mw[0, 0].tolist() == [0, 5]
    assert plans.import_mw[0].tolist() == [15, 5]
    assert plans.soc_mwh[0, 0].tolist() == [5, 0]
    assert plans.objective[0] == 15 * 50 + 5 * 100
    assert plans.bus_price[0].tolist() == [50, 100]
    assert plans.flags(0) == OK
    assert plans.method[0] == DP


def test_a_storage_whose_losses_eat_the_difference_stays_at_rest() -> None:
    plans = balance_sites(site(storage_eta_c=[0.7], storage_eta_d=[0.7]))
    assert plans.charge_mw.max() == 0
    assert plans.objective[0] == 1500


def test_energy_is_kept_where_keeping_and_selling_cost_the_same() -> None:
    plans = balance_sites(
        site(import_price=[[50.0, 50.0]], storage_soc0_mwh=[5.0], storage_terminal_value=[50.0])
    )
    assert plans.soc_mwh[0, 0].tolist() == [5, 5]


def test_a_deferrable_load_runs_in_the_cheap_hours_of_its_window() -> None:
    plans = balance_sites(
        site(
            load_mw=[[10.0] * 4],
            import_price=[[10.0, 40.0, 20.0, 30.0]],
            storage_charge_mw=[0.0],
            storage_discharge_mw=[0.0],
            flex_max_mw=[[0.0, 2.0, 2.0, 2.0]],
            flex_energy_mwh=[3.0],
        )
    )
    assert plans.flex_mw[0, 0] == pytest.approx([0, 0, 2, 1], abs=1e-12)
    assert plans.mu[0, 0] == pytest.approx(30)
    assert plans.objective[0] == pytest.approx(10 * 100 + 2 * 20 + 30)


def test_deferrable_energy_that_has_no_room_is_unmet_and_says_so() -> None:
    plans = balance_sites(site(flex_max_mw=[[1.0, 0.0]], flex_energy_mwh=[3.0]))
    assert plans.flags(0) == Status.FLEX_UNMET
    assert plans.flex_mw[0, 0].tolist() == [1, 0]
    assert plans.mu[0, 0] == 1000
    assert abs(plans.gap_rel[0]) <= 1e-12


def test_load_beyond_what_can_come_is_shed_and_says_so() -> None:
    plans = balance_sites(site(import_max_mw=4.0, storage_charge_mw=[0.0]))
    assert plans.flags(0) == Status.SHED
    assert plans.shed_mw[0].tolist() == [6, 6]
    assert plans.bus_price[0].tolist() == [1000, 1000]


@pytest.mark.parametrize(("soc0", "starts_at"), [(-1.0, 0.0), (9.0, 5.0)])
def test_a_state_of_charge_outside_its_limits_is_clamped_and_says_so(
    soc0: float, starts_at: float
) -> None:
    outside, inside = site(storage_soc0_mwh=[soc0]), site(storage_soc0_mwh=[starts_at])
    plans, as_if = balance_sites(outside), balance_sites(inside)
    assert plans.flags(0) == Status.SOC0_CLAMPED
    assert plans.objective.tobytes() == as_if.objective.tobytes()


def test_negative_prices_burn_energy_in_the_storage_and_say_so() -> None:
    plans = balance_sites(
        site(
            load_mw=[[0.0]],
            import_price=[[-10.0]],
            storage_eta_c=[0.5],
            storage_soc0_mwh=[5.0],
        )
    )
    assert plans.flags(0) == Status.BURN
    # the storage is full: 5 MW in are worth 2.5 MWh, which 2.5 MW out let go again
    assert plans.charge_mw[0, 0, 0] == pytest.approx(5)
    assert plans.discharge_mw[0, 0, 0] == pytest.approx(2.5)
    assert plans.objective[0] == pytest.approx(-10 * 2.5)


def test_an_export_price_above_the_import_price_is_used_to_the_limits() -> None:
    plans = balance_sites(
        site(load_mw=[[0.0]], import_price=[[10.0]], export_price=[[15.0]], export_max_mw=7.0)
    )
    assert plans.import_mw[0, 0] == pytest.approx(7)
    assert plans.export_mw[0, 0] == pytest.approx(7)
    assert plans.objective[0] == pytest.approx(-35)


def test_a_reserve_is_kept_free_of_the_import_limit() -> None:
    # 12 MW less 1.5 are left: the storage takes in what 10 MW of load leave of them
    plans = balance_sites(site(import_max_mw=12.0, reserve_up_mw=[[1.5, 0.0]]))
    assert plans.import_mw[0].tolist() == [10.5, 9.5]
    assert plans.objective[0] == 10.5 * 50 + 9.5 * 100
    assert plans.flags(0) == OK


def test_a_reserve_is_kept_free_of_the_export_limit() -> None:
    plans = balance_sites(
        site(
            load_mw=[[0.0, 0.0]],
            ren_avail_mw=9.0,
            storage_charge_mw=[0.0],
            export_max_mw=7.0,
            export_price=10.0,
            reserve_down_mw=[[3.0, 0.0]],
        )
    )
    assert plans.export_mw[0].tolist() == [4, 7]
    assert plans.curtailed_mw[0].tolist() == [5, 2]
    assert plans.objective[0] == -110


def test_a_reserve_beyond_the_connection_is_named_and_leaves_nothing_of_it() -> None:
    plans = balance_sites(
        site(
            storage_charge_mw=[0.0],
            supply_cap_mw=[[20.0]],
            supply_cost=[[900.0]],
            reserve_up_mw=[[101.0, 0.0]],
        )
    )
    assert plans.flags(0) == Status.RESERVE_SHORT
    assert plans.import_mw[0].tolist() == [0, 10]
    assert plans.supply_mw[0, 0].tolist() == [10, 0]


def test_a_reserve_is_kept_free_by_highs_too() -> None:
    several = {"storage_charge_mw": [[5.0, 3.0]], "storage_soc_max_mwh": [[5.0, 3.0]]}
    several |= {"storage_discharge_mw": [[5.0, 3.0]]}
    plans = balance_sites(site(import_max_mw=16.0, reserve_up_mw=[[2.0, 17.0]], **several))
    assert plans.method[0] == HIGHS
    assert plans.import_mw[0] == pytest.approx([14, 0])
    assert plans.flags(0) == Status.SHED | Status.RESERVE_SHORT


def test_a_plan_that_takes_of_the_reserve_is_found() -> None:
    free, kept = site(import_max_mw=15.0), site(import_max_mw=15.0, reserve_up_mw=1.0)
    plans = balance_sites(free)
    given = tuple(getattr(kept, name) for name in COLUMNS)
    found = tuple(getattr(plans, name).copy() for name in PLAN_AXES)
    for prove in (sites_certificate.prove_rows, sites_certificate.prover()):
        status = np.zeros(1, np.uint8)
        prove(given, found, status, kept.shape, 0, 1)
        assert Status(int(status[0])) & Status.GAP_LOOSE
        assert found[list(PLAN_AXES).index("max_residual")][0] == pytest.approx(1.0)


def test_what_is_curtailed_is_what_was_available_and_not_used() -> None:
    sites = random_sites(np.random.default_rng(5), 50, 24)
    plans = balance_sites(sites)
    assert (plans.curtailed_mw == sites.ren_avail_mw - plans.ren_used_mw).all()
    assert (plans.curtailed_mw >= 0).all()


BAD = [
    ("load_mw", (1, 1), np.nan),
    ("ren_avail_mw", (1, 0), -1.0),
    ("import_price", (1, 1), np.inf),
    ("import_max_mw", (1, 1), 1e13),
    ("reserve_up_mw", (1, 1), -0.5),
    ("reserve_down_mw", (1, 0), np.nan),
    ("flex_max_mw", (1, 0, 1), -np.inf),
    ("flex_energy_mwh", (1, 0), np.nan),
    ("supply_cost", (1, 0), np.nan),
    ("storage_eta_c", (1, 0), 0.0),
    ("storage_eta_d", (1, 0), 1.1),
    ("storage_soc_min_mwh", (1, 0), 99.0),
    ("voll", (1,), -1.0),
    ("dt_h", (1,), 0.0),
]


@pytest.mark.parametrize(("column", "place", "value"), BAD)
def test_a_bad_value_takes_out_its_row_alone(
    column: str, place: tuple[int, ...], value: float
) -> None:
    good = Sites.of(
        **{
            name: np.repeat(getattr(s, name), 3, axis=0)
            for s in [
                site(
                    flex_max_mw=[[1.0, 1.0]],
                    flex_energy_mwh=[1.0],
                    supply_cap_mw=[[1.0]],
                    supply_cost=[[70.0]],
                )
            ]
            for name in COLUMNS
        }
    )
    spoilt = getattr(good, column).copy()
    spoilt[place] = value
    plans, as_if = balance_sites(replace(good, **{column: spoilt})), balance_sites(good)
    assert [plans.flags(r) for r in range(3)] == [OK, Status.BAD_INPUT, OK]
    (error,) = plans.errors
    stepped = ("load_mw", "import_price", "flex_max_mw", "reserve_up_mw", "reserve_down_mw")
    step = place[-1] if column in stepped else error.step
    assert (error.row, error.column, error.step) == (1, column, step)
    assert error.value == repr(float(value))
    for name in PLAN_AXES:
        found, wanted = getattr(plans, name), getattr(as_if, name)
        assert not found[1].any(), f"{name} of a row left out"
        assert found[[0, 2]].tobytes() == wanted[[0, 2]].tobytes(), name


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        ({"load_mw": [1.0]}, "load_mw"),
        ({"import_price": [[1.0, 2.0, 3.0]]}, "import_price"),
        ({"import_cost": 3.0}, "import_cost"),
        ({"storage_charge_mw": [[1.0] * 5]}, "storage_charge_mw"),
        ({"flex_energy_mwh": [[1.0] * 5]}, "flex_energy_mwh"),
    ],
)
def test_columns_that_do_not_belong_together_are_an_error(
    columns: dict[str, Any], field: str
) -> None:
    with pytest.raises(FieldError) as error:
        site(**columns)
    assert error.value.field == field


def test_no_sites_have_no_plans() -> None:
    plans = balance_sites(Sites.of(load_mw=np.empty((0, 4)), dt_h=1.0))
    assert plans.objective.shape == (0,)
    assert plans.import_mw.shape == (0, 4)


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_the_bytes_do_not_depend_on_the_number_of_threads(threads: int) -> None:
    sites = random_sites(np.random.default_rng(1), 200, 12)
    assert_same_bytes(balance_sites(sites), balance_sites(sites, threads=threads))


def test_the_bytes_do_not_depend_on_what_the_workspace_solved_before() -> None:
    used = Workspace()
    balance_sites(random_sites(np.random.default_rng(2), 20, 48), workspace=used)
    sites = random_sites(np.random.default_rng(3), 20, 24)
    assert_same_bytes(balance_sites(sites, workspace=used), balance_sites(sites))


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    sites = random_sites(np.random.default_rng(4), 12, 24)
    alone, together = balance_sites(sites.take([7])), balance_sites(sites)
    for name in PLAN_AXES:
        assert getattr(alone, name)[0].tobytes() == getattr(together, name)[7].tobytes(), name


def test_a_warm_start_costs_the_same_and_is_proven() -> None:
    random = np.random.default_rng(6)
    sites = random_sites(random, 100, 24)
    before = balance_sites(sites)
    later = replace(sites, load_mw=sites.load_mw * random.uniform(0.98, 1.02, sites.load_mw.shape))
    cold, warm = balance_sites(later), balance_sites(later, warm=before)
    scale = np.maximum(1.0, np.abs(cold.objective))
    assert (np.abs(warm.objective - cold.objective) <= 1e-9 * scale).all()
    assert (np.abs(warm.gap_rel) <= 1e-9).all()


@pytest.mark.parametrize("mu", [np.nan, np.inf, -1e300, 1e9])
def test_a_warm_start_from_nonsense_costs_the_same(mu: float) -> None:
    sites = random_sites(np.random.default_rng(8), 40, 12)
    cold = balance_sites(sites)
    warm = balance_sites(sites, warm=replace(cold, mu=np.full_like(cold.mu, mu)))
    scale = np.maximum(1.0, np.abs(cold.objective))
    assert (np.abs(warm.objective - cold.objective) <= 1e-9 * scale).all()


def test_a_warm_start_of_other_sites_is_an_error() -> None:
    plans = balance_sites(site(flex_max_mw=[[1.0, 1.0]], flex_energy_mwh=[1.0]))
    with pytest.raises(FieldError):
        balance_sites(random_sites(np.random.default_rng(1), 2, 2), warm=plans)


def test_fewer_threads_than_one_is_an_error() -> None:
    with pytest.raises(FieldError):
        balance_sites(site(), threads=0)


def test_several_storages_go_to_highs_and_say_so() -> None:
    sites = site(
        storage_charge_mw=[[5.0, 3.0]],
        storage_discharge_mw=[[5.0, 3.0]],
        storage_soc_max_mwh=[[5.0, 3.0]],
    )
    plans = balance_sites(sites)
    assert plans.method[0] == HIGHS
    assert plans.objective[0] == pytest.approx(18 * 50 + 2 * 100)
    assert plans.discharge_mw[0, :, 1] == pytest.approx([5, 3])
    assert abs(plans.gap_rel[0]) <= 1e-9


def test_several_requirements_go_to_highs_and_say_so() -> None:
    sites = site(flex_max_mw=[[[1.0, 1.0], [2.0, 2.0]]], flex_energy_mwh=[[1.0, 3.0]])
    plans = balance_sites(sites)
    assert plans.method[0] == HIGHS
    # 10 + 1 + 2 MW at 50 fill the storage as well; 10 + 1 at 100 less its 5
    assert plans.objective[0] == pytest.approx((10 + 5 + 1 + 2) * 50 + (10 - 5 + 1) * 100)


def test_a_storage_that_cannot_move_beside_one_that_can_is_still_exact_by_programming() -> None:
    sites = site(
        storage_charge_mw=[[0.0, 5.0]],
        storage_discharge_mw=[[0.0, 5.0]],
        storage_soc_max_mwh=[[2.0, 5.0]],
        storage_soc0_mwh=[[2.0, 0.0]],
        storage_retain=[[0.5, 1.0]],
        storage_terminal_value=[[8.0, 0.0]],
    )
    plans = balance_sites(sites)
    assert plans.method[0] == DP
    assert plans.soc_mwh[0, 0].tolist() == [1.0, 0.5]
    assert plans.objective[0] == 15 * 50 + 5 * 100 - 8 * 0.5
    assert plans.gap_rel[0] == 0


def test_a_wrong_price_makes_the_bound_lower_never_higher() -> None:
    random = np.random.default_rng(9)
    sites = random_sites(random, 100, 12)
    plans = balance_sites(sites)
    for size in (1e-3, 1.0, 100.0):
        bound = sites_certificate.lower_bounds(
            sites,
            plans.bus_price + random.normal(0, size, plans.bus_price.shape),
            plans.storage_value + random.normal(0, size, plans.storage_value.shape),
            plans.mu + random.normal(0, size, plans.mu.shape),
        )
        room = 1e-9 * np.maximum(1.0, np.abs(plans.objective))
        assert (bound <= plans.lower_bound + room).all()
        assert (bound < plans.lower_bound - 1e-6 * size).any()


def test_both_certificates_say_the_same() -> None:
    sites = random_sites(np.random.default_rng(10), 200, 24)
    plans = balance_sites(sites)
    given = tuple(getattr(sites, name) for name in COLUMNS)
    found = tuple(getattr(plans, name).copy() for name in PLAN_AXES)
    status = plans.status & (Status.SOC0_CLAMPED | Status.RESERVE_SHORT).value
    loose = sites_certificate.prove_rows(given, found, status, sites.shape, 0, 200)
    assert loose == 0
    assert status.tolist() == plans.status.tolist()
    for name, column in zip(PLAN_AXES, found, strict=True):
        size = 1e-9 * np.maximum(1.0, np.abs(column))
        assert (np.abs(column - getattr(plans, name)) <= size).all(), name


@pytest.mark.parametrize("column", ["import_mw", "soc_mwh", "flex_mw", "charge_mw"])
def test_a_plan_that_breaks_a_row_is_found(column: str) -> None:
    sites = random_sites(np.random.default_rng(11), 20, 6)
    plans = balance_sites(sites)
    spoilt = getattr(plans, column).copy()
    spoilt[3].reshape(-1)[2] += 1.0
    given = tuple(getattr(sites, name) for name in COLUMNS)
    found = tuple(spoilt if n == column else getattr(plans, n).copy() for n in PLAN_AXES)
    status = np.zeros(20, np.uint8)
    sites_certificate.prover()(given, found, status, sites.shape, 0, 20)
    assert Status(int(status[3])) & Status.GAP_LOOSE
    assert found[list(PLAN_AXES).index("max_residual")][3] > 0.1


@pytest.mark.parametrize("steps", [1, 3, 12])
def test_the_plain_twin_finds_the_same_plans(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sites = random_sites(np.random.default_rng(steps), 60, steps)
    compiled = balance_sites(sites)
    monkeypatch.setenv("GRIDLOOM_PURE", "1")
    plain = balance_sites(sites)
    scale = np.maximum(1.0, np.abs(compiled.objective))
    assert (np.abs(plain.objective - compiled.objective) <= 1e-9 * scale).all()
    assert (np.abs(plain.gap_rel) <= 1e-9).all()
    assert plain.status.tolist() == compiled.status.tolist()
    assert plain.method.tolist() == compiled.method.tolist()


def test_the_plain_twin_leaves_out_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    sites = site(import_price=[[np.nan, 1.0]])
    compiled = balance_sites(sites)
    monkeypatch.setenv("GRIDLOOM_PURE", "1")
    plain = balance_sites(sites)
    assert plain.errors == compiled.errors
    assert_same_bytes(plain, compiled)


def test_a_warm_start_takes_fewer_passes() -> None:
    random = np.random.default_rng(12)
    sites = model_sites(random, 40, 24, 1.0)
    before, later = balance_sites(sites), next_tick(random, sites)
    cold, warm = Workspace(), Workspace()
    if not hasattr(cold.buffer(0), "passes"):
        pytest.skip("the plain twin does not count its passes")
    balance_sites(later, workspace=cold)
    balance_sites(later, warm=before, workspace=warm)
    assert warm.buffer(0).passes < cold.buffer(0).passes
