"""The journal: the state of one source partition and its source offset, saved as one cut.

    key                          value
    p3/7-c41e0d92        cut     header, newline, body: offset, counts, and the state ...
    p3/7-c41e0d92/0..    part    ... or, once that is too large to be written each time, its newest
                                 rows alone; the header names the parts that come before them

A part is written once and never again, so any cut whose parts are there is a correct state: that
after the messages 0..offset. At load the one of the highest offset wins.

Every owner writes under keys of its own (generation and a nonce), so that the late record of a
worker that lost the partition can replace nothing of a newer owner's, not even by compaction. An
owner copies the parts it was handed, and deletes older keys only after a cut of its own is durable:
one complete cut is in the log at every moment.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import orjson
from aiokafka import AIOKafkaProducer

from schemas.errors import GridloomError
from streams.agent import Growing, Stage, State
from streams.client import read_all
from streams.counts import Counts
from streams.settings import Settings

# Rows of one part: about 50 KB. A state of fewer rows is saved whole in the cut itself. A state of
# larger rows has a PART_ROWS of its own.
PART_ROWS = 8_192
MAX_PART_ROWS = 131_072  # 12 MB before compression
PARTS = 64  # of a base
# Of what was added until the next base: many are names in every cut, few are rows written again.
ADDED_PARTS = 512
PART_BYTES = 8 << 20  # a state that does not grow by rows is cut into pieces of this size

ReadAll = Callable[[Settings, str, set[int] | None], AsyncIterator[Any]]


class JournalError(GridloomError):
    """A journal that cannot be read with this version of the program."""


@dataclass(slots=True)
class Part:
    """One immutable record of a state; `value` until it is durable under this owner's key."""

    key: bytes
    value: bytes | None


@dataclass(slots=True)
class Chain:
    """The parts of a state before its newest rows: base, and what was added since."""

    base: list[Part] = field(default_factory=list)
    added: list[Part] = field(default_factory=list)

    def __iter__(self) -> Any:
        yield from self.base
        yield from self.added


@dataclass(slots=True)
class Cut:
    """State after the messages up to `offset` (-1 = none) of one source partition."""

    partition: int
    generation: int
    offset: int
    state: State
    counts: Counts = field(default_factory=Counts)
    chain: Chain = field(default_factory=Chain)
    owner: bytes = field(default_factory=lambda: secrets.token_hex(4).encode())
    keys: set[bytes] = field(default_factory=set)  # of this partition, alive in the log
    parts: int = 0  # that this owner has begun

    @property
    def key(self) -> bytes:
        return b"p%d/%d-%b" % (self.partition, self.generation, self.owner)

    def part(self, value: bytes) -> Part:
        """A new part under a key that nobody has used."""
        self.parts += 1
        return Part(b"%b/%d" % (self.key, self.parts), value)


def grows(state: State) -> TypeGuard[Growing]:
    """Whether the state can be saved as a base and what was added."""
    return isinstance(state, Growing)


