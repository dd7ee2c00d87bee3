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

_DAY_MS = 86_400_000


def register(app: typer.Typer) -> None:
    app.command("replay")(replay)


def replay(
    path: Annotated[Path, typer.Argument(help="The data set's folder.")],
    name: Annotated[
        str, typer.Option("--as", help="rts-gmlc, citylearn, openb, gaia or eight-hubs.")
    ],
    speed: Annotated[
        float, typer.Option(min=0, help="Event time over clock time; 0 = as fast as it goes.")
    ] = 0.0,
    days: Annotated[
        float, typer.Option(min=0, help="Only the first so many days; 0 = all of it.")
    ] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Play a data set into telemetry.in and market.in, in event time, registry entries first.

    Playing it again is safe: what was accepted before counts as a duplicate. The agents run
    elsewhere (`gridloom worker`).

    Example: `gridloom replay data/rts-gmlc --as rts-gmlc --days 7`
    """
    from streams.cli.connection import connected_settings, run
    from streams.feeds import open_feed

    feed = Part(open_feed(name, path), days)
    note(f"{feed.name}: {feed.label}")
    known = connected_settings()
    rows, seconds = run(_play(known, feed, None if days else feed.count(), speed))
    if as_json:
        print_json({"feed": name, "rows": rows, "seconds": round(seconds, 3)})
    else:
        note(f"{rows:,} rows in {seconds:.1f} s ({rows / max(seconds, 1e-9):,.0f} rows/s)")


class Part:
    """The first days of a feed; knows the event time it has come to."""

    def __init__(self, feed: "Feed", days: float = 0.0) -> None:
        self._feed, self._days = feed, days
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
        until_ms = None
        for event in self._feed.events():
            if until_ms is None and self._days:
                until_ms = event.timestamp_ms + int(self._days * _DAY_MS)
            if until_ms is not None and event.timestamp_ms > until_ms:
                return
            self.at_ms = event.timestamp_ms
            yield event


async def _play(
    settings: "Settings", feed: Part, total: int | None, speed: float
) -> tuple[int, float]:
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
        bar = progress.add_task("", total=total, rate="", at="")

        def show(rows: int) -> None:
            rate = rows / max(time.monotonic() - began_s, 1e-9)
            progress.update(bar, completed=rows, rate=f"{rate:,.0f} rows/s", at=utc(feed.at_ms))

        rows = await play(feed, settings, speed=speed, on_progress=show)
    return rows, time.monotonic() - began_s
