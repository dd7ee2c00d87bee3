"""RTS-GMLC's three areas through a year in rolling days, each day beside HiGHS, some beside PyPSA.

Every day begins with the battery as our plan of the day before left it, for all alike. Ours is the
whole call from the day before; HiGHS's time is its solve alone; PyPSA's is `optimize`, its model
included, solved by HiGHS. CPU seconds of one thread. A cost that differs by more than 1e-6 fails.
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from kernels.balance import Network, balance
from kernels.balance.checks import check
from schemas.errors import GridloomError
from tests.bench.balance_problems import columns_of
from tests.bench.case import Case, say
from tests.bench.peers import balance_solvers as peers
from tests.property.balance_cases import rts

_SAME = 1e-6  # of the cost
_PYPSA_DAYS, _PYPSA_DAYS_QUICK = 26, 3  # a second or more each
_HIGHS, _PYPSA = "HiGHS simplex, no presolve", "PyPSA"


def rts_year(data: Path, days: int) -> Iterator[Case]:
    """One case: ms a day, and how far the costs are apart."""
    whole = rts(data, 0, 24 * days)
    every = days // (_PYPSA_DAYS if days >= 365 else _PYPSA_DAYS_QUICK)
    runs = {_HIGHS: peers.highs({"solver": "simplex", "presolve": "off"})}
    if find_spec("pypsa") is None:
        say("PyPSA is not run: it is not installed; next: pip install 'gridloom[bench]'")
    else:
        runs[_PYPSA] = peers.pypsa
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in runs}
    worst = dict.fromkeys(runs, 0.0)
    soc, last = whole.storage_soc0_mwh, None
    for day in range(days):
        net = _hours(whole, slice(24 * day, 24 * day + 24), soc)
        columns = columns_of(net)
        begun = time.thread_time()
        plan = last = balance(Network.of(**columns), last)  # type: ignore[arg-type]
        ours.append(time.thread_time() - begun)
        for name, solve in runs.items():
            if name == _HIGHS or day % every == 0:
                used, cost = solve(check(net)[0])
                theirs[name].append(used)
                away = abs(cost - plan.objective) / max(1.0, abs(cost))
                worst[name] = max(worst[name], away)
        soc = np.ascontiguousarray(plan.soc_mwh[:, :, -1])
    for name, away in worst.items():
        say(f"RTS-GMLC: {len(theirs[name])} days of {name}, cost at most {away:.1e} apart")
        if away > _SAME:
            raise GridloomError(f"a day of RTS-GMLC costs {away:.1e} more or less by {name}")
    yield Case(
        suite="balance",
        case=f"RTS-GMLC, {days} rolling days",
        metric="time a day",
        value=statistics.median(ours) * 1000,
        unit="ms",
        peers={name: statistics.median(found) * 1000 for name, found in theirs.items()},
        better="lower",
        n=days,
        note="ours from the day before, the whole call; same cost to "
        + ", ".join(f"{worst[name]:.0e} ({name}, {len(theirs[name])} days)" for name in worst),
    )


def _hours(whole: Network, hours: slice, soc0_mwh: np.ndarray) -> Network:
    shape = whole.load_mw.shape
    day = {
        name: np.ascontiguousarray(column[:, hours])
        for name, column in columns_of(whole).items()
        if isinstance(column, np.ndarray) and column.shape == shape
    }
    return replace(whole, storage_soc0_mwh=soc0_mwh, **day)
