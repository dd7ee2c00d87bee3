"""The journal: state of one source partition and its source offset, saved in one Kafka record.

Any record alone is a correct cut: the state after the messages 0..offset, what became of their
rows, and the version of the state's form. A key per owner generation, so that the late record of a
worker that lost the partition cannot replace a newer cut, not even by compaction; at load the
highest source offset wins. Older keys are deleted only after a newer record is durable.

Record value: one JSON line (the header), then the state's bytes.
"""

from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer

from schemas.errors import GridloomError
from streams.agent import Stage, State
from streams.client import read_all
from streams.settings import Settings

COUNTS = ("consumed", "accepted", "duplicate", "superseded", "dead_lettered")


class JournalError(GridloomError):
    """A journal that cannot be read with this version of the program."""


@dataclass(slots=True)
class Counts:
    """What became of the rows consumed: the identity that nothing disappears."""

    consumed: int = 0
    accepted: int = 0
    duplicate: int = 0
    superseded: int = 0
    dead_lettered: int = 0

    def check(self) -> None:
        """Raises AssertionError unless consumed = accepted + duplicate + superseded + dead."""
        parts = self.accepted + self.duplicate + self.superseded + self.dead_lettered
        assert self.consumed == parts, f"identity broken: {self}"

    def add(self, other: "Counts") -> None:
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_dict(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in COUNTS}


@dataclass(slots=True)
class Cut:
    """State after the messages up to `offset` (-1 = none) of one source partition."""

    partition: int
    generation: int
    offset: int
    state: State
    counts: Counts = field(default_factory=Counts)
    keys: set[bytes] = field(default_factory=set)  # journal keys of this partition still alive


def key_of(partition: int, generation: int) -> bytes:
    return b"p%d/%d" % (partition, generation)


def pack(stage: Stage, cut: Cut) -> bytes:
    """The record's value."""
    header = {
        "stage": stage.name,
        "version": stage.state.VERSION,
        "partition": cut.partition,
        "offset": cut.offset,
        "counts": cut.counts.as_dict(),
    }
    return orjson.dumps(header) + b"\n" + cut.state.dump()


def unpack_header(value: bytes) -> dict[str, Any]:
    """The header of a record's value."""
    header: dict[str, Any] = orjson.loads(value[: value.index(b"\n")])
    return header


def unpack(stage: Stage, value: bytes, generation: int) -> Cut:
    """The cut of a record's value; refuses the state of another stage or version."""
    header = unpack_header(value)
    if header["stage"] != stage.name or header["version"] != stage.state.VERSION:
        raise JournalError(
            f"journal of {stage.name} holds state of {header['stage']} version "
            f"{header['version']}, this program reads version {stage.state.VERSION}",
            f"run the matching version, or delete topic {stage.journal_topic} to rebuild by replay",
        )
    state = stage.state.load(value[value.index(b"\n") + 1 :])
    counts = Counts(**header["counts"])
    return Cut(header["partition"], generation, header["offset"], state, counts)


async def load(
    settings: Settings, stage: Stage, partitions: set[int], generation: int
) -> dict[int, Cut]:
    """The newest cut of each partition; an empty state at offset -1 where none was saved."""
    newest: dict[int, tuple[int, bytes]] = {}
    keys: dict[int, set[bytes]] = {partition: set() for partition in partitions}
    async for record in read_all(settings, settings.topic(stage.journal_topic), partitions):
        partition, key, value = record.partition, record.key, record.value
        if value is None:
            keys[partition].discard(key)
            continue
        keys[partition].add(key)
        offset = unpack_header(value)["offset"]
        if offset >= newest.get(partition, (-1, b""))[0]:
            newest[partition] = offset, value
    cuts = {}
    for partition in partitions:
        if partition in newest:
            cut = unpack(stage, newest[partition][1], generation)
        else:
            cut = Cut(partition, generation, -1, stage.state())
        cut.keys = keys[partition]
        cuts[partition] = cut
    return cuts


async def save(settings: Settings, producer: AIOKafkaProducer, stage: Stage, cut: Cut) -> int:
    """Make the cut durable, then delete older generations' records; returns the bytes saved."""
    topic, key = settings.topic(stage.journal_topic), key_of(cut.partition, cut.generation)
    value = pack(stage, cut)
    await producer.send_and_wait(topic, value, key=key, partition=cut.partition)
    for old in cut.keys - {key}:
        await producer.send_and_wait(topic, None, key=old, partition=cut.partition)
    cut.keys = {key}
    return len(value)


async def saved_counts(settings: Settings, stage: Stage) -> Counts:
    """Counts over all partitions of a stage, as last saved: for reports, not for the agents."""
    newest: dict[int, dict[str, Any]] = {}
    async for record in read_all(settings, settings.topic(stage.journal_topic)):
        if record.value is None:
            continue
        header = unpack_header(record.value)
        known = newest.get(header["partition"])
        if known is None or header["offset"] >= known["offset"]:
            newest[header["partition"]] = header
    total = Counts()
    for header in newest.values():
        total.add(Counts(**header["counts"]))
    return total
