"""The peers of the balance suite, on the same linear programme; each times its own solve.

The time is CPU seconds of the calling thread, after the programme stands as arrays: building it is
not counted against a solver. PyPSA builds its own model from its own network, and that is counted,
as its users pay for it.
"""

import logging
import os
import time
import warnings
from collections.abc import Callable
from typing import Any

import highspy
import numpy as np

from kernels.balance import Network
from kernels.balance.layout import Programme, programme

Solved = tuple[float, float]  # (CPU seconds, cost)


def highs(options: dict[str, Any]) -> Callable[[Network], Solved]:
    """HiGHS on a fresh solver."""

    def solve(net: Network) -> Solved:
        lp = programme(net)
        solver, model = _solver(options), _model(lp)
        begun = time.thread_time()
        solver.passModel(model)
        solver.run()
        return time.thread_time() - begun, solver.getObjectiveValue()

    return solve


def highs_warm(first: Network, then: Network) -> Solved:
    """HiGHS's dual simplex from the basis of the solve before."""
    lp, new = programme(first), programme(then)
    solver = _solver({"solver": "simplex", "presolve": "off"})
    solver.passModel(_model(lp))
    solver.run()
    columns = np.arange(len(lp.cost), dtype=np.int32)
    begun = time.thread_time()
    solver.changeColsCost(len(columns), columns, new.cost)
    solver.changeColsBounds(len(columns), columns, new.lower, new.upper)
    for row in np.flatnonzero(new.rhs != lp.rhs):
        solver.changeRowBounds(int(row), float(new.rhs[row]), float(new.rhs[row]))
    solver.run()
    return time.thread_time() - begun, solver.getObjectiveValue()


def piqp(net: Network) -> Solved:
    """PIQP's sparse interior point."""
    import piqp as package
    from scipy import sparse

    lp = programme(net)
    size = len(lp.cost)
    matrix = sparse.csc_matrix((lp.coefficient, (lp.row, lp.column)), (len(lp.rhs), size))
    begun = time.thread_time()
    solver = package.SparseSolver()
    solver.setup(
        sparse.csc_matrix((size, size)), lp.cost, matrix, lp.rhs, None, None, None, lp.lower,
        lp.upper,
    )  # fmt: skip
    solver.solve()
    return time.thread_time() - begun, float(lp.cost @ solver.result.x)


def clarabel(net: Network) -> Solved:
    """CVXPY with CLARABEL."""
    import cvxpy
    from scipy import sparse

    lp = programme(net)
    matrix = sparse.csc_matrix((lp.coefficient, (lp.row, lp.column)), (len(lp.rhs), len(lp.cost)))
    begun = time.thread_time()
    x = cvxpy.Variable(len(lp.cost))
    problem = cvxpy.Problem(
        cvxpy.Minimize(lp.cost @ x), [matrix @ x == lp.rhs, x >= lp.lower, x <= lp.upper]
    )
    problem.solve(solver=cvxpy.CLARABEL)
    return time.thread_time() - begun, float(problem.value)


