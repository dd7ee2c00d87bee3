"""What a command prints: data on standard output, everything else on standard error."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

_PIPE_WIDTH = 4_000  # no terminal, no wrapping: a line a row

JsonOption = Annotated[
    bool, typer.Option("--json", help="JSON on standard output, one object a line.")
]


def out() -> Console:
    """The console of a command's data."""
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)


def note(text: str) -> None:
    """A remark to the person at the terminal."""
    typer.echo(text, err=True)


def print_json(row: Any) -> None:
    """One object on one line."""
    from schemas.jsonform import to_json

    typer.echo(to_json(row).decode())


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Rows under headings; numbers stand right."""
    listed = [list(row) for row in rows]
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        cells = [row[index] for row in listed]
        numeric = all(isinstance(c, int | float) for c in cells if c not in ("", None))
        table.add_column(column, justify="right" if numeric and cells else "left")
    for row in listed:
        table.add_row(*(str("" if cell is None else cell) for cell in row))
    out().print(table, markup=False) if not listed else out().print(table)


def utc(at_ms: int) -> str:
    """Event time for people: 2026-01-31 12:15:00 (UTC), with milliseconds where there are any."""
    try:
        moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return str(at_ms)
    precision = "milliseconds" if at_ms % 1000 else "seconds"
    return moment.replace(tzinfo=None).isoformat(" ", precision)
