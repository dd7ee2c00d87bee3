"""`gridloom demo`: the whole pipeline on this machine, from nothing to a bill."""

import json
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.board import Board
from streams.cli.console import note
from streams.cli.errors import FAILED

if TYPE_CHECKING:
    from streams.demo import Workers
    from streams.feeds.eight_hubs import EightHubs
    from streams.report import Report
    from streams.settings import Settings

_LOOK_FURTHER = (
    "gridloom tail rollups --where level=hub --where register=pue",
    "gridloom tail out.tenant-a-bill",
    "gridloom topics",
    "gridloom dlq list",
    "gridloom doctor",
)


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Stay up after the report, until Ctrl-C.")
    ] = False,
    hours: Annotated[int, typer.Option(min=2, max=24, help="Hours of the day to play.")] = 24,
    seed: Annotated[int, typer.Option(help="Seed of the scenario.")] = 2025,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object.")] = False,
) -> None:
    """Run eight hubs of data centres for a day over a real Kafka, and show what came of it.

    Starts an embedded Kafka (or uses GRIDLOOM_BROKERS with topics of its own), every agent as a
    process, and plays a seeded, synthetic scenario as fast as it goes. Everything is put away at
    the end. Exit code 1 where the report finds a fault.

    Example: `gridloom demo`, `gridloom demo --keep`
    """
    with ExitStack() as up:
        with Board() as board:
            board.step("loading")
            from streams.feeds.eight_hubs import EightHubs

            feed = EightHubs(seed, hours=hours)
            own, running = _bring_up(up, board)
            report = _flow(own, running, feed, board)
        if as_json:
            typer.echo(json.dumps({"scenario": feed.label} | report.as_json()))
        else:
            from streams.cli.closing import show_report

            typer.echo(f"Scenario: {feed.label}")
            show_report(report)
        for problem in report.problems():
            note(f"FAULT: {problem}")
        if keep:
            _stay(own, running)
        elif not as_json:
            _invite("run `gridloom demo --keep`, then in another terminal:")
        note("putting everything away")
    if report.problems():
        raise typer.Exit(FAILED)


def _bring_up(up: ExitStack, board: Board) -> "tuple[Settings, Workers]":
    """Kafka, topics and agents; `up` puts them away, whatever happens from here on."""
    from streams import demo as parts
    from streams.cli.connection import command_settings, run

    parts.interrupt_on_kill()
    board.step("starting Kafka")
    own = up.enter_context(parts.cluster(command_settings(), board.say))
    board.step("creating topics")
    run(parts.prepare(own))
    board.step("starting the agents, a process each")
    running = up.enter_context(parts.workers(own))
    up.callback(parts.no_more_interrupts)
    return own, running


def _flow(own: "Settings", running: "Workers", feed: "EightHubs", board: Board) -> "Report":
    """Play the day, wait until everything is through, and add up."""
    from streams import demo as parts
    from streams.cli.connection import run
    from streams.report import close_report

    board.expect(feed.count())
    board.step("playing a day of eight hubs through the pipeline")
    seconds = run(
        parts.flow(own, feed, running, on_rows=board.rows, on_moment=lambda m: board.lags(m.lags))
    )
    board.step("reading the results from the topics")
    report = run(close_report(own))
    report.seconds = seconds
    return report


def _stay(own: "Settings", running: "Workers") -> None:
    """Until Ctrl-C, or until an agent ends."""
    exports = f"export GRIDLOOM_BROKERS={own.brokers}"
    if own.namespace:
        exports += f" GRIDLOOM_NAMESPACE={own.namespace}"
    _invite(f"in another terminal, `{exports}`, then:")
    note("Ctrl-C ends the demo")
    with suppress(KeyboardInterrupt):
        while True:
            running.check()
            time.sleep(1)


def _invite(where: str) -> None:
    note(f"\nLook further: {where}")
    for command in _LOOK_FURTHER:
        note(f"  {command}")
