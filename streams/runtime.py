"""Runs one stage exactly: decode, step, send, save state and offset together, acknowledge.

The few lines that every agent shares. What Faust hands over is a run of messages; a stage that
gathers takes as many of them in one step as can be read as one batch (gather.py). keeper.py saves
what is applied, or drops it for the last cut.
"""

import asyncio
import traceback
from collections import defaultdict
from collections.abc import Awaitable, Iterable
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
from streams.counts import Counts
from streams.emit import Record, dead_message, records_of
from streams.gather import Message, alike, gather, lengths
from streams.journal import Cut, Journal
from streams.keeper import RESEEK_S, RETRY_S, Keeper, Work
from streams.registry_reader import RegistryReader
from streams.settings import Settings

_ATTEMPTS = 2  # a step that raised so often on a message goes to dead letters


class StageRunner(Keeper):
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
        super().__init__(app, stage, settings, journal or Journal(settings, stage, producer))
        self.producer, self.registry = producer, registry
        self._failures: defaultdict[tuple[TP, int], list[str]] = defaultdict(list)
        self._alone: dict[TP, int] = {}  # one message at a time up to this offset
        self._suspected: dict[TP, int] = {}  # offset that retention seems to have removed unread

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
            await asyncio.sleep(RETRY_S)
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
        if work.sought_s is None or self._now() - work.sought_s > RESEEK_S:
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
