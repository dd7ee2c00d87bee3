"""What a command prints: data on standard output, everything else on standard error."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

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
        if all(_numeric(row[index]) for row in listed):
            table.add_column(column, justify="right", no_wrap=True)
        else:
            table.add_column(column)
    for row in listed:
        table.add_row(*(Text(str("" if cell is None else cell)) for cell in row))
    out().print(table)


def _numeric(cell: Any) -> bool:
    """Whether it is a number, written for people or not, or nothing."""
    return not str("" if cell is None else cell).strip("-+,.eE0123456789")


def utc(at_ms: int) -> str:
    """Event time for people: 2026-01-31 12:15:00 (UTC), with milliseconds where there are any."""
    try:
        moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return str(at_ms)
    precision = "milliseconds" if at_ms % 1000 else "seconds"
    return moment.replace(tzinfo=None).isoformat(" ", precision)
