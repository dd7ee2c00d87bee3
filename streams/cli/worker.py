"""`gridloom worker`: run agents."""

import os
import signal
import sys
import threading
import time
from typing import Annotated

import typer

_POLL_S = 0.5
_GRACE_S = 10.0  # to save and leave after the parent has ended


def register(app: typer.Typer) -> None:
    app.command("worker")(worker)


def worker(
    agents: Annotated[
        str, typer.Option(help="Names joined by commas, e.g. ingest,meter. Default: all.")
    ] = "",
    parent: Annotated[int, typer.Option(hidden=True, help="End with this process.")] = 0,
) -> None:
    """Run agents, a process each, until SIGTERM or Ctrl-C; each ends with its state saved.

    Any number of workers on any number of hosts share the work by Kafka partitions.

    Example: `gridloom worker --agents meter,rollup`
    """
    from streams import worker as workers

    if parent:
        workers.die_with(parent)
        threading.Thread(target=_end_without, args=(parent,), daemon=True).start()
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # stdout is the parent's, for its data
    from streams.cli.connection import connected_settings, require_broker, run

    known = connected_settings()
    import streams.agents  # noqa: F401  (registers the stages)

    chosen = [name.strip() for name in agents.split(",") if name.strip()]
    unknown = [name for name in chosen if name not in workers.agent_names()]
    if unknown:
        from schemas import ConfigError

        raise ConfigError(
            f"no agent {', '.join(unknown)}", f"choose from {', '.join(workers.agent_names())}"
        )
    if not parent:  # which has asked already
        run(require_broker(known))
    raise typer.Exit(workers.run_agents(chosen or workers.agent_names(), known))


def _end_without(parent: int) -> None:
    """End for certain when the parent is gone: its broker may be too, and an end waits for it."""
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    time.sleep(_GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)
