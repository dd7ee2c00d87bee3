"""Runs one stage exactly: decode, step, send, save state and offset together, acknowledge.

The few lines that every agent shares. What Faust hands over is a run of messages; a stage that
gathers takes as many of them in one step as can be read as one batch (gather.py).

Order of a save: outputs durable, then the cut (state + source offset in one record), then the
source messages are acknowledged. After a crash outputs come again, and rows of the same key and
revision are the same; nothing is lost and nothing counted twice.
"""

import asyncio
import traceback
from collections import defaultdict
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import faust
import pyarrow as pa
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from faust.types import TP

from schemas import DEAD_LETTER, DecodeError
from streams import metrics
from streams.agent import Batch, Emit, Output, Part, Stage
from streams.client import BrokerUnreachableError
from streams.counts import Counts
from streams.emit import Record, dead_message, records_of
from streams.gather import Message, alike, gather, lengths
from streams.journal import Cut, Journal
from streams.log import log
from streams.registry_reader import RegistryReader
from streams.settings import Settings

_ATTEMPTS = 2  # a step that raised so often on a message goes to dead letters
_RESEEK_S = 5.0  # a seek that brought nothing is asked for again
_SAVE_SHARE = 10  # saving may take a tenth of the time: a large state is saved less often
# ... while rows come: where none came for save_ms, or as long as a save takes, it holds nobody up
_SAVE_WITHIN_S = 5.0  # ... but a save that waited for a broker does not put off the next for long
_RETRY_S = 1.0


@dataclass(slots=True)
class Work:
    """One assigned partition: its cut, what is applied but not saved, and what went wrong.

    Times are those of the event loop.
    """

    cut: Cut
    saved_offset: int
    borrowed: bool  # the cut in the journal is an earlier owner's, whose keys others may delete
    unsaved: int = 0  # messages applied since the last save
    events: list[Any] = field(default_factory=list)  # runs applied to their end, not acknowledged
    sends: list[Awaitable[Any]] = field(default_factory=list)
    oldest_s: float = 0.0
    next_save_s: float = 0.0
    save_s: float = 0.0  # what the last save took
    sought_s: float | None = None  # when what a hole hides was asked for


