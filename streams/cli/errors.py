"""How a command ends: a GridloomError is a message and a next step, never a traceback."""

import sys
from typing import Any

import typer
from typer.core import TyperGroup

FAILED = 1
REFUSED = 2
INTERRUPTED = 130


class Commands(TyperGroup):
    """A group of commands whose expected errors end in exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            if _is(error, "schemas.errors", "GridloomError"):
                show(error)
            elif _is(error, "aiokafka.errors", "KafkaError"):
                show_kafka(error)
            else:
                raise
            raise typer.Exit(REFUSED) from None


def _is(error: Exception, module: str, name: str) -> bool:
    """Whether it is of that class; a module not yet imported has raised nothing."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(error, getattr(loaded, name))


def show_kafka(error: Exception) -> None:
    """A client's error that no part of gridloom has named."""
    typer.echo(f"error: Kafka: {type(error).__name__}: {error}", err=True)
    typer.echo("next: `gridloom doctor` checks the broker, the topics and the login", err=True)


def show(error: Any) -> None:
    """Print what happened and what to do next, to standard error."""
    typer.echo(f"error: {error.message}", err=True)
    if error.next_step:
        typer.echo(f"next: {error.next_step}", err=True)
