"""The messages of a run as batches, so that a step and its outputs are paid for once a batch.

    for messages in alike(records): ...              # what may become one batch
        joined = gather(topic, messages)             # one batch, or None: one by one then

Only what is in hand is joined. How the log falls into batches may differ at a replay, so a stage
says by `gathers` that its rows do not rest on it (README.md).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import pyarrow as pa

from schemas import DecodeError, Topic
from schemas.codec import REGISTRY_OFFSET, decode, header_map


@dataclass(frozen=True)
class Message:
    """One record and what its headers say. Raises DecodeError for a stamp that is no number."""

    record: Any

    @property
    def offset(self) -> int:
        offset: int = self.record.offset
        return offset

    @cached_property
    def headers(self) -> dict[str, str]:
        return header_map(self.record.headers)

    @cached_property
    def registry_offset(self) -> int:
        stamp = self.headers.get(REGISTRY_OFFSET, "-1")
        try:
            return int(stamp)
        except ValueError:
            step = "send the registry offset as a number"
            raise DecodeError(f"{REGISTRY_OFFSET} is {stamp!r}", step) from None

    def rows(self, topic: Topic) -> pa.RecordBatch:
        """Its rows; DecodeError as decode() gives it."""
        return decode(topic, self.record.value, self.headers)


class Gathered(NamedTuple):
    """Rows of several messages in order, and how many each of them has."""

    rows: pa.RecordBatch
    lengths: list[int]


def alike(messages: Iterable[Message], alone_to: int) -> Iterator[list[Message]]:
    """Consecutive messages of one registry offset; up to offset `alone_to` each on its own."""
    group: list[Message] = []
    known: int | None = None
    for message in messages:
        stamp = _stamp(message) if message.offset > alone_to else None
        if group and (stamp is None or stamp != known):
            yield group
            group = []
        group.append(message)
        known = stamp
    if group:
        yield group


def _stamp(message: Message) -> int | None:
    try:
        return message.registry_offset
    except DecodeError:
        return None


def gather(topic: Topic, messages: Sequence[Message]) -> Gathered | None:
    """The rows of all messages as one batch; None where one of them cannot be read."""
    try:
        batches = [message.rows(topic) for message in messages]
    except DecodeError:
        return None
    return Gathered(pa.concat_batches(batches), [batch.num_rows for batch in batches])
