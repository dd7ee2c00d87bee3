"""A scenario: a fault, its register, and the line that its runs add up to."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.fault.feed import DEVICES, EVEN, Mix, Source

SESSION_S = 6.0  # of a worker or bridge (settings.session_ms)
BROKER_SESSION_S = 4.0  # of a broker of three (cluster.py)
PROCESS_LIMIT_S = SESSION_S + 3.0
_FEW = 5  # of fewer recoveries a 95th percentile says nothing: it is reported, not judged
BROKER_LIMIT_S = BROKER_SESSION_S + 5.0

Act = Callable[[Any], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is done, on what ground, how often, and how soon rows must flow again.

    runs: of the full suite; the quick one does the `quick` ones once. limit_s: 95th percentile of
    the recovery, None where it is only reported. needs: says why it cannot run here, or "".
    """

    name: str
    about: str
    act: Act
    runs: int
    quick: bool = False
    ground: str = "plain"
    limit_s: float | None = None
    mix: Mix = EVEN
    source: Source = DEVICES
    needs: Callable[[], str] = lambda: ""


SCENARIOS: dict[str, Scenario] = {}


def scenario(name: str, about: str, runs: int, **options: Any) -> Callable[[Act], Act]:
    """Register a scenario under its name."""

    def register(act: Act) -> Act:
        assert name not in SCENARIOS, f"scenario {name} is registered twice"
        SCENARIOS[name] = Scenario(name=name, about=about, act=act, runs=runs, **options)
        return act

    return register


@dataclass
class Run:
    """One run: the verdict's counts, the recoveries, how many faults; or how it failed.

    restarts: processes that ended by themselves and were started again, no fault of ours.
    """

    verdict: dict[str, int] = field(default_factory=dict)
    recoveries_s: list[float] = field(default_factory=list)
    faults: int = 0
    restarts: int = 0
    failure: str = ""


@dataclass
class Result:
    """The runs of a scenario, or why there are none."""

    scenario: Scenario
    runs: list[Run] = field(default_factory=list)
    skipped: str = ""

    def total(self, name: str) -> int:
        return sum(run.verdict.get(name, 0) for run in self.runs)

    @property
    def faults(self) -> int:
        return sum(run.faults for run in self.runs)

    def recovery_s(self, share: float) -> float | None:
        """The recovery that so large a share of all does not exceed; None without any."""
        times = sorted(s for run in self.runs for s in run.recoveries_s)
        return round(times[math.ceil(share * len(times)) - 1], 2) if times else None

    @property
    def is_soon(self) -> bool:
        """Whether rows flowed again within the limit, where there is one."""
        slowest_s, limit_s = self.recovery_s(0.95), self.scenario.limit_s
        if limit_s is None or slowest_s is None:
            return limit_s is None
        return slowest_s <= limit_s or sum(len(run.recoveries_s) for run in self.runs) < _FEW

    @property
    def ok(self) -> bool | None:
        """Whether every promise was kept; None where nothing was run."""
        if self.skipped:
            return None
        return (
            bool(self.runs)
            and not any(run.failure for run in self.runs)
            and not any(map(self.total, ("lost", "doubled", "mismatched")))
            and self.total("rows") > 0
            and self.total("expected_lost") == self.total("reported_lost")
            and self.total("dead_letters_expected") == self.total("dead_letters")
            and self.is_soon
        )

    def line(self) -> str:
        """The result as one line of JSON, without the line's end."""
        counts = ("rows", "lost", "doubled", "mismatched", "expected_lost", "reported_lost")
        counts += ("dead_letters_expected", "dead_letters")
        fields: dict[str, Any] = {"scenario": self.scenario.name, "runs": len(self.runs)}
        fields |= {name: self.total(name) for name in counts}
        fields |= {"recovery_s_p50": self.recovery_s(0.5), "recovery_s_p95": self.recovery_s(0.95)}
        fields["ok"] = self.ok
        if self.skipped:
            fields["skipped"] = self.skipped
        return orjson.dumps(fields).decode()
