"""Balance: hand-solved plans, and what becomes of bad input."""

from typing import Any

import numpy as np
import pytest

from kernels.balance import Network, Status, balance
from schemas.errors import FieldError

OK = Status(0)


def network(**given: Any) -> Network:
    """One region, two hours, 10 MW of load, imports of 20 MW at 50 and 100 per MWh."""
    columns: dict[str, Any] = {
        "regions": ("a",),
        "dt_h": 1.0,
        "load_mw": [[10.0, 10.0]],
        "import_max_mw": 20.0,
        "import_price": [[50.0, 100.0]],
    }
    return Network.of(**(columns | given))


def battery(**given: Any) -> dict[str, Any]:
    """A lossless 4 MW, 4 MWh battery that is empty."""
    columns: dict[str, Any] = {
        "storage_charge_mw": [[4.0]],
        "storage_discharge_mw": [[4.0]],
        "storage_soc_max_mwh": [[4.0]],
    }
    return columns | given


def two(**given: Any) -> Network:
    """Regions a (cheap) and b (dear), each with one hour and 10 MW of load."""
    columns: dict[str, Any] = {
        "regions": ("a", "b"),
        "dt_h": 1.0,
        "load_mw": [[10.0], [10.0]],
        "import_max_mw": 100.0,
        "import_price": [[20.0], [60.0]],
        "link_from": [0],
        "link_to": [1],
        "link_cap_mw": [6.0],
    }
    return Network.of(**(columns | given))


def test_without_storage_load_is_imported_at_its_price() -> None:
    plan = balance(network())
    assert plan.import_mw.tolist() == [[10.0, 10.0]]
    assert plan.objective == pytest.approx(10 * 50 + 10 * 100)
    assert plan.bus_price.tolist() == [[50.0, 100.0]]
    assert plan.status == (OK,)


def test_the_cheaper_unit_runs_first_and_the_dearer_sets_the_price() -> None:
    plan = balance(network(supply_cap_mw=[[6.0, 8.0]], supply_cost=[[30.0, 40.0]]))
    assert plan.supply_mw[0].tolist() == [[6.0, 6.0], [4.0, 4.0]]
    assert plan.bus_price.tolist() == [[40.0, 40.0]]
    assert plan.objective == pytest.approx(2 * (6 * 30 + 4 * 40))


def test_a_carbon_price_changes_who_runs() -> None:
    # unit 0: 30 + 100 x 0.5 = 80; unit 1: 40 + 0
    units = {"supply_cap_mw": [[20.0, 20.0]], "supply_cost": [[30.0, 40.0]]}
    plan = balance(network(**units, supply_ci=[[0.5, 0.0]], carbon_price=100.0))
    assert plan.supply_mw[0].tolist() == [[0.0, 0.0], [10.0, 10.0]]
    assert plan.emissions_kg.tolist() == [[0.0, 0.0]]


def test_a_battery_moves_energy_from_the_cheap_hour_to_the_dear_one() -> None:
    plan = balance(network(**battery(storage_wear=[[1.0]])))
    assert plan.charge_mw[0, 0].tolist() == [4.0, 0.0]
    assert plan.discharge_mw[0, 0].tolist() == [0.0, 4.0]
    assert plan.soc_mwh[0, 0].tolist() == [4.0, 0.0]
    assert plan.objective == pytest.approx(14 * 50 + 6 * 100 + 4 * 1)


def test_a_battery_rests_where_its_losses_cost_more_than_the_prices_differ() -> None:
    # 1 MWh bought at 50 gives 0.7 x 0.7 = 0.49 MWh worth 100 each: a loss
    plan = balance(network(**battery(storage_eta_c=[[0.7]], storage_eta_d=[[0.7]])))
    assert not plan.charge_mw.any()
    assert plan.objective == pytest.approx(1500.0)


