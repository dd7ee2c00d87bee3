"""An independent statement of one site's balance as a sparse linear programme, solved by HiGHS.

Written from the model in words for tests and benchmarks; shares no code with the kernel. Variables
step by step: import, export, ren, shed, charge, discharge, soc, flex, then the units; unmet last.
"""

from typing import Any

import highspy
import numpy as np

from kernels.balance.sites import Sites

F64 = np.ndarray[Any, np.dtype[np.float64]]


class SiteProgramme:
    """minimise cost.x, A x = rhs, lower <= x <= upper; A by columns (start, index, value)."""

    shed = 3  # its place among a step's variables

    def __init__(self, sites: Sites, row: int) -> None:
        T, K = sites.load_mw.shape[1], sites.supply_cap_mw.shape[1]
        dt, wide = sites.dt_h[row], 8 + K
        self.steps, self.wide = T, wide
        carbon, voll = sites.carbon_price[row], sites.voll[row]
        self.voll = float(voll)
        cost, lower, upper = np.zeros((T, wide)), np.zeros((T, wide)), np.zeros((T, wide))
        cost[:, 0] = dt * (sites.import_price[row] + carbon * sites.grid_ci[row])
        cost[:, 1], cost[:, 3] = -dt * sites.export_price[row], dt * voll
        cost[:, 5] = dt * sites.storage_wear[row, 0]
        cost[-1, 6] = -sites.storage_terminal_value[row, 0]
        cost[:, 8:] = dt * (sites.supply_cost[row] + carbon * sites.supply_ci[row])
        for place, limit, reserve in (
            (0, sites.import_max_mw[row], sites.reserve_up_mw[row]),
            (1, sites.export_max_mw[row], sites.reserve_down_mw[row]),
        ):
            upper[:, place] = [max(0.0, a - b) for a, b in zip(limit, reserve, strict=True)]
        upper[:, 2], upper[:, 3] = sites.ren_avail_mw[row], sites.load_mw[row]
        upper[:, 4] = sites.storage_charge_mw[row, 0]
        upper[:, 5] = sites.storage_discharge_mw[row, 0]
        upper[:, 7], upper[:, 8:] = sites.flex_max_mw[row, 0], sites.supply_cap_mw[row]
        low, high = sites.storage_soc_min_mwh[row, 0], sites.storage_soc_max_mwh[row, 0]
        retain = sites.storage_retain[row, 0]
        soc0 = min(max(sites.storage_soc0_mwh[row, 0], low), high)
        lower[:, 6], upper[:, 6] = min(low, soc0 * retain**T), high
        asked = sites.flex_energy_mwh[row, 0]
        self.cost = np.append(cost.ravel(), voll)
        self.lower, self.upper = np.append(lower.ravel(), 0.0), np.append(upper.ravel(), asked)
        self.rhs = np.zeros(2 * T + 1)
        self.rhs[:T], self.rhs[T], self.rhs[2 * T] = sites.load_mw[row], retain * soc0, asked
        eta_c, eta_d = sites.storage_eta_c[row, 0], sites.storage_eta_d[row, 0]
        # two entries a column at most
        index, value = np.full((T, wide, 2), -1), np.zeros((T, wide, 2))
        step = np.arange(T)
        index[:, [0, 1, 2, 3, 4, 5, 7], 0] = step[:, None]
        index[:, 8:, 0] = step[:, None]
        value[:, :, 0] = [1, -1, 1, 1, -1, 1, 1, -1] + [1] * K
        index[:, 4, 1], value[:, 4, 1] = T + step, -dt * eta_c
        index[:, 5, 1], value[:, 5, 1] = T + step, dt / eta_d
        index[:, 6, 0] = T + step
        index[:-1, 6, 1], value[:-1, 6, 1] = T + step[1:], -retain
        index[:, 7, 1], value[:, 7, 1] = 2 * T, dt
        present = index.ravel() >= 0
        counts = np.append((index >= 0).sum(axis=2).ravel(), 1)
        self.start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        self.index = np.append(index.ravel()[present], 2 * T).astype(np.int32)
        self.value = np.append(value.ravel()[present], 1.0)

    def broken(self, x: F64) -> float:
        """What the rows and bounds that x breaks may have saved, at no more than voll for each."""
        rows = -self.rhs
        columns = np.repeat(np.arange(len(x)), np.diff(self.start))
        np.add.at(rows, self.index, self.value * x[columns])
        outside = np.maximum(self.lower - x, 0.0) + np.maximum(x - self.upper, 0.0)
        price = max(float(np.abs(self.cost).max()), self.voll)
        return price * float(np.abs(rows).sum() + outside.sum())

    def model(self) -> "highspy.HighsLp":
        """As HiGHS takes it."""
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = len(self.cost), len(self.rhs)
        model.col_cost_, model.col_lower_, model.col_upper_ = self.cost, self.lower, self.upper
        model.row_lower_ = model.row_upper_ = self.rhs
        matrix = model.a_matrix_
        matrix.format_ = highspy.MatrixFormat.kColwise
        matrix.num_col_, matrix.num_row_ = len(self.cost), len(self.rhs)
        matrix.start_, matrix.index_, matrix.value_ = self.start, self.index, self.value
        return model


def solver(presolve: str = "off", tolerance: float = 1e-9) -> "highspy.Highs":
    """HiGHS's simplex, one thread."""
    made = highspy.Highs()
    for option, value in (
        ("output_flag", False),
        ("threads", 1),
        ("solver", "simplex"),
        ("presolve", presolve),
        ("primal_feasibility_tolerance", tolerance),
        ("dual_feasibility_tolerance", tolerance),
    ):
        made.setOptionValue(option, value)
    return made


class SiteOracle:
    """The least cost of one site; `optimal` is False where HiGHS says it found none."""

    def __init__(self, sites: Sites, row: int, presolve: str = "off") -> None:
        programme = SiteProgramme(sites, row)
        highs = solver(presolve)
        highs.passModel(programme.model())
        highs.run()
        self.optimal = highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
        self.x = np.array(highs.getSolution().col_value)
        self.terms = programme.cost * self.x if len(self.x) else np.zeros(1)
        self.objective = float(self.terms.sum())
        self.scale = max(1.0, float(np.abs(self.terms).sum()))
        self.broken = programme.broken(self.x) if len(self.x) else 0.0
