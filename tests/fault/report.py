"""For people, on standard error: progress, and all results as a table."""

import sys

from rich.console import Console
from rich.table import Table

from tests.fault.scenario import Result

CONSOLE = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 150)


def say(text: str) -> None:
    """A line of progress."""
    CONSOLE.print(text, markup=False, soft_wrap=True)
    sys.stderr.flush()


def show(results: list[Result]) -> None:
    """All results, and how many faults were injected."""
    table = Table(title="lost means: and not reported as lost", title_style="dim")
    for heading in ("scenario", "", "recovery p50 / p95"):
        table.add_column(heading)
    for heading in ("runs", "faults", "rows", "lost", "doubled", "mismatched", "dead letters"):
        table.add_column(heading, justify="right")
    for result in results:
        if result.skipped:
            table.add_row(result.scenario.name, "skipped", result.skipped)
            continue
        median_s, slowest_s = result.recovery_s(0.5), result.recovery_s(0.95)
        recovery = "" if median_s is None else f"{median_s:.1f} / {slowest_s:.1f} s"
        if result.scenario.limit_s is not None:
            recovery += f" (limit {result.scenario.limit_s:.0f})"
        counts = [result.total(name) for name in ("rows", "lost", "doubled", "mismatched")]
        cells = [len(result.runs), result.faults, *counts]
        letters = f"{result.total('dead_letters')} of {result.total('dead_letters_expected')}"
        verdict = "ok" if result.ok else "FAILED"
        shown = [f"{cell:,}" for cell in cells]
        table.add_row(result.scenario.name, verdict, recovery, *shown, letters)
    CONSOLE.print(table)
    say(f"{sum(result.faults for result in results):,} faults injected")
