"""Solvers and a model tool on the same sites: processor seconds per solve, median.

Each takes `agree(row, objective, tolerance)`, which refuses another problem's cost.
"""

from collections.abc import Callable
from statistics import median
from time import process_time
from typing import Any

import numpy as np

from kernels.balance import Sites
from tests.property.sites_oracle import SiteProgramme, solver

Agree = Callable[[int, float, float], None]
_ROWS_SLOW = 10  # cvxpy takes ms, PyPSA a second
_ROWS_PYPSA = 2


def highs_cold(sites: Sites, agree: Agree, presolve: str = "off", kind: str = "simplex") -> float:
    """passModel, run, getSolution of a model that is built before; HiGHS's own tolerances."""
    highs = solver(presolve, 1e-7)
    highs.setOptionValue("solver", kind)
    seconds = []
    for row in range(sites.shape[0]):
        model = SiteProgramme(sites, row).model()
        start = process_time()
        highs.passModel(model)
        highs.run()
        highs.getSolution()
        seconds.append(process_time() - start)
        agree(row, highs.getObjectiveValue(), 1e-6)
    return median(seconds)


def highs_warm(sites: Sites, later: Sites, agree: Agree) -> float:
    """Costs and right-hand sides changed in place, from the last basis."""
    seconds = []
    for row in range(sites.shape[0]):
        highs = solver("off", 1e-7)
        highs.passModel(SiteProgramme(sites, row).model())
        highs.run()
        new = SiteProgramme(later, row)
        columns = np.arange(len(new.cost), dtype=np.int32)
        loads = np.arange(new.steps, dtype=np.int32)  # rows; and what may be shed
        shed = new.wide * loads + new.shed
        low, high, load = new.lower[shed], new.upper[shed], new.rhs[loads]
        start = process_time()
        highs.changeColsCost(len(columns), columns, new.cost)
        highs.changeColsBounds(len(shed), shed, low, high)
        highs.changeRowsBounds(len(loads), loads, load, load)
        highs.run()
        highs.getSolution()
        seconds.append(process_time() - start)
        agree(row, highs.getObjectiveValue(), 1e-6)
    return median(seconds)


def piqp_sparse(sites: Sites, agree: Agree) -> float:
    """PIQP's sparse interior point: setup and solve."""
    import piqp

    seconds = []
    for row in range(sites.shape[0]):
        lp, matrix = _sparse(sites, row)
        none = _zero(len(lp.cost))
        start = process_time()
        made = piqp.SparseSolver()
        made.settings.eps_abs = made.settings.eps_rel = 1e-9
        made.setup(none, lp.cost, matrix, lp.rhs, None, None, None, lp.lower, lp.upper)
        made.solve()
        seconds.append(process_time() - start)
        agree(row, made.result.info.primal_obj, 1e-5)
    return median(seconds)


def cvxpy_clarabel(sites: Sites, agree: Agree) -> float:
    """cvxpy's problem, made and solved by CLARABEL."""
    import cvxpy

    seconds = []
    for row in range(min(_ROWS_SLOW, sites.shape[0])):
        lp, matrix = _sparse(sites, row)
        start = process_time()
        x = cvxpy.Variable(len(lp.cost))
        rules = [matrix @ x == lp.rhs, x >= lp.lower, x <= lp.upper]
        problem = cvxpy.Problem(cvxpy.Minimize(lp.cost @ x), rules)
        problem.solve(solver="CLARABEL")
        seconds.append(process_time() - start)
        agree(row, float(problem.value), 1e-5)
    return median(seconds)


def pypsa_optimize(sites: Sites, _agree: Agree) -> float:
    """PyPSA's optimize with HiGHS, on a network that is made before.

    Its storage unit has no value for what is left and no least state of charge, so its cost is
    another and is not compared; the size of the model is the same.
    """
    import logging

    import pypsa

    logging.disable(logging.WARNING)
    seconds = []
    try:
        for row in range(min(_ROWS_PYPSA, sites.shape[0])):
            network = _pypsa(pypsa, sites, row)
            start = process_time()
            network.optimize(solver_name="highs", log_to_console=False, output_flag=False)
            seconds.append(process_time() - start)
    finally:
        logging.disable(logging.NOTSET)
    return median(seconds)


def _pypsa(pypsa: Any, sites: Sites, row: int) -> Any:
    """One bus; deferrable load as a link into a store that must be full at the end."""
    steps, hours = sites.shape[1], float(sites.dt_h[row])
    n = pypsa.Network()
    n.set_snapshots(range(steps))
    n.snapshot_weightings = n.snapshot_weightings.astype(float)
    n.snapshot_weightings.loc[:, :] = hours
    n.add("Bus", "b")
    n.add("Load", "load", bus="b", p_set=sites.load_mw[row])
    for k, (cap, cost) in enumerate(
        zip(sites.supply_cap_mw[row], sites.supply_cost[row], strict=True)
    ):
        n.add("Generator", f"g{k}", bus="b", p_nom=cap, marginal_cost=cost)
    n.add(
        "Generator",
        "import",
        bus="b",
        p_nom=sites.import_max_mw[row, 0],
        marginal_cost=sites.import_price[row],
    )
    n.add(
        "Generator",
        "export",
        bus="b",
        p_nom=sites.export_max_mw[row, 0],
        p_min_pu=-1,
        p_max_pu=0,
        marginal_cost=sites.export_price[row],
    )
    most = sites.ren_avail_mw[row].max()
    n.add("Generator", "ren", bus="b", p_nom=most, p_max_pu=sites.ren_avail_mw[row] / most)
    n.add(
        "Generator",
        "shed",
        bus="b",
        p_nom=sites.load_mw[row].max(),
        marginal_cost=sites.voll[row],
    )
    n.add(
        "StorageUnit",
        "battery",
        bus="b",
        p_nom=sites.storage_charge_mw[row, 0],
        max_hours=sites.storage_soc_max_mwh[row, 0] / sites.storage_charge_mw[row, 0],
        efficiency_store=sites.storage_eta_c[row, 0],
        efficiency_dispatch=sites.storage_eta_d[row, 0],
        standing_loss=1 - sites.storage_retain[row, 0] ** (1 / hours),
        state_of_charge_initial=sites.storage_soc0_mwh[row, 0],
        marginal_cost=sites.storage_wear[row, 0],
    )
    n.add("Bus", "d")
    n.add("Link", "defer", bus0="b", bus1="d", p_nom=sites.flex_max_mw[row, 0, 0])
    full = np.zeros(steps)
    full[-1] = 1
    n.add("Store", "deferred", bus="d", e_nom=sites.flex_energy_mwh[row, 0], e_min_pu=full)
    return n


def _sparse(sites: Sites, row: int) -> tuple[SiteProgramme, Any]:
    import scipy.sparse

    lp = SiteProgramme(sites, row)
    shape = (len(lp.rhs), len(lp.cost))
    return lp, scipy.sparse.csc_matrix((lp.value, lp.index, lp.start), shape=shape)


def _zero(size: int) -> Any:
    import scipy.sparse

    return scipy.sparse.csc_matrix((size, size))


COLD: dict[str, Callable[[Sites, Agree], float]] = {
    "highs simplex": highs_cold,
    "highs default": lambda sites, agree: highs_cold(sites, agree, "choose", "choose"),
    "piqp sparse": piqp_sparse,
    "cvxpy+clarabel": cvxpy_clarabel,
    "pypsa": pypsa_optimize,
}
