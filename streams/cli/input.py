"""A command's input: a file, or standard input for `-`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="A file; - = standard input.")]


def read_bytes(file: str) -> bytes:
    """All of it. Raises ConfigError where it cannot be read."""
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        from schemas.errors import ConfigError

        raise ConfigError(f"cannot read {file}: {error.strerror}", "name a readable file") from None
