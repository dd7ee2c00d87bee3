"""A stage's partitions: taken over, saved, and fallen back to the last cut.

Order of a save: outputs durable, then the cut (state + source offset in one record), then the
source messages are acknowledged. After a crash outputs come again, and rows of the same key and
revision are the same; nothing is lost and nothing counted twice.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

import faust
from aiokafka.errors import KafkaError
from faust.types import TP

from streams import metrics
from streams.agent import Stage
from streams.client import BrokerUnreachableError
from streams.journal import Cut, Journal
from streams.log import log
from streams.settings import Settings

RESEEK_S = 5.0  # a seek that brought nothing is asked for again
RETRY_S = 1.0
_SAVE_SHARE = 10  # saving may take a tenth of the time: a large state is saved less often
# ... while rows come: where none came for save_ms, or as long as a save takes, it holds nobody up
_SAVE_WITHIN_S = 5.0  # ... but a save that waited for a broker does not put off the next for long


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


class Keeper:
    """The partitions of one stage's source topic that are assigned, with their states."""

    def __init__(self, app: faust.App, stage: Stage, settings: Settings, journal: Journal) -> None:
        self.app, self.stage, self.settings, self.journal = app, stage, settings, journal
        self.work: dict[TP, Work] = {}
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
                await asyncio.sleep(RETRY_S)
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
                if asked_s is not None and self._now() - asked_s > RESEEK_S and self._owns(work):
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
            await asyncio.sleep(RETRY_S)
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
