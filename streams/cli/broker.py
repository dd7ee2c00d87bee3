"""`gridloom broker`: the embedded Apache Kafka that stays."""

from typing import TYPE_CHECKING

import typer

from streams.cli.console import JsonOption, note, print_json

if TYPE_CHECKING:
    from streams.broker import BrokerStatus

broker = typer.Typer(no_args_is_help=True, help="The embedded Apache Kafka: start, stop, status.")


def register(app: typer.Typer) -> None:
    app.add_typer(broker, name="broker")


@broker.command("start")
def start(as_json: JsonOption = False) -> None:
    """Start Apache Kafka on loopback; it stays until `gridloom broker stop`, its data beyond that.

    The first start fetches Kafka (43 MB), once. Commands without GRIDLOOM_BROKERS use it.

    Example: `gridloom broker start && gridloom topics --create`
    """
    from streams.broker import Broker
    from streams.cli.connection import EMBEDDED

    embedded = Broker(EMBEDDED, on_progress=note)
    embedded.start()
    _show(embedded.status(), as_json)


@broker.command("stop")
def stop() -> None:
    """Stop it cleanly; topics and data stay for the next start.

    Example: `gridloom broker stop`
    """
    from streams.broker import Broker
    from streams.cli.connection import EMBEDDED

    embedded = Broker(EMBEDDED)
    if not embedded.status().running:
        note("the embedded broker does not run")
        return
    embedded.stop()
    note("stopped")


@broker.command("status")
def status(as_json: JsonOption = False) -> None:
    """Say whether it runs, where it listens and where its data and log are. Exit code 1 if not.

    Example: `gridloom broker status --json`
    """
    from streams.broker import Broker
    from streams.cli.connection import EMBEDDED

    found = Broker(EMBEDDED).status()
    _show(found, as_json)
    if not found.running:
        raise typer.Exit(1)


def _show(status: "BrokerStatus", as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "running": status.running,
                "brokers": status.bootstrap,
                "pid": status.pid,
                "version": status.version,
                "folder": str(status.folder),
                "log": str(status.log_path),
            }
        )
        return
    if not status.running:
        typer.echo("not running; `gridloom broker start`")
        return
    typer.echo(f"Apache Kafka {status.version} runs at {status.bootstrap} (pid {status.pid})")
    typer.echo(f"data {status.folder}, log {status.log_path}")
    typer.echo(f"for other programs: export GRIDLOOM_BROKERS={status.bootstrap}")
