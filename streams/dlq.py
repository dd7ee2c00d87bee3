"""Dead letters: list them once each, and send back to their source topic what ingest refused.

After a crash an agent may write a letter twice; it is one letter: the refusing agent and the source
coordinates name it.
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from schemas import DEAD_LETTER, TOPICS, DecodeError, GridloomError
from schemas.codec import ARROW, CLOUDEVENT, JSON, Headers, header_map
from streams.client import consumer, producer, read_all
from streams.log import log
from streams.rows import rows_of
from streams.settings import Settings
from streams.topics import group_offsets

REPLAYED_FROM = "gl_replayed_from"
_PLACE = ("source_topic", "source_partition", "source_offset", "source_row")
_ENVELOPE = ("specversion", "id", "source", "type")


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter: where it lies in `dead-letter`, and its columns."""

    partition: int
    offset: int
    fields: dict[str, Any]

    @property
    def identity(self) -> tuple[Any, ...]:
        return tuple(self.fields[name] for name in DEAD_LETTER.key)

    @property
    def source(self) -> str:
        """topic/partition/offset/row that it was read from."""
        return "/".join(map(str, self.place))

    @property
    def place(self) -> tuple[Any, ...]:
        return tuple(self.fields[name] for name in _PLACE)

    @property
    def replayable(self) -> bool:
        """Whether the original bytes are those of an input message.

        An agent's letter holds a row that ingest had admitted and resolved: sent again it would be
        another row, with other source coordinates.
        """
        topic = TOPICS.get(self.fields["source_topic"])
        return topic is not None and topic.form == "json" and self.fields["agent"] == "ingest"


def distinct(letters: Iterable[Letter]) -> list[Letter]:
    """Each letter once, as first written, in the order of what was refused.

    The order of `dead-letter` itself says nothing: its partitions are read side by side.
    """
    first: dict[tuple[Any, ...], Letter] = {}
    for letter in letters:
        first.setdefault(letter.identity, letter)
    return sorted(first.values(), key=lambda letter: (letter.place, letter.fields["agent"]))


async def read_letters(settings: Settings, reason: str = "", agent: str = "") -> list[Letter]:
    """The distinct letters of a reason and an agent ("" = any), in the order of `distinct`."""
    found = [
        letter
        async for letter in _letters(settings)
        if reason in ("", letter.fields["reason"]) and agent in ("", letter.fields["agent"])
    ]
    return distinct(found)


async def _letters(settings: Settings) -> AsyncIterator[Letter]:
    async for record in read_all(settings, settings.topic(DEAD_LETTER.name)):
        try:
            rows = rows_of(DEAD_LETTER.name, record.value, header_map(record.headers))
        except DecodeError as error:
            log("dlq").warning("unreadable", offset=record.offset, error=str(error))
            continue
        for fields in rows:
            yield Letter(record.partition, record.offset, fields)


async def letters_at(settings: Settings, partition: int, offset: int) -> list[Letter]:
    """The letters of one message. Raises GridloomError where there is none."""
    tp = TopicPartition(settings.topic(DEAD_LETTER.name), partition)
    async with consumer(settings) as client:
        client.assign([tp])
        begin, end = await client.beginning_offsets([tp]), await client.end_offsets([tp])
        if not begin[tp] <= offset < end[tp]:
            raise GridloomError(
                f"dead-letter partition {partition} has offsets {begin[tp]} to {end[tp] - 1}",
                "`gridloom dlq list` shows partition and offset of each letter",
            )
        client.seek(tp, offset)
        record = await client.getone(tp)
    rows = rows_of(DEAD_LETTER.name, record.value, header_map(record.headers))
    return [Letter(partition, record.offset, fields) for fields in rows]


@dataclass(slots=True)
class Plan:
    """What a replay sends, what it cannot send, and how many an earlier replay saw already."""

    send: list[Letter] = field(default_factory=list)
    skipped: list[Letter] = field(default_factory=list)
    seen_before: int = 0


async def plan_replay(settings: Settings, reason: str = "", agent: str = "") -> Plan:
    """The letters to send again; nothing is sent yet."""
    letters = await read_letters(settings, reason, agent)
    plan = Plan(
        send=[letter for letter in letters if letter.replayable],
        skipped=[letter for letter in letters if not letter.replayable],
    )
    marks = {tp.partition: at for tp, (at, _) in (await _marks(settings)).items()}
    plan.seen_before = sum(letter.offset < marks.get(letter.partition, 0) for letter in plan.send)
    return plan


async def replay(settings: Settings, letters: list[Letter]) -> int:
    """Send the original bytes to their source topic with their own receipt; how many were sent.

    Devices' ids are in the events, so that what was admitted meanwhile counts as a duplicate.
    """
    async with producer(settings, linger_ms=20) as client:
        for letter in letters:
            await client.send(
                settings.topic(letter.fields["source_topic"]),
                letter.fields["original"],
                partition=letter.fields["source_partition"],
                timestamp_ms=letter.fields["received_ms"],
                headers=replay_headers(letter),
            )
        await client.flush()
    await _mark(settings, letters)
    return len(letters)


def replay_headers(letter: Letter) -> Headers:
    """Content type and CloudEvents source as received, and the coordinates of the first try."""
    headers: Headers = [(REPLAYED_FROM, letter.source.encode())]
    if event_source := letter.fields.get("event_source"):  # it is part of a reading's identity
        headers.append(("ce_source", event_source.encode()))
    content_type = letter.fields["content_type"]
    if content_type in (JSON, "") and _is_envelope(letter.fields["original"]):
        content_type = f"{CLOUDEVENT}+json"
    if content_type:
        headers.append(("content-type", content_type.encode()))
    return headers


def _is_envelope(original: bytes) -> bool:
    """Whether the bytes are a CloudEvent in structured mode."""
    try:
        event = orjson.loads(original)
    except orjson.JSONDecodeError:
        return False
    return isinstance(event, dict) and all(name in event for name in _ENVELOPE)


def group(settings: Settings) -> str:
    """The consumer group that remembers how far letters were replayed."""
    return settings.topic("gridloom.dlq")


async def _marks(settings: Settings) -> dict[TopicPartition, tuple[int, str]]:
    return await group_offsets(settings, group(settings))


async def _mark(settings: Settings, letters: list[Letter]) -> None:
    """Remember the last letter sent of each partition."""
    known = await _marks(settings)
    marks: dict[TopicPartition, OffsetAndMetadata] = {}
    for letter in letters:
        tp = TopicPartition(settings.topic(DEAD_LETTER.name), letter.partition)
        before = marks[tp].offset if tp in marks else known.get(tp, (0, ""))[0]
        marks[tp] = OffsetAndMetadata(max(before, letter.offset + 1), "")
    if not marks:
        return
    async with consumer(settings, group_id=group(settings)) as client:
        client.assign(list(marks))
        await client.commit(marks)


def original_text(letter: Letter) -> str:
    """The original bytes for people: text where it is text, else hexadecimal."""
    original: bytes = letter.fields["original"]
    if letter.fields["content_type"] != ARROW:
        try:
            return original.decode()
        except UnicodeDecodeError:
            pass
    return original.hex(" ")
