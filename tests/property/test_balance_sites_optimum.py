"""Every site's plan costs what an independent programme costs, and its bound proves it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from balance_cases import citylearn
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.balance.columns import Status
from kernels.balance.sites import balance_sites
from kernels.balance.sites_columns import (
    COLUMNS,
    EFFICIENCIES,
    EFFICIENCY_MIN,
    HIGHS,
    LIMIT,
    MAY_BE_NEGATIVE,
    PLAN_AXES,
    Sites,
)
from tests.property.sites_cases import random_sites
from tests.property.sites_oracle import SiteOracle

RELATIVE = 1e-9


def agrees(sites: Sites, row: int = 0) -> None:
    """Ours and HiGHS both within 1e-9 of our bound; every row and bound of the model kept."""
    plans, oracle = balance_sites(sites), SiteOracle(sites, row)
    assert oracle.optimal, "the oracle found no optimum"
    # HiGHS keeps its rows to 1e-9, which shedding may be paid for
    slack = RELATIVE * oracle.scale + 1e-9 * sites.voll[row] * sites.shape[1]
    assert abs(plans.objective[row] - oracle.objective) <= slack
    assert -RELATIVE <= plans.gap_rel[row] <= RELATIVE
    assert not plans.flags(row) & (Status.GAP_LOOSE | Status.BAD_INPUT)
    size = max(1.0, float(sites.load_mw[row].max()), float(sites.storage_soc_max_mwh[row].max()))
    assert rows_broken(sites, plans, row) <= 1e-9 * size


def rows_broken(sites: Sites, plans: object, row: int) -> float:
    """The largest violation of a rule of the model, in MW or MWh, from the plan alone."""

    def of(name: str) -> np.ndarray:
        return np.asarray(getattr(plans, name)[row])

    hours, steps = sites.dt_h[row], sites.shape[1]
    comes = of("import_mw") - of("export_mw") + of("ren_used_mw") + of("shed_mw")
    comes = comes + of("supply_mw").sum(axis=0) + of("discharge_mw")[0] - of("charge_mw")[0]
    worst = [np.abs(comes - of("flex_mw")[0] - sites.load_mw[row])]
    low, high = sites.storage_soc_min_mwh[row, 0], sites.storage_soc_max_mwh[row, 0]
    retain = sites.storage_retain[row, 0]
    soc = min(max(sites.storage_soc0_mwh[row, 0], low), high)
    low = min(low, soc * retain**steps)
    for t in range(steps):
        soc = retain * soc + hours * (
            sites.storage_eta_c[row, 0] * of("charge_mw")[0, t]
            - of("discharge_mw")[0, t] / sites.storage_eta_d[row, 0]
        )
        worst.append(np.abs(of("soc_mwh")[0, t : t + 1] - soc))
        soc = of("soc_mwh")[0, t]
    served = hours * of("flex_mw")[0].sum()
    worst.append(np.array([served - sites.flex_energy_mwh[row, 0]]))
    for name, lower, upper in (
        ("import_mw", 0.0, np.maximum(sites.import_max_mw[row] - sites.reserve_up_mw[row], 0)),
        ("export_mw", 0.0, np.maximum(sites.export_max_mw[row] - sites.reserve_down_mw[row], 0)),
        ("ren_used_mw", 0.0, sites.ren_avail_mw[row]),
        ("shed_mw", 0.0, sites.load_mw[row]),
        ("supply_mw", 0.0, sites.supply_cap_mw[row][:, None]),
        ("charge_mw", 0.0, sites.storage_charge_mw[row, 0]),
        ("discharge_mw", 0.0, sites.storage_discharge_mw[row, 0]),
        ("soc_mwh", low, high),
        ("flex_mw", 0.0, sites.flex_max_mw[row]),
    ):
        worst += [lower - of(name), of(name) - upper]
    return max(float(violation.max(initial=0.0)) for violation in worst)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3, 5, 12, 24, 48]), st.integers(0, 4))
def test_any_site_costs_what_an_independent_programme_costs(
    seed: int, steps: int, units: int
) -> None:
    agrees(random_sites(np.random.default_rng(seed), 1, steps, units))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 12, 24]))
def test_a_site_with_negative_prices_costs_what_an_independent_programme_costs(
    seed: int, steps: int
) -> None:
    agrees(random_sites(np.random.default_rng(seed), 1, steps, 2, negative=1.0))


def test_a_batch_of_hard_sites_is_proven_by_programming_alone() -> None:
    """Both signs of every gap; the fallback is for cases rarer than one in a thousand."""
    random = np.random.default_rng(20)
    plans = [balance_sites(random_sites(random, 1000, steps)) for steps in (1, 4, 24, 96)]
    gaps = np.concatenate([p.gap_rel for p in plans])
    assert gaps.min() >= -1e-9
    assert gaps.max() <= 1e-9
    assert sum(int((p.method == HIGHS).sum()) for p in plans) <= 4
    assert not any((p.status & Status.GAP_LOOSE.value).any() for p in plans)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_charge_and_discharge_are_never_both_without_a_flag(seed: int) -> None:
    sites = random_sites(np.random.default_rng(seed), 30, 12, negative=0.5)
    plans = balance_sites(sites)
    both = np.minimum(plans.charge_mw, plans.discharge_mw)[:, 0].max(axis=1)
    flagged = (plans.status & Status.BURN.value) > 0
    limit = np.maximum(sites.storage_charge_mw, sites.storage_discharge_mw)[:, 0]
    assert (both[~flagged] <= 1e-9 * limit[~flagged]).all()
    assert (both[flagged] > 0).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(-6, 6))
def test_cost_scales_with_the_size_of_the_site(seed: int, doublings: int) -> None:
    sites = random_sites(np.random.default_rng(seed), 5, 12)
    power = [name for name in sites.__slots__ if name.endswith(("_mw", "_mwh"))]
    factor = 2.0**doublings
    bigger = replace(sites, **{name: getattr(sites, name) * factor for name in power})
    one, other = balance_sites(sites), balance_sites(bigger)
    room = 1e-9 * np.maximum(1.0, np.abs(one.objective)) * max(1.0, factor)
    assert (np.abs(other.objective - factor * one.objective) <= room).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 24, 96]))
def test_absurd_values_are_finite_and_proven_or_flagged(seed: int, steps: int) -> None:
    random = np.random.default_rng(seed)
    sites = random_sites(random, 10, steps)
    odd = {}
    for name in COLUMNS:
        column = getattr(sites, name).copy()
        values = [0.0, 5e-324, 1e-12, 1e6, LIMIT]
        if name in EFFICIENCIES:
            values = [EFFICIENCY_MIN, 1e-3, 0.5, 1.0]
        elif name in MAY_BE_NEGATIVE:
            values += [-LIMIT, -1e3, -1e-9]
        spoilt = random.random(column.shape) < 0.05
        column[spoilt] = random.choice(values, column.shape)[spoilt]
        odd[name] = column
    plans = balance_sites(replace(sites, **odd))
    for name in PLAN_AXES:
        assert np.isfinite(getattr(plans, name)).all(), name
    flagged = (plans.status & (Status.GAP_LOOSE | Status.BAD_INPUT).value) > 0
    assert (np.abs(plans.gap_rel[~flagged]) <= RELATIVE).all()


@pytest.mark.data
def test_citylearns_buildings_cost_what_an_independent_programme_costs(data_dir: Path) -> None:
    for day in (10, 200):
        sites = of_network(citylearn(data_dir, 24 * day))
        plans = balance_sites(sites)
        for row in range(17):
            oracle = SiteOracle(sites, row)
            assert plans.objective[row] == pytest.approx(oracle.objective, rel=1e-6)
        assert (plans.status == 0).all()


def of_network(net: object) -> Sites:
    """The regions of a network without links, as sites."""
    shared = [name for name in Sites.__slots__ if hasattr(net, name)]
    return Sites.of(**{name: getattr(net, name) for name in shared})