class StageRunner:
    """Applies the messages of one stage's source topic to its states."""

    def __init__(
        self,
        app: faust.App,
        stage: Stage,
        settings: Settings,
        producer: AIOKafkaProducer,
        registry: RegistryReader,
        journal: Journal | None = None,
    ) -> None:
        self.app, self.stage, self.settings = app, stage, settings
        self.producer, self.registry = producer, registry
        self.journal = journal or Journal(settings, stage, producer)
        self.work: dict[TP, Work] = {}
        self._failures: defaultdict[tuple[TP, int], list[str]] = defaultdict(list)
        self._alone: dict[TP, int] = {}  # one message at a time up to this offset
        self._suspected: dict[TP, int] = {}  # offset that retention seems to have removed unread
        self._applied_s = 0.0  # when the last step was
        self._one = asyncio.Lock()  # a save must see whole steps only
        self._log = log("runtime").bind(stage=stage.name)

    # -- assignment --

    async def load(self, tps: set[TP]) -> dict[TP, int]:
        """Take over these partitions: their newest cuts; returns where to read on."""
        generation = self.app.consumer_generation_id
        async with self._one:
            self.work.clear()
            if not tps:
                return {}
            if not await self._load({tp.partition for tp in tps}, generation):
                return {}
            self._log.info(
                "loaded",
                generation=generation,
                offsets={t.partition: w.saved_offset for t, w in self.work.items()},
            )
            return {
                tp: work.cut.offset + 1 for tp, work in self.work.items() if work.cut.offset >= 0
            }

    async def _load(self, partitions: set[int], generation: int) -> bool:
        """Take these partitions' cuts once they can be read; False when they are no longer ours."""
        while True:
            try:
                cuts = await self.journal.load(partitions, generation)
                break
            except (KafkaError, BrokerUnreachableError) as error:
                self._log.warning("load_failed", error=repr(error))
                await asyncio.sleep(_RETRY_S)
                if generation != self.app.consumer_generation_id:
                    return False
        for partition, cut in cuts.items():
            self.work[self._tp(partition)] = Work(cut, cut.offset, borrowed=cut.offset >= 0)
        return True

    def _tp(self, partition: int) -> TP:
        return TP(self.settings.topic(self.stage.source.name), partition)

    def _owns(self, work: Work) -> bool:
        current = self.app.consumer_generation_id
        return work.cut.generation == current and not self.app.rebalancing

    # -- one run of messages --

    async def handle(self, event: Any) -> None:
        """Apply one Faust event, a run; it is acknowledged by the save that covers all of it."""
        tp, run = event.message.tp, event.message.run
        async with self._one:
            work = self.work.get(tp)
            if work is None or work.cut.generation != event.message.generation_id:
                return  # of an assignment that is over
            if run[-1].offset <= work.saved_offset:
                event.ack()
                return
            fresh = [Message(record) for record in run if record.offset > work.cut.offset]
            if not fresh:
                work.events.append(event)  # applied already: acknowledged by the save to come
                return
            if not await self._next_in_line(tp, fresh[0].offset, work):
                return
            for group in self._groups(tp, fresh):
                await self._take(tp, group, work)
                if self.work.get(tp) is not work:
                    return  # fell back: what is left of the run is read again
                if group[-1] is fresh[-1]:
                    work.events.append(event)
                if self._due(work):
                    await self._save(tp, work)
                await asyncio.sleep(0)  # what is sent leaves while the next batch is applied
                if self.work.get(tp) is not work or not self._owns(work):
                    return

    def _groups(self, tp: TP, messages: list[Message]) -> Iterable[list[Message]]:
        if not self.stage.gathers:
            return ([message] for message in messages)
        return alike(messages, self._alone.get(tp, -1))

    async def _take(self, tp: TP, group: list[Message], work: Work) -> None:
        """Apply these messages as one batch; one by one where they cannot be read as one."""
        try:
            joined = await self._joined(tp, group) if len(group) > 1 else None
            if joined is not None:
                await self._apply(tp, group, joined, None, work)
                return
            for message in group:
                batch, dead = await self._decode(tp, message)
                await self._apply(tp, [message], batch, dead, work)
                if self.work.get(tp) is not work:
                    return
        except KafkaError as error:
            self._log.warning("send_failed", error=repr(error), offset=group[0].offset)
            await asyncio.sleep(_RETRY_S)
            await self._restore(tp, work)

    async def _next_in_line(self, tp: TP, got: int, work: Work) -> bool:
        """False for an offset after a hole that is not in the log: it is read again instead."""
        wanted = work.cut.offset + 1
        if got != wanted and (first := await self._log_start(tp)) > wanted:
            if self._suspected.get(tp) != wanted:
                # Another owner may have read on, and saved it: look again before it is called lost.
                self._suspected[tp] = wanted
                await self._restore(tp, work)
                return False
            wanted = min(first, got)
            self._count_lost(tp, work, wanted)
        if got == wanted or (wanted, got) in self.app.consumer.holes[tp]:
            if got != wanted:
                self._log.warning("hole", partition=tp.partition, wanted=wanted, got=got)
            work.sought_s = None
            return True
        if work.sought_s is None or self._now() - work.sought_s > _RESEEK_S:
            work.sought_s = self._now()
            await self.app.consumer.seek(tp, wanted)
        return False

    async def _log_start(self, tp: TP) -> int:
        offsets: dict[TP, int] = await self.app.consumer.earliest_offsets(tp)
        return offsets.get(tp, 0)

    def _count_lost(self, tp: TP, work: Work, first: int) -> None:
        """Messages that the topic's retention removed before this stage had read them."""
        lost = first - work.cut.offset - 1
        self._log.error("lost", partition=tp.partition, messages=lost, first_kept=first)
        metrics.of(metrics.LOST, self.stage.name).inc(lost)
        work.cut.counts.lost_messages += lost
        work.cut.offset = first - 1

    async def _apply(
        self, tp: TP, group: list[Message], batch: Batch, dead: Any, work: Work
    ) -> None:
        """Step over one batch, the messages of `group`; `dead`: the letter of one that is none."""
        cut, last = work.cut, group[-1]
        tries = self._failures.get((tp, last.offset), [])
        if dead is None and len(tries) >= _ATTEMPTS:
            dead = self._dead(batch, last, tries[-1])
        if dead is not None:
            rows = max(1, batch.rows.num_rows)
            emit = Emit(outputs=[Output(DEAD_LETTER, dead)])
            counts = Counts(consumed=rows, dead_lettered=rows)
        else:
            try:
                emit, counts = self._step(batch, cut)
            except Exception:
                await self._step_failed(tp, group, work)
                return
        records = self._records(batch, emit)
        cut.counts.add(counts)
        cut.counts.check()
        cut.offset = last.offset
        self._seal(cut)
        self._failures.pop((tp, last.offset), None)
        work.sends += [await self._send(record) for record in records]
        if not work.unsaved:
            work.oldest_s = self._now()
        work.unsaved += len(group)
        self._applied_s = self._now()
        self._measure(tp, group, counts, emit)

    async def _step_failed(self, tp: TP, group: list[Message], work: Work) -> None:
        """Called with the exception in hand: note it, and drop the half-applied state."""
        offset = group[-1].offset
        place = {"partition": tp.partition, "offset": offset}
        self._alone[tp] = max(offset, self._alone.get(tp, -1))
        if len(group) > 1:  # it was one of them, not known which
            self._log.warning("gathered_step_failed", **place, messages=len(group), exc_info=True)
        else:
            tries = self._failures[tp, offset]
            tries.append(traceback.format_exc())
            self._log.error("step_failed", **place, attempt=len(tries), exc_info=True)
        await self._restore(tp, work)

    async def _joined(self, tp: TP, group: list[Message]) -> Batch | None:
        """The messages as one batch; None where one of them cannot be read."""
        rows = gather(self.stage.source, group)
        return await self._batch(tp, group, rows) if rows is not None else None

    async def _decode(self, tp: TP, message: Message) -> tuple[Batch, Any]:
        """The batch; or an empty one and its dead letter where the bytes cannot be read."""
        try:
            return await self._batch(tp, [message], message.rows(self.stage.source)), None
        except DecodeError as error:
            batch = await self._batch(tp, [message], self.stage.source.empty)
            original = message.value or b""
            return batch, dead_message(self.stage, batch, "unsupported", str(error), original)

    async def _batch(self, tp: TP, group: list[Message], rows: pa.RecordBatch) -> Batch:
        source, last = self.stage.source, group[-1]
        registry_offset = -1 if last.registry_offset is None else last.registry_offset
        await self.registry.wait_for(registry_offset)
        several = len(group) > 1
        return Batch(
            topic=source,
            partition=tp.partition,
            offset=last.offset,
            rows=rows,
            registry=self.registry.registry.at(registry_offset),
            registry_offset=registry_offset,
            timestamp_ms=last.record.timestamp,
            parts=[Part(m.offset, m.record.timestamp) for m in group] if several else (),
            lengths=partial(lengths, source, group) if several else None,
        )

    def _step(self, batch: Batch, cut: Cut) -> tuple[Emit, Counts]:
        with metrics.of(metrics.STEP_SECONDS, self.stage.name).time():
            emit = self.stage.step(cut.state, batch)
        counts = Counts(
            consumed=batch.rows.num_rows,
            accepted=emit.accepted,
            duplicate=emit.duplicate,
            superseded=emit.superseded,
            dead_lettered=len(emit.refused),
        )
        counts.check()
        return emit, counts

    def _seal(self, cut: Cut) -> None:
        self.journal.seal(cut)

    def _records(self, batch: Batch, emit: Emit) -> list[Record]:
        return records_of(self.stage, batch, emit)

    def _dead(self, batch: Batch, message: Message, text: str) -> Any:
        return dead_message(self.stage, batch, "step_failed", text, message.value or b"")

    async def _send(self, record: Record) -> Awaitable[Any]:
        future: Awaitable[Any] = await self.producer.send(
            self.settings.topic(record.topic),
            record.value,
            key=record.key,
            partition=record.partition,
            headers=record.headers,
        )
        return future

    def _measure(self, tp: TP, group: list[Message], counts: Counts, emit: Emit) -> None:
        name = self.stage.name
        metrics.count_rows(name, counts)
        metrics.of(metrics.MESSAGES, name).inc(len(group))
        for refused in emit.refused:
            metrics.of(metrics.REFUSED, name, refused.reason).inc()
        behind = (self.app.consumer.highwater(tp) or 0) - group[-1].offset - 1
        metrics.of(metrics.LAG, name, str(tp.partition)).set(max(0, behind))

    # -- saving and falling back --

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _due(self, work: Work) -> bool:
        quiet_s = self._now() - self._applied_s
        holds_up = quiet_s < max(self.settings.save_ms / 1000, work.save_s)
        if holds_up and self._now() < work.next_save_s:
            return False
        if not work.unsaved:
            return work.borrowed
        aged_ms = (self._now() - work.oldest_s) * 1000
        return work.unsaved >= self.settings.save_messages or aged_ms >= self.settings.save_ms

    async def save_due(self) -> None:
        """Called by a timer: save what is old enough; ask again for what a seek did not bring."""
        async with self._one:
            for tp, work in list(self.work.items()):
                if self._due(work):
                    await self._save(tp, work)
                asked_s = work.sought_s
                if asked_s is not None and self._now() - asked_s > _RESEEK_S and self._owns(work):
                    work.sought_s = self._now()
                    await self.app.consumer.seek(tp, work.cut.offset + 1)

    async def save_all(self) -> None:
        """At a clean end: save everything that is applied."""
        async with self._one:
            for tp, work in list(self.work.items()):
                if work.unsaved:
                    await self._save(tp, work)

    async def _save(self, tp: TP, work: Work) -> None:
        """Outputs durable, then the cut, then the source messages are acknowledged."""
        if not self._owns(work):
            return  # whoever owns it now reads it again
        began_s = self._now()
        try:
            with metrics.of(metrics.SAVE_SECONDS, self.stage.name).time():
                await asyncio.gather(*work.sends)
                size = await self.journal.save(work.cut)
        except KafkaError as error:
            self._log.warning("save_failed", partition=tp.partition, error=repr(error))
            await asyncio.sleep(_RETRY_S)
            await self._restore(tp, work)
            return
        self._saved(tp, work, size, self._now() - began_s)
        events, work.events, work.sends, work.unsaved = work.events, [], [], 0
        if self._owns(work):
            for event in events:
                event.ack()

    def _saved(self, tp: TP, work: Work, size: int, took_s: float) -> None:
        place = self.stage.name, str(tp.partition)
        metrics.of(metrics.JOURNAL_BYTES, *place).set(size)
        lag_s = self._now() - work.oldest_s if work.unsaved else 0.0
        metrics.of(metrics.SAVE_LAG, *place).set(lag_s)
        work.saved_offset, work.borrowed = work.cut.offset, False
        work.next_save_s = self._now() + min(_SAVE_SHARE * took_s, _SAVE_WITHIN_S)
        work.save_s = took_s

    async def _restore(self, tp: TP, work: Work) -> None:
        """Never a half-applied state: back to the last cut, and read on from there."""
        metrics.of(metrics.RESTORES, self.stage.name).inc()
        for send in work.sends:
            if isinstance(send, asyncio.Future):
                send.cancel()
        self.work.pop(tp, None)
        if not self._owns(work):
            return
        if await self._load({tp.partition}, work.cut.generation):
            await self.app.consumer.restart(tp, self.work[tp].cut.offset + 1)
