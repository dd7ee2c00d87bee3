"""The programme solved by HiGHS's dual simplex: a vertex, so bounds hold exactly. Deterministic."""

import ctypes
import os
import sys

import highspy
import numpy as np

from kernels.balance.columns import F64, Network, Prices
from kernels.balance.invariants import Plan
from kernels.balance.layout import Programme, places, programme
from schemas.errors import GridloomError

_TOLERANCE = 1e-9


def _spend_the_banner() -> None:
    """HiGHS writes a banner to file descriptor 1 when a process makes its first solver.

    No option turns it off (seen in 1.16), and standard output is for results; so the first solver
    is made here, at import, with the descriptor pointed elsewhere.
    """
    if sys.stdout is not None:
        sys.stdout.flush()
    libc = ctypes.CDLL(None)
    libc.fflush(None)
    try:
        kept = os.dup(1)
    except OSError:  # standard output is closed: nothing to keep clean
        highspy.Highs()
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        highspy.Highs()
        libc.fflush(None)
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


_spend_the_banner()


def solve(net: Network) -> tuple[Plan, Prices]:
    """Plan by block and prices of a checked network, at a vertex. Raises GridloomError."""
    lp = programme(net)
    x, duals = optimum(lp)
    assert (x >= lp.lower).all(), "a variable is below its bound"
    assert (x <= lp.upper).all(), "a variable is above its bound"
    rows, steps, _, storages, _ = net.shape
    bus, store, flex = np.split(duals, [rows * steps, rows * steps * (1 + storages)])
    prices = Prices(
        bus.reshape(rows, steps) / net.dt_h, -store.reshape(rows, storages, steps), flex
    )
    return {name: x[index] for name, index in places(net).items()}, prices


def optimum(lp: Programme) -> tuple[F64, F64]:
    """(x, row duals) of an optimal vertex. One thread, fixed seed, no clock."""
    if not len(lp.cost):
        return np.zeros(0), np.zeros(len(lp.rhs))
    solver = highspy.Highs()
    for option, value in (
        ("output_flag", False),
        ("threads", 1),
        ("random_seed", 0),
        ("solver", "simplex"),
        ("primal_feasibility_tolerance", _TOLERANCE),
        ("dual_feasibility_tolerance", _TOLERANCE),
    ):
        solver.setOptionValue(option, value)
    solver.passModel(_model(lp))
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        status = solver.modelStatusToString(solver.getModelStatus())
        raise GridloomError(f"the balance was not solved: {status}", "report the tick's inputs")
    solution = solver.getSolution()
    x = np.clip(np.array(solution.col_value), lp.lower, lp.upper)
    return x, np.array(solution.row_dual)


def _model(lp: Programme) -> "highspy.HighsLp":
    order = np.lexsort((lp.row, lp.column))
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(lp.cost), len(lp.rhs)
    model.col_cost_, model.col_lower_, model.col_upper_ = lp.cost, lp.lower, lp.upper
    model.row_lower_ = model.row_upper_ = lp.rhs
    matrix = model.a_matrix_
    matrix.format_ = highspy.MatrixFormat.kColwise
    matrix.num_col_, matrix.num_row_ = len(lp.cost), len(lp.rhs)
    matrix.start_ = np.searchsorted(lp.column[order], np.arange(len(lp.cost) + 1)).astype(np.int32)
    matrix.index_ = lp.row[order].astype(np.int32)
    matrix.value_ = lp.coefficient[order]
    return model