def test_what_is_stored_fades_by_what_the_storage_retains() -> None:
    dear = {"import_price": [[50.0, 1000.0]]}
    plan = balance(network(**battery(storage_retain=[[0.5]]), **dear))
    assert plan.soc_mwh[0, 0, 0] == pytest.approx(4.0)
    assert plan.discharge_mw[0, 0, 1] == pytest.approx(2.0)


def test_a_terminal_value_above_the_price_keeps_the_battery_full() -> None:
    plan = balance(network(**battery(storage_terminal_value=[[120.0]])))
    assert plan.soc_mwh[0, 0, 1] == 4.0
    assert plan.objective == pytest.approx(14 * 50 + 10 * 100 - 4 * 120)


def test_deferrable_energy_is_served_in_its_cheapest_hours() -> None:
    plan = balance(network(flex_max_mw=[[5.0, 5.0]], flex_energy_mwh=[7.0]))
    assert plan.flex_mw.tolist() == [[5.0, 2.0]]
    assert plan.prices.flex.tolist() == [100.0]


def test_deferrable_energy_beyond_its_window_is_unmet_and_named() -> None:
    plan = balance(network(flex_max_mw=[[5.0, 0.0]], flex_energy_mwh=[7.0], voll=5000.0))
    assert plan.flex_mw.tolist() == [[5.0, 0.0]]
    assert plan.objective == pytest.approx(15 * 50 + 10 * 100 + 2 * 5000)
    assert plan.status == (Status.FLEX_UNMET,)


def test_load_beyond_all_sources_is_shed_and_named() -> None:
    plan = balance(network(import_max_mw=8.0, voll=5000.0))
    assert plan.shed_mw.tolist() == [[2.0, 2.0]]
    assert plan.status == (Status.SHED,)
    assert plan.bus_price.tolist() == [[5000.0, 5000.0]]


def test_wind_and_sun_that_nobody_takes_are_curtailed_at_price_zero() -> None:
    plan = balance(network(ren_avail_mw=[[30.0, 4.0]]))
    assert plan.curtailed_mw.tolist() == [[20.0, 0.0]]
    assert plan.bus_price.tolist() == [[0.0, 100.0]]
    assert plan.ci_marginal[0, 0] == 0.0


def test_an_export_price_above_the_import_price_fills_both_limits() -> None:
    plan = balance(network(export_max_mw=3.0, export_price=[[70.0, 70.0]]))
    assert plan.export_mw.tolist() == [[3.0, 0.0]]
    assert plan.import_mw.tolist() == [[13.0, 10.0]]


def test_at_a_negative_price_a_lossy_battery_that_burns_is_named() -> None:
    # paid 50 for each MWh taken: charge and discharge at once turn 4 MW into heat
    paid = {"import_price": [[-50.0, -50.0]], "storage_soc0_mwh": [[4.0]]}
    lossy = {"storage_eta_c": [[0.5]], "storage_eta_d": [[0.5]]}
    plan = balance(network(**battery(**lossy), **paid))
    assert (np.minimum(plan.charge_mw, plan.discharge_mw) > 0).any()
    assert plan.status == (Status.BURN,)


def test_a_cheap_neighbour_sends_what_its_link_carries() -> None:
    plan = balance(two())
    assert plan.flow_mw.tolist() == [[6.0]]
    assert plan.import_mw.tolist() == [[16.0], [4.0]]
    assert plan.bus_price.tolist() == [[20.0], [60.0]]


def test_a_link_with_loss_and_tariff_is_used_only_where_it_pays() -> None:
    # delivered: (20 + 35) / 0.9 = 61.1 > 60
    assert balance(two(link_loss=[0.1], link_tariff=[35.0])).flow_mw.tolist() == [[0.0]]
    # (20 + 33) / 0.9 = 58.9 < 60; 6 sent, 5.4 arrive
    plan = balance(two(link_loss=[0.1], link_tariff=[33.0]))
    assert plan.flow_mw.tolist() == [[6.0]]
    assert plan.import_mw[1, 0] == pytest.approx(4.6)


