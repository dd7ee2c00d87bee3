"""`gridloom replay`: a data set as input of the pipeline."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.console import JsonOption, note, print_json, utc

if TYPE_CHECKING:
    from schemas.registry import AnyEntry
    from streams.feeds import Event, Feed
    from streams.settings import Settings


def register(app: typer.Typer) -> None:
    app.command("replay")(replay)


def replay(
    path: Annotated[Path, typer.Argument(help="The data set's folder, or the one above it.")],
    name: Annotated[
        str, typer.Option("--as", help="rts-gmlc, citylearn, openb, gaia or eight-hubs.")
    ],
    speed: Annotated[
        float, typer.Option(min=0, help="Event time over clock time; 0 = as fast as it goes.")
    ] = 0.0,
    days: Annotated[int, typer.Option(min=0, help="So many days; 0 = the feed's default.")] = 0,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A feed's own option, e.g. start_day=180."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Play a data set into telemetry.in and market.in, in event time, registry entries first.

    Playing it again is safe: what was accepted before counts as a duplicate. The agents run
    elsewhere (`gridloom worker`).

    Example: `gridloom replay data --as rts-gmlc --days 7`
    """
    from streams.cli.connection import connected_settings, run
    from streams.feeds import open_feed

    options = parse_options(option or []) | ({"days": days} if days else {})
    feed = Timed(open_feed(name, path, **options))
    note(f"{feed.name}: {feed.label}")
    rows, seconds = run(_play(connected_settings(), feed, speed))
    if as_json:
        print_json({"feed": name, "rows": rows, "seconds": round(seconds, 3)})
    else:
        note(f"{rows:,} rows in {seconds:.1f} s ({rows / max(seconds, 1e-9):,.0f} rows/s)")


def parse_options(options: list[str]) -> dict[str, int | str]:
    """NAME=VALUE by name; a value of digits is a number."""
    from schemas.errors import ConfigError

    parsed: dict[str, int | str] = {}
    for given in options:
        name, equals, setting = given.partition("=")
        if not equals or not name:
            raise ConfigError(f"--option {given!r} is not NAME=VALUE", "as in start_day=180")
        parsed[name] = int(setting) if setting.isdecimal() else setting
    return parsed


class Timed:
    """A feed that knows the event time it has come to."""

    def __init__(self, feed: "Feed") -> None:
        self._feed = feed
        self.name, self.label = feed.name, feed.label
        self.at_ms = 0

    @property
    def readings(self) -> int:
        return self._feed.readings

    def count(self) -> int:
        return self._feed.count()

    def entries(self) -> "list[AnyEntry]":
        return self._feed.entries()

    def events(self) -> "Iterator[Event]":
        for event in self._feed.events():
            self.at_ms = event.timestamp_ms
            yield event


async def _play(settings: "Settings", feed: Timed, speed: float) -> tuple[int, float]:
    """Rows sent and the seconds it took; a progress bar on standard error meanwhile."""
    import time

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from streams.feeds.player import play

    columns = (
        BarColumn(),
        TextColumn("{task.completed:,.0f} rows"),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[at]}"),
        TimeRemainingColumn(),
    )
    began_s = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=feed.count(), rate="", at="")

        def show(rows: int) -> None:
            rate = rows / max(time.monotonic() - began_s, 1e-9)
            progress.update(bar, completed=rows, rate=f"{rate:,.0f} rows/s", at=utc(feed.at_ms))

        rows = await play(feed, settings, speed=speed, on_progress=show)
    return rows, time.monotonic() - began_s
