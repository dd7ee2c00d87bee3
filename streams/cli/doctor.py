"""`gridloom doctor`: what is in order and what is not."""

from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from streams.cli.console import JsonOption, out, print_json
from streams.cli.errors import FAILED

if TYPE_CHECKING:
    from streams.doctor import Check

_STYLES = {"OK": "green", "WARN": "yellow", "FAIL": "bold red"}


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(as_json: JsonOption = False) -> None:
    """Check installation, broker, topics, schema versions, lag, the identity and the clock.

    Each finding that is not OK says what to do. Nothing is written. Exit code 1 when one is FAIL.

    Example: `gridloom doctor --json`
    """
    failed = False
    for check in _checks():
        failed |= check.status == "FAIL"
        if as_json:
            next_step = {"next_step": check.next_step} if check.next_step else {}
            print_json(
                {"check": check.name, "status": check.status, "found": check.found} | next_step
            )
        else:
            _show(check)
    if failed:
        raise typer.Exit(FAILED)


def _checks() -> "list[Check]":
    import streams.agents  # noqa: F401  (registers the stages: their journals are checked too)
    from schemas.errors import GridloomError
    from streams.cli.connection import command_settings, connected_settings, run
    from streams.doctor import cluster_checks, machine_checks
    from streams.doctor.check import fail

    checks = machine_checks(command_settings())
    try:
        checks += run(cluster_checks(connected_settings()))
    except GridloomError as error:
        checks.append(fail("broker", error.message, error.next_step))
    return checks


def _show(check: "Check") -> None:
    style = _STYLES[check.status]
    out().print(f"[{style}]{check.status:4}[/]  {escape(check.name)}: {escape(check.found)}")
    if check.next_step:
        out().print(f"      next: {escape(check.next_step)}")