def test_average_carbon_follows_the_flow_and_marginal_carbon_the_last_source() -> None:
    # b: 4 MW of its own at 0.8 and 6 MW from a at 0.2
    plan = balance(two(grid_ci=[[0.2], [0.8]]))
    assert plan.ci_average[:, 0] == pytest.approx([0.2, (4 * 0.8 + 6 * 0.2) / 10])
    assert plan.ci_marginal[:, 0].tolist() == [0.2, 0.8]


BAD = {
    "load_mw": (1, -1.0),
    "ren_avail_mw": (0, np.nan),
    "import_max_mw": (1, np.inf),
    "export_max_mw": (0, -2.0),
    "import_price": (1, np.nan),
    "export_price": (0, -np.inf),
    "grid_ci": (1, -0.1),
    "flex_max_mw": (0, np.nan),
}
BAD_ONCE = {
    "flex_energy_mwh": -3.0,
    "supply_cap_mw": -1.0,
    "supply_cost": np.nan,
    "supply_ci": -0.5,
    "storage_charge_mw": -4.0,
    "storage_discharge_mw": np.inf,
    "storage_eta_c": 0.0,
    "storage_eta_d": 1.5,
    "storage_retain": np.nan,
    "storage_soc0_mwh": np.nan,
    "storage_soc_min_mwh": 9.0,  # above the upper limit
    "storage_soc_max_mwh": np.inf,
    "storage_wear": -1.0,
    "storage_terminal_value": np.nan,
}


def three(column: str | None = None, place: tuple[int, ...] = (), value: float = 0.0) -> Network:
    """Three regions alike but for one value of one column of the middle one."""
    columns: dict[str, Any] = {
        "load_mw": np.full((3, 2), 10.0),
        "ren_avail_mw": np.full((3, 2), 2.0),
        "import_max_mw": np.full((3, 2), 20.0),
        "export_max_mw": np.full((3, 2), 5.0),
        "import_price": np.tile([50.0, 100.0], (3, 1)),
        "export_price": np.full((3, 2), 10.0),
        "grid_ci": np.full((3, 2), 0.3),
        "flex_max_mw": np.full((3, 2), 2.0),
        "flex_energy_mwh": np.full(3, 2.0),
        "supply_cap_mw": np.full((3, 1), 3.0),
        "supply_cost": np.full((3, 1), 80.0),
        "supply_ci": np.full((3, 1), 0.5),
        "storage_charge_mw": np.full((3, 1), 4.0),
        "storage_discharge_mw": np.full((3, 1), 4.0),
        "storage_eta_c": np.full((3, 1), 0.9),
        "storage_eta_d": np.full((3, 1), 0.9),
        "storage_retain": np.full((3, 1), 0.99),
        "storage_soc0_mwh": np.full((3, 1), 1.0),
        "storage_soc_min_mwh": np.full((3, 1), 0.5),
        "storage_soc_max_mwh": np.full((3, 1), 4.0),
        "storage_wear": np.full((3, 1), 1.0),
        "storage_terminal_value": np.full((3, 1), 20.0),
    }
    if column is not None:
        columns[column][place] = value
    return Network.of(regions=("a", "b", "c"), dt_h=1.0, **columns)


@pytest.mark.parametrize(
    ("column", "place", "value"),
    [(name, (1, step), value) for name, (step, value) in BAD.items()]
    + [(name, (1,) if name == "flex_energy_mwh" else (1, 0), v) for name, v in BAD_ONCE.items()],
)
def test_a_bad_value_is_named_and_changes_no_other_regions_bytes(
    column: str, place: tuple[int, ...], value: float
) -> None:
    good, plan = balance(three()), balance(three(column, place, value))
    (error,) = plan.errors
    assert (error.region, error.column, error.value) == ("b", column, repr(float(value)))
    assert error.step == (place[1] if column in BAD else -1)
    assert error.message.startswith("send")
    assert plan.status == (OK, Status.BAD_INPUT, OK)
    for name in ("import_mw", "export_mw", "charge_mw", "soc_mwh", "flex_mw", "supply_mw"):
        ours, theirs = getattr(plan, name), getattr(good, name)
        assert ours[[0, 2]].tobytes() == theirs[[0, 2]].tobytes()
        assert not ours[1].any()


