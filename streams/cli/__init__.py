"""The `gridloom` command: one command a file, heavy imports only where a command needs them."""

import typer

from streams.cli import (
    balance,
    broker,
    demo,
    dlq,
    doctor,
    match,
    produce,
    registry,
    replay,
    tail,
    topics,
    worker,
)
from streams.cli.errors import Commands

app = typer.Typer(
    name="gridloom",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
    help="""Meter, balance, match and settle a national computing network, over Kafka.

Start with `gridloom demo`. Settings are environment names GRIDLOOM_...; `gridloom doctor` shows
those in force. Without GRIDLOOM_BROKERS the embedded broker is used (`gridloom broker start`).

Exit codes: 0 done; 1 the check or run failed; 2 a wrong command, setting or input, with the next
step on standard error; 130 interrupted.
""",
)
for command in (
    demo,
    broker,
    topics,
    worker,
    registry,
    produce,
    replay,
    tail,
    dlq,
    match,
    doctor,
    balance,
):
    command.register(app)


def main() -> None:
    """Entry point of the console script."""
    app()