class Journal:
    """The journal of one stage."""

    def __init__(
        self,
        settings: Settings,
        stage: Stage,
        producer: AIOKafkaProducer,
        read: ReadAll = read_all,
        part_rows: int | None = None,
    ) -> None:
        self._settings, self._stage, self._producer = settings, stage, producer
        self._read = read
        own: int = getattr(stage.state, "PART_ROWS", PART_ROWS)
        self._part_rows = part_rows or own
        self._topic = settings.topic(stage.journal_topic)

    async def load(self, partitions: set[int], generation: int) -> dict[int, Cut]:
        """The newest cut of each partition; an empty state at offset -1 where none was saved."""
        logs: dict[int, dict[bytes, bytes]] = {partition: {} for partition in partitions}
        async for record in self._read(self._settings, self._topic, partitions):
            if record.value is None:
                logs[record.partition].pop(record.key, None)
            else:
                logs[record.partition][record.key] = record.value
        # In a thread: a large state takes seconds, and the group must hear of us meanwhile.
        apart = asyncio.get_running_loop().run_in_executor
        return {
            partition: await apart(None, self._newest, partition, generation, log)
            for partition, log in logs.items()
        }

    def _newest(self, partition: int, generation: int, log: dict[bytes, bytes]) -> Cut:
        headers = {key: unpack_header(value) for key, value in log.items() if is_cut(key)}
        for key in sorted(headers, key=lambda key: _rank(headers[key]), reverse=True):
            names = [name.encode() for name in headers[key]["base"] + headers[key]["added"]]
            if all(name in log for name in names):
                return self._cut(partition, generation, headers[key], log[key], log)
        if headers:
            raise JournalError(
                f"{self._topic} partition {partition} has no cut with all of its parts",
                f"delete topic {self._topic} to rebuild the state by replay",
            )
        return Cut(partition, generation, -1, self._stage.state(), keys=set(log))

    def _cut(
        self,
        partition: int,
        generation: int,
        header: dict[str, Any],
        value: bytes,
        log: dict[bytes, bytes],
    ) -> Cut:
        stage = self._stage
        if header["stage"] != stage.name or header["version"] != stage.state.VERSION:
            raise JournalError(
                f"journal of {stage.name} holds state of {header['stage']} version "
                f"{header['version']}, this program reads version {stage.state.VERSION}",
                f"run the matching version, or delete topic {self._topic} to rebuild by replay",
            )
        body = value[value.index(b"\n") + 1 :]
        base = [log[name.encode()] for name in header["base"]]
        added = [log[name.encode()] for name in header["added"]]
        counts = Counts(**header["counts"])
        cut = Cut(partition, generation, header["offset"], stage.state(), counts, keys=set(log))
        if header["whole"]:
            cut.state = stage.state.load(b"".join([*base, body]))
            return cut
        assert grows(cut.state)
        cut.state = type(cut.state).load_chain(base, [*added, body])
        cut.chain.base = [cut.part(piece) for piece in base]
        cut.chain.added = [cut.part(piece) for piece in added]
        return cut

    def seal(self, cut: Cut) -> None:
        """Pack what was added, once it is enough for a part: after a step its rows are at hand.

        The part is written by the next save; when that is late, little is left for it to do.
        """
        state = cut.state
        if not grows(state) or not state.growth.has_base:
            return
        if state.growth.rows >= max(self._part_rows, len(state) // ADDED_PARTS):
            cut.chain.added.append(cut.part(state.added()))
            state.growth.seal()

    async def save(self, cut: Cut) -> int:
        """Make the cut durable, then delete what it replaces; returns the bytes written."""
        whole, body = await self._pieces(cut)
        header = {
            "stage": self._stage.name,
            "version": cut.state.VERSION,
            "partition": cut.partition,
            "offset": cut.offset,
            "counts": cut.counts.as_dict(),
            "whole": whole,
            "base": [part.key.decode() for part in cut.chain.base],
            "added": [part.key.decode() for part in cut.chain.added],
        }
        value = orjson.dumps(header) + b"\n" + body
        new = [part for part in cut.chain if part.value is not None]
        size = len(value) + sum(len(part.value or b"") for part in new)
        await self._write(cut, {part.key: part.value for part in new})
        cut.keys |= {part.key for part in new}
        await self._write(cut, {cut.key: value})
        for part in new:
            part.value = None
        kept = {cut.key, *(part.key for part in cut.chain)}
        old, cut.keys = cut.keys - kept, kept
        await self._write(cut, dict.fromkeys(sorted(old)))
        return size

    async def _write(self, cut: Cut, records: dict[bytes, bytes | None]) -> None:
        sends = [
            await self._producer.send(self._topic, value, key=key, partition=cut.partition)
            for key, value in records.items()
        ]
        await asyncio.gather(*sends)

    async def _pieces(self, cut: Cut) -> tuple[bool, bytes]:
        """The cut's body, and whether it ends the state's own bytes; parts go into the chain.

        A base takes seconds: other tasks come in between its parts, the state's own step does not.
        """
        state = cut.state
        if not grows(state) or (len(state) <= self._part_rows and not state.growth.has_base):
            dumped = state.dump()
            ends = range(0, max(1, len(dumped)), PART_BYTES)
            *pieces, body = [dumped[at : at + PART_BYTES] for at in ends]
            cut.chain = Chain(base=[cut.part(piece) for piece in pieces])
            return True, body
        if not state.growth.has_base:
            rows = min(max(self._part_rows, len(state) // PARTS), MAX_PART_ROWS)
            base = []
            for piece in state.base(rows):
                base.append(cut.part(piece))
                await asyncio.sleep(0)
            cut.chain = Chain(base=base)
        self.seal(cut)
        return False, state.added()


def _rank(header: dict[str, Any]) -> tuple[int, int]:
    """The cut that has read furthest; of two, the one that missed less of it."""
    return header["offset"], -header["counts"]["lost_messages"]


def is_cut(key: bytes) -> bool:
    """Whether a journal's record is a cut; else it is a part of one."""
    return key.count(b"/") == 1


def unpack_header(value: bytes) -> dict[str, Any]:
    """The header of a cut."""
    header: dict[str, Any] = orjson.loads(value[: value.index(b"\n")])
    return header


async def saved_counts(settings: Settings, stage: Stage) -> Counts:
    """Counts over all partitions of a stage, as last saved: for reports, not for the agents."""
    newest: dict[int, dict[str, Any]] = {}
    async for record in read_all(settings, settings.topic(stage.journal_topic)):
        if record.value is None or not is_cut(record.key):
            continue
        header = unpack_header(record.value)
        known = newest.get(header["partition"])
        if known is None or header["offset"] >= known["offset"]:
            newest[header["partition"]] = header
    total = Counts()
    for header in newest.values():
        total.add(Counts(**header["counts"]))
    return total
