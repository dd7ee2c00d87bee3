"""`gridloom produce`: events from a file or a pipe into an input topic."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.console import note
from streams.cli.input import FileArgument

if TYPE_CHECKING:
    from schemas import Topic
    from streams.settings import Settings

_LINGER_MS = 20


def register(app: typer.Typer) -> None:
    app.command("produce")(produce)


def produce(
    topic: Annotated[str, typer.Argument(help="telemetry.in or market.in")],
    file: FileArgument = "-",
    batch: Annotated[int, typer.Option(min=1, help="Events a message (NDJSON).")] = 1,
    now: Annotated[
        bool, typer.Option("--now", help="Receipt is now, not the event's own time.")
    ] = False,
) -> None:
    """Send JSON lines, one event a line, as a device or an operator would.

    A message's timestamp (its receipt) is its latest event's end_ms, else start_ms, so that old
    data is received in its own time. Lines go as they are: what is wrong with them is for ingest
    to say (`gridloom dlq list`).

    Example: `gridloom produce telemetry.in readings.ndjson --batch 100`
    """
    from schemas import TOPICS
    from schemas.errors import ConfigError
    from streams.cli.connection import connected_settings, run

    if topic not in TOPICS or "ingest" not in TOPICS[topic].read_by or topic == "registry":
        raise ConfigError(
            f"{topic!r} is not an input topic",
            "produce to telemetry.in or market.in; entries: `gridloom registry apply`",
        )
    known = connected_settings()
    with _lines(file) as lines:
        packed = messages_of(TOPICS[topic], lines, batch, now)
        sent, messages = run(_send(known, topic, packed))
    note(f"{sent} events in {messages} messages sent to {topic}")


@dataclass(slots=True)
class Message:
    """Lines for one partition; received_ms is the latest event time among them."""

    partition: int
    lines: list[bytes] = field(default_factory=list)
    received_ms: int = 0


def messages_of(
    topic: "Topic", lines: Iterable[bytes], size: int, now: bool = False
) -> Iterator[Message]:
    """Lines packed `size` a message, a meter (or a domain) always in the same partition.

    A line without a readable time is received with the line before it.
    """
    import orjson

    from schemas import partition_of

    placed_by = "domain" if topic.name == "market.in" else "meter_id"
    opened: dict[int, Message] = {}
    at_ms = time.time_ns() // 1_000_000
    for line in lines:
        if not line.strip():
            continue
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            event = None
        fields: dict[str, Any] = event if isinstance(event, dict) else {}
        at_ms = time.time_ns() // 1_000_000 if now else event_ms(fields, at_ms)
        partition = partition_of(str(fields.get(placed_by, "")), topic.partitions)
        message = opened.setdefault(partition, Message(partition))
        message.lines.append(line.strip())
        message.received_ms = max(message.received_ms, at_ms)
        if len(message.lines) >= size:
            yield opened.pop(partition)
    yield from opened.values()


def event_ms(fields: dict[str, Any], default_ms: int) -> int:
    """end_ms, else start_ms, where that is a time Kafka can hold."""
    for name in ("end_ms", "start_ms"):
        at_ms = fields.get(name)
        if type(at_ms) is int and 0 <= at_ms < 2**63:
            return at_ms
    return default_ms


@contextmanager
def _lines(file: str) -> Iterator[Iterable[bytes]]:
    if file == "-":
        yield sys.stdin.buffer
        return
    from schemas.errors import ConfigError

    try:
        with Path(file).open("rb") as opened:
            yield opened
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}", "name a readable file") from None


async def _send(settings: "Settings", name: str, messages: Iterable[Message]) -> tuple[int, int]:
    """Send all and wait until they are durable; (events, messages)."""
    from schemas.codec import JSON, NDJSON
    from streams.cli.connection import require_topics
    from streams.client import producer

    topic = settings.topic(name)
    await require_topics(settings, topic)
    events = count = 0
    async with producer(settings, linger_ms=_LINGER_MS) as client:
        for message in messages:
            content_type = JSON if len(message.lines) == 1 else NDJSON
            await client.send(
                topic,
                b"\n".join(message.lines),
                partition=message.partition,
                timestamp_ms=message.received_ms,
                headers=[("content-type", content_type.encode())],
            )
            events += len(message.lines)
            count += 1
        await client.flush()
    return events, count
