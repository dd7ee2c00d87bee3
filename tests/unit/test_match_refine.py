"""Refine: steps of the smoothed dual that keep prices from falling below nothing."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from kernels.match.refine import _not_below_nothing

PRICES = 5


def _best_by_trying_all(matrix: np.ndarray, gradient: np.ndarray, prices: np.ndarray) -> float:
    """The highest g d - d H d / 2 with prices + d >= 0, over all sets of prices held at nothing."""
    best = -np.inf
    for held in product([False, True], repeat=PRICES):
        at = np.array(held)
        step = np.where(at, -prices, 0.0)
        if not at.all():
            free = np.ix_(~at, ~at)
            right = gradient[~at] - matrix[np.ix_(~at, at)] @ step[at]
            step[~at] = np.linalg.solve(matrix[free], right)
        if (prices + step >= -1e-12).all():
            best = max(best, float(gradient @ step - step @ matrix @ step / 2))
    return best


@pytest.mark.parametrize("seed", range(40))
def test_a_step_is_the_best_of_all_that_leave_no_price_below_nothing(seed: int) -> None:
    draw = np.random.default_rng(seed)
    shares = draw.dirichlet(np.ones(PRICES + 1), 30)[:, :PRICES]  # of jobs among sites
    matrix = np.diag(shares.sum(axis=0)) - shares.T @ shares + 0.01 * np.eye(PRICES)
    gradient = draw.normal(size=PRICES)
    prices = np.where(draw.random(PRICES) < 0.3, 0.0, draw.uniform(0, 1, PRICES))
    smooth = SimpleNamespace(engine=SimpleNamespace(solve=np.linalg.solve))
    step = _not_below_nothing(smooth, matrix, gradient, prices)
    assert (prices + step >= 0.0).all()
    reached = float(gradient @ step - step @ matrix @ step / 2)
    assert reached == pytest.approx(_best_by_trying_all(matrix, gradient, prices), abs=1e-9)
