"""A case: one measured figure of ours beside the peers' figures; and the register of suites."""

import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import orjson
from rich.console import Console
from rich.table import Table

CONSOLE = Console(stderr=True, highlight=False)  # standard output is for the JSON lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One figure. A peer that could not be run is None; `better` says which way is good.

    n: size of the input behind the figure; note: what is not the same for ours and the peers.
    """

    suite: str
    case: str
    metric: str
    value: float
    unit: str
    peers: Mapping[str, float | None]
    better: Literal["higher", "lower"] = "higher"
    n: int | None = None
    note: str = ""

    @property
    def best_peer(self) -> str | None:
        """The peer with the best figure; None where none was run."""
        run = {name: value for name, value in self.peers.items() if value is not None}
        if not run:
            return None
        return (max if self.better == "higher" else min)(run, key=run.__getitem__)

    @property
    def ratio(self) -> float | None:
        """How many times better than the best peer: above 1 = ours is better.

        None without a peer, or where the quotient has no value (division by zero).
        """
        best = self.peers[self.best_peer] if self.best_peer else None
        if best is None:
            return None
        above, below = (self.value, best) if self.better == "higher" else (best, self.value)
        return above / below if below else None

    def line(self) -> str:
        """The case as one line of JSON, without the line's end."""
        fields = {
            "suite": self.suite,
            "case": self.case,
            "metric": self.metric,
            "value": self.value,
            "unit": self.unit,
            "better": self.better,
            "peers": dict(self.peers),
            "best_peer": self.best_peer,
            "ratio": self.ratio,
            "n": self.n,
            "note": self.note,
            "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        }
        return orjson.dumps(fields).decode()


@dataclass(frozen=True, slots=True)
class Suite:
    """A registered suite; run(quick) yields its cases as they are measured."""

    name: str
    about: str
    run: Callable[[bool], Iterator[Case]]


SUITES: dict[str, Suite] = {}


def suite(
    name: str, about: str
) -> Callable[[Callable[[bool], Iterator[Case]]], Callable[[bool], Iterator[Case]]]:
    """Register a suite under its name, with the line that the list of suites shows."""

    def register(run: Callable[[bool], Iterator[Case]]) -> Callable[[bool], Iterator[Case]]:
        assert name not in SUITES, f"suite {name} is registered twice"
        SUITES[name] = Suite(name, about, run)
        return run

    return register


def say(text: str) -> None:
    """A line of progress, for people."""
    CONSOLE.print(text, markup=False, soft_wrap=True)
    sys.stderr.flush()


def show(cases: list[Case]) -> None:
    """All cases as a table, for people."""
    table = Table(title="ratio above 1 = gridloom is better than the best peer", title_style="dim")
    for heading in ("suite", "case", "metric", "who"):
        table.add_column(heading)
    for heading in ("figure", "ratio"):
        table.add_column(heading, justify="right")
    for case in cases:
        ratio = f"{case.ratio:.2f}" if case.ratio is not None else "-"
        figure = f"{case.value:,.4g}" if case.value < 1000 else f"{case.value:,.0f}"
        table.add_row(
            case.suite, case.case, case.metric, "gridloom", f"{figure} {case.unit}", ratio
        )
        for name, value in case.peers.items():
            shown = "not run" if value is None else f"{value:,.4g}" if value < 1000 else ""
            table.add_row("", "", "", name, shown or f"{value:,.0f} {case.unit}")
        table.add_section()
    CONSOLE.print(table)