@pytest.mark.parametrize(
    ("given", "column"),
    [
        ({"link_cap_mw": [np.nan]}, "link_cap_mw"),
        ({"link_loss": [1.5]}, "link_loss"),
        ({"link_tariff": [-1.0]}, "link_tariff"),
        ({"link_to": [7]}, "link_to"),
        ({"link_to": [0]}, "link_to"),
    ],
)
def test_a_bad_link_is_cut_and_its_regions_go_on(given: dict[str, Any], column: str) -> None:
    plan = balance(two(**given))
    (error,) = plan.errors
    assert (error.region, error.column) == ("link 0", column)
    assert plan.flow_mw.tolist() == [[0.0]]
    assert plan.import_mw.tolist() == [[10.0], [10.0]]


def test_a_bad_region_is_cut_off_and_its_neighbour_goes_on_alone() -> None:
    plan = balance(two(load_mw=[[np.nan], [10.0]]))
    assert plan.status == (Status.BAD_INPUT, OK)
    assert plan.flow_mw.tolist() == [[0.0]]
    assert plan.import_mw.tolist() == [[0.0], [10.0]]
    assert plan.objective == pytest.approx(600.0)


def test_links_whose_loss_is_not_given_lose_nothing() -> None:
    plan = balance(two(link_cap_mw=[6.0], link_from=[0], link_to=[1]))
    assert plan.flow_mw.shape == (1, 1)
    assert plan.import_mw.tolist() == [[16.0], [4.0]]


def test_a_network_of_no_regions_costs_nothing() -> None:
    plan = balance(Network.of(regions=(), dt_h=1.0, load_mw=np.zeros((0, 3))))
    assert (plan.objective, plan.lower_bound, plan.status) == (0.0, 0.0, ())


@pytest.mark.parametrize(("soc0", "starts"), [(9.0, 4.0), (0.2, 1.0)])
def test_a_state_of_charge_outside_its_limits_is_clamped_and_named(
    soc0: float, starts: float
) -> None:
    # keeping is worth more than either price, so the battery keeps what it starts with
    keep = battery(storage_soc_min_mwh=[[1.0]], storage_terminal_value=[[500.0]])
    plan = balance(network(**keep | {"storage_charge_mw": [[0.0]]}, storage_soc0_mwh=[[soc0]]))
    assert plan.status == (Status.SOC0_CLAMPED,)
    assert plan.soc_mwh[0, 0].tolist() == [starts, starts]


def test_a_leaking_storage_at_its_lower_limit_still_has_a_plan() -> None:
    leaks = battery(storage_soc_min_mwh=[[2.0]], storage_soc0_mwh=[[2.0]], storage_retain=[[0.9]])
    plan = balance(network(**leaks | {"storage_charge_mw": [[0.0]]}))
    assert plan.soc_mwh[0, 0, 1] >= 2.0 * 0.9**2 - 1e-12
    assert plan.gap_rel <= 1e-9


@pytest.mark.parametrize("name", ["dt_h", "carbon_price", "voll"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_for_all_that_is_not_finite_is_refused(name: str, value: float) -> None:
    with pytest.raises(FieldError) as refused:
        network(**{name: value})
    assert refused.value.field == name


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"dt_h": 0.0}, "load_mw"),
        ({"load_mw": [10.0, 10.0]}, "load_mw"),
        ({"load_mw": np.zeros((1, 0))}, "load_mw"),
        ({"ren_avail_mw": [[1.0, 2.0, 3.0]]}, "ren_avail_mw"),
        ({"wind_mw": 1.0}, "wind_mw"),
        ({"storage_charge_mw": np.ones((1, 5))}, "load_mw"),
    ],
)
def test_columns_of_a_wrong_shape_or_name_are_refused(given: dict[str, Any], field: str) -> None:
    with pytest.raises(FieldError) as refused:
        network(**given)
    assert refused.value.field == field