def pypsa(net: Network) -> Solved:
    """PyPSA's optimize with HiGHS: its own model of the same network, cost of what it models."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    import pypsa as package

    silent = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = _pypsa_network(package, net)
            begun = time.thread_time()
            model.optimize(solver_name="highs", log_to_console=False, output_flag=False)
            return time.thread_time() - begun, float(model.objective)
    finally:
        logging.disable(silent)


def _pypsa_network(package: Any, net: Network) -> Any:
    model = package.Network()
    model.set_snapshots(range(net.shape[1]))
    model.snapshot_weightings = model.snapshot_weightings.astype(float)
    model.snapshot_weightings.loc[:, :] = net.dt_h
    regions, steps, units, _, links = net.shape
    for r in range(regions):
        bus = f"b{r}"
        model.add("Bus", bus)
        model.add("Load", f"load{r}", bus=bus, p_set=net.load_mw[r])
        for k in range(units):
            cost = net.supply_cost[r, k] + net.carbon_price * net.supply_ci[r, k]
            cap = net.supply_cap_mw[r, k]
            model.add("Generator", f"g{r}_{k}", bus=bus, p_nom=cap, marginal_cost=cost)
        price = net.import_price[r] + net.carbon_price * net.grid_ci[r]
        for name, size, given in (
            ("into", net.import_max_mw[r], {"marginal_cost": price}),
            ("ren", net.ren_avail_mw[r], {}),
            ("shed", net.load_mw[r], {"marginal_cost": net.voll}),
        ):
            most = float(max(size.max(), 1e-9))
            model.add(
                "Generator", f"{name}{r}", bus=bus, p_nom=most, p_max_pu=size / most, **given
            )  # fmt: skip
        model.add(
            "Generator", f"out{r}", bus=bus, p_nom=net.export_max_mw[r, 0], p_min_pu=-1,
            p_max_pu=0, marginal_cost=net.export_price[r],
        )  # fmt: skip
        power = net.storage_discharge_mw[r, 0]
        low = net.storage_soc_min_mwh[r, 0] / max(net.storage_soc_max_mwh[r, 0], 1e-9)
        left = np.zeros(steps)  # what remains at the end is worth the terminal value
        left[-1] = -net.storage_terminal_value[r, 0] / net.dt_h
        store = {
            "e_nom": net.storage_soc_max_mwh[r, 0],
            "e_min_pu": low,
            "e_initial": net.storage_retain[r, 0] * net.storage_soc0_mwh[r, 0],
            "standing_loss": 1 - net.storage_retain[r, 0] ** (1 / net.dt_h),
            "marginal_cost_storage": left,
        }
        model.add("Bus", f"s{r}")
        model.add("Store", f"store{r}", bus=f"s{r}", **store)
        model.add(
            "Link", f"charge{r}", bus0=bus, bus1=f"s{r}", p_nom=power,
            efficiency=net.storage_eta_c[r, 0],
        )  # fmt: skip
        model.add(
            "Link", f"discharge{r}", bus0=f"s{r}", bus1=bus, p_nom=power / net.storage_eta_d[r, 0],
            efficiency=net.storage_eta_d[r, 0],
            marginal_cost=net.storage_wear[r, 0] * net.storage_eta_d[r, 0],
        )  # fmt: skip
        ends = np.zeros(steps)
        ends[-1] = 1
        model.add("Bus", f"d{r}")
        model.add("Link", f"flex{r}", bus0=bus, bus1=f"d{r}", p_nom=net.flex_max_mw[r, 0])
        model.add("Store", f"asked{r}", bus=f"d{r}", e_nom=net.flex_energy_mwh[r], e_min_pu=ends)
    for n in range(links):
        model.add(
            "Link", f"link{n}", bus0=f"b{net.link_from[n]}", bus1=f"b{net.link_to[n]}",
            p_nom=net.link_cap_mw[n], efficiency=1 - net.link_loss[n],
            marginal_cost=net.link_tariff[n],
        )  # fmt: skip
    return model


def _solver(options: dict[str, Any]) -> Any:
    solver = highspy.Highs()
    for name, value in {"output_flag": False, "threads": 1, "random_seed": 0, **options}.items():
        solver.setOptionValue(name, value)
    return solver


def _model(lp: Programme) -> Any:
    order = np.lexsort((lp.row, lp.column))
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(lp.cost), len(lp.rhs)
    model.col_cost_, model.col_lower_, model.col_upper_ = lp.cost, lp.lower, lp.upper
    model.row_lower_ = model.row_upper_ = lp.rhs
    matrix = model.a_matrix_
    matrix.format_ = highspy.MatrixFormat.kColwise
    matrix.start_ = np.searchsorted(lp.column[order], np.arange(len(lp.cost) + 1)).astype(np.int32)
    matrix.index_ = lp.row[order].astype(np.int32)
    matrix.value_ = lp.coefficient[order]
    return model
