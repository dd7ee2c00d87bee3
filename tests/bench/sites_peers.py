"""Solvers and a model tool on the same sites: processor seconds per solve, median.

Each takes `agree(row, objective, tolerance)`, which refuses another problem's cost.
"""

from collections.abc import Callable
from statistics import median
from time import process_time
from typing import Any

import numpy as np

from kernels.balance import Network, Sites
from kernels.balance.sites_columns import COLUMNS
from tests.bench.peers import balance_solvers
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
        seconds.append(highs_seconds(highs, sites, row))
        agree(row, highs.getObjectiveValue(), 1e-6)
    return median(seconds)


def highs_seconds(highs: Any, sites: Sites, row: int) -> float:
    """CPU seconds of passModel, run and getSolution; the model is built before."""
    model = SiteProgramme(sites, row).model()
    start = process_time()
    highs.passModel(model)
    highs.run()
    highs.getSolution()
    return process_time() - start


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


def pypsa_optimize(sites: Sites, agree: Agree) -> float:
    """PyPSA's optimize with HiGHS, its model's making included, on a network that stands before."""
    import pypsa  # noqa: F401  (said to be missing by who calls)

    seconds = []
    for row in range(min(_ROWS_PYPSA, sites.shape[0])):
        used, cost = balance_solvers.pypsa(_network(sites, row))
        seconds.append(used)
        agree(row, cost, 1e-6)
    return median(seconds)


def _network(sites: Sites, row: int) -> Network:
    """The site as a network of one region; sites of one requirement."""
    assert sites.shape[4] == 1
    whole = {name: float(getattr(sites, name)[row]) for name in ("dt_h", "carbon_price", "voll")}
    rest = {name: getattr(sites, name)[[row]] for name in COLUMNS if name not in whole}
    flex = {"flex_max_mw": rest.pop("flex_max_mw")[:, 0]}
    flex["flex_energy_mwh"] = rest.pop("flex_energy_mwh")[:, 0]
    return Network.of(regions=("site",), **whole, **rest, **flex)


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
