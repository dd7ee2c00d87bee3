"""`gridloom tail`: any topic as rows."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.console import JsonOption, note, print_json, print_table, utc

if TYPE_CHECKING:
    from streams.settings import Settings

_POLL_MS = 500
_BEGINNING, _END = "beginning", "end"


def register(app: typer.Typer) -> None:
    app.command("tail")(tail)


def tail(
    topic: Annotated[str, typer.Argument(help="A topic of `gridloom topics`, or out.CONTRACT.")],
    start: Annotated[
        str,
        typer.Option("--from", help="beginning, end, or -N: the last N messages a partition."),
    ] = "-10",
    count: Annotated[int, typer.Option(min=0, help="Stop after so many rows; 0 = never.")] = 0,
    where: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN=VALUE", help="Only such rows; repeatable.")
    ] = None,
    columns: Annotated[str, typer.Option(help="Only these columns, joined by commas.")] = "",
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for more at the end.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Show a topic's rows, Arrow batches decoded, and follow it until Ctrl-C.

    Example: `gridloom tail rollups --where level=hub --where register=pue`
    """
    from streams.cli.connection import connected_settings, run
    from streams.rows import check_name

    check_name(topic)
    conditions = parse_where(topic, where or [])
    chosen = [name.strip() for name in columns.split(",") if name.strip()]
    _check_columns(topic, [*conditions, *chosen])
    back = parse_from(start)
    run(_show(connected_settings(), topic, back, count, follow, conditions, chosen, as_json))


def parse_from(start: str) -> int | None:
    """Messages back from the end: None = from the beginning, 0 = from the end."""
    from schemas.errors import ConfigError

    if start == _BEGINNING:
        return None
    if start == _END:
        return 0
    if start.startswith("-") and start[1:].isdigit():
        return int(start[1:])
    raise ConfigError(f"--from {start!r} is not a place", f"use {_BEGINNING}, {_END} or -N")


def parse_where(topic: str, conditions: list[str]) -> dict[str, str]:
    """COLUMN=VALUE options by column."""
    from schemas.errors import ConfigError

    parsed = {}
    for condition in conditions:
        column, equals, wanted = condition.partition("=")
        if not equals:
            raise ConfigError(f"--where {condition!r} has no '='", f"as in `{topic} --where id=h1`")
        parsed[column] = wanted
    return parsed


def _check_columns(topic: str, names: list[str]) -> None:
    from schemas import TOPICS
    from schemas.errors import ConfigError

    known = TOPICS.get(topic)
    if known is None or known.form == "json":
        return  # a contract's columns, or whatever was sent
    unknown = [name for name in names if name not in known.by_name]
    if unknown:
        raise ConfigError(
            f"{topic} has no column {', '.join(unknown)}", f"choose from {', '.join(known.by_name)}"
        )


def holds(row: dict[str, Any], conditions: dict[str, str]) -> bool:
    """Whether the row's columns read as asked."""
    return all(name in row and _text(row[name]) == wanted for name, wanted in conditions.items())


def select(row: dict[str, Any], chosen: list[str]) -> dict[str, Any]:
    """The chosen columns of a row, null where it has none; all where none is chosen."""
    return {name: row.get(name) for name in chosen} if chosen else row


def _text(cell: Any) -> str:
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


async def _show(
    settings: "Settings",
    topic: str,
    back: int | None,
    count: int,
    follow: bool,
    conditions: dict[str, str],
    chosen: list[str],
    as_json: bool,
) -> None:
    shown = 0
    async with aclosing(_batches(settings, topic, back, follow)) as batches:
        async for rows in batches:
            fitting = [select(row, chosen) for row in rows if holds(row, conditions)]
            fitting = fitting[: count - shown] if count else fitting
            shown += len(fitting)
            if as_json:
                for row in fitting:
                    print_json(row)
            elif fitting:
                show_rows(fitting)
            if count and shown >= count:
                return
    if not shown:
        note(f"{topic}: no row" + (" that fits" if conditions else ""))


_DURATIONS_MS = ("duration_ms", "rtt_ms", "offset_ms", "max_age_ms", "max_ahead_ms")


def show_rows(rows: list[dict[str, Any]]) -> None:
    """A table of the columns that any of the rows has; times in UTC."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(name, row.get(name)) for name in names] for row in rows]
    print_table("", names, cells)


def _cell(name: str, cell: Any) -> Any:
    if name.endswith("_ms") and isinstance(cell, int) and not name.endswith(_DURATIONS_MS):
        return utc(cell)
    if isinstance(cell, bytes):
        return f"{len(cell)} bytes"
    return cell


async def _batches(
    settings: "Settings", name: str, back: int | None, follow: bool
) -> AsyncGenerator[list[dict[str, Any]], None]:
    """The rows of each poll; a message that cannot be read is noted and passed over."""
    from aiokafka import TopicPartition

    from schemas.codec import header_map
    from schemas.errors import DecodeError
    from streams.cli.connection import require_topics
    from streams.client import consumer
    from streams.rows import rows_of

    topic = settings.topic(name)
    partitions = (await require_topics(settings, topic))[topic]
    tps = [TopicPartition(topic, partition) for partition in sorted(partitions)]
    async with consumer(settings) as client:
        client.assign(tps)
        begin, end = await client.beginning_offsets(tps), await client.end_offsets(tps)
        for tp in tps:
            client.seek(tp, begin[tp] if back is None else max(begin[tp], end[tp] - back))
        left = set(tps)
        while True:
            if not follow:
                left = {tp for tp in left if await client.position(tp) < end[tp]}
                if not left:
                    return
            rows: list[dict[str, Any]] = []
            for records in (await client.getmany(*left, timeout_ms=_POLL_MS)).values():
                for record in records:
                    try:
                        rows += rows_of(name, record.value, header_map(record.headers))
                    except DecodeError as error:
                        note(f"partition {record.partition} offset {record.offset}: {error}")
            if rows:
                yield rows
