"""The ingest bridge: telemetry.in and market.in to readings, market and dead-letter.

Order: outputs durable (acks=all, idempotent), then the input offset is committed together with the
counts of what became of its rows, in the offset's metadata. After a crash the same rows may come
again with the same source coordinates; every state downstream is a set and counts them as
duplicates.
"""

import asyncio
import signal
import time
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from schemas import MARKET, MARKET_IN, TELEMETRY_IN
from schemas.codec import header_map
from schemas.registry import Domain
from streams import metrics
from streams.client import BrokerUnreachableError, new_consumer, new_producer
from streams.client import consumer as started_consumer
from streams.counts import Counts
from streams.emit import Record
from streams.ingest.admission import Admitted, Row, Source, admit, dead_row, tick_row
from streams.ingest.pack import Packer
from streams.ingest.ticks import TickClock
from streams.log import log
from streams.registry_reader import RegistryReader
from streams.settings import Settings
from streams.topics import group_offsets

STAGE = "ingest"
TICK_HEADER = "gl_tick_ms"
_COMMIT_S = 1.0
_RETRY_S = 1.0
_SENDS_MAX = 200  # records in flight before the bridge waits: bounds its memory
_POLL_ROWS = 5_000


class Bridge(ConsumerRebalanceListener):  # type: ignore[misc]
    """One bridge process; several share the partitions of the input topics."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._inputs = {settings.topic(t.name): t for t in (TELEMETRY_IN, MARKET_IN)}
        self._registry = RegistryReader(settings)
        self._producer: AIOKafkaProducer = None
        self._consumer: AIOKafkaConsumer = None
        self._packer = Packer(settings.batch_rows, settings.batch_ms / 1000)
        self._clocks: dict[str, TickClock] = {}
        self._counts: dict[TopicPartition, Counts] = {}
        self._next: dict[TopicPartition, int] = {}  # offset to commit
        self._sends: list[asyncio.Future[Any]] = []
        self._read: dict[TopicPartition, int] = {}  # offset expected next
        self._epoch = 0  # + 1 at every rebalance: what was polled before is read again
        self._one = asyncio.Lock()  # rebalances come between two records, not within one
        self._stopping = asyncio.Event()
        self._log = log("ingest")

    async def run(self) -> None:
        """Until stop() is called; commits what is done at the end."""
        self._producer = new_producer(self.settings, linger_ms=5)
        group = self.settings.topic(f"gridloom.{STAGE}")
        self._consumer = new_consumer(
            self.settings,
            group_id=group,
            session_timeout_ms=self.settings.session_ms,
            heartbeat_interval_ms=1000,
            max_poll_records=_POLL_ROWS,
            isolation_level="read_committed",  # what its producer took back is no reading
        )
        await self._producer.start()
        await self._registry.start()
        await self._consumer.start()
        try:
            self._consumer.subscribe(list(self._inputs), listener=self)
            self._log.info("ready", group=group)
            await self._loop()
            # Not after a failure: a refused output must not be committed over.
            async with self._one:
                await self._commit()
        finally:
            await self._consumer.stop()
            await self._producer.stop()
            await self._registry.stop()

    def stop(self) -> None:
        self._stopping.set()

    async def _loop(self) -> None:
        committed_s = time.monotonic()
        while not self._stopping.is_set():
            polled = await self._consumer.getmany(timeout_ms=self.settings.batch_ms)
            epoch = self._epoch
            kept = await self._first_kept(polled)
            for tp, records in polled.items():
                for record in records:
                    async with self._one:
                        if epoch == self._epoch:
                            await self._take(tp, record, kept.get(tp, 0))
                self._lag(tp, records[-1].offset)
            async with self._one:
                await self._send(self._packer.close_aged())
                if time.monotonic() - committed_s >= _COMMIT_S:
                    await self._commit()
                    committed_s = time.monotonic()

    async def _first_kept(
        self, polled: dict[TopicPartition, list[Any]]
    ) -> dict[TopicPartition, int]:
        """The log's start where offsets are missing: asked once a poll, not at every hole."""
        holed = [
            tp
            for tp, records in polled.items()
            if records[-1].offset + 1 - self._read.get(tp, records[0].offset) != len(records)
        ]
        kept: dict[TopicPartition, int] = {}
        if holed:
            kept = await self._consumer.beginning_offsets(holed)
        return kept

    async def _take(self, tp: TopicPartition, record: Any, first_kept: int) -> None:
        source = Source(self._inputs[tp.topic], tp.partition, record.offset, record.timestamp)
        headers = header_map(record.headers)
        registry = self._registry.registry
        admitted = admit(source, record.value, headers, registry.at(registry.offset))
        if admitted.unregistered and await self._registry.catch_up():
            # registered just before it sent: read the registry to its end, then decide
            admitted = admit(source, record.value, headers, registry.at(registry.offset))
        self._note_lost(tp, record.offset, first_kept)
        await self._pack(source, admitted)
        counts = admitted.counts
        counts.check()
        self._counts[tp].add(counts)
        self._next[tp] = self._read[tp] = record.offset + 1
        metrics.count_rows(f"{STAGE}.{source.topic.name}", counts)
        metrics.MESSAGES.labels(f"{STAGE}.{source.topic.name}").inc()
        for refused in admitted.refused:
            metrics.REFUSED.labels(f"{STAGE}.{source.topic.name}", refused.reason).inc()

    def _note_lost(self, tp: TopicPartition, offset: int, first_kept: int) -> None:
        """A hole that retention made is a loss; others are transaction markers or compaction."""
        lost = min(first_kept, offset) - self._read.get(tp, offset)
        if lost > 0:
            topic = self._inputs[tp.topic].name
            self._log.error("lost", topic=topic, partition=tp.partition, messages=lost)
            metrics.LOST.labels(f"{STAGE}.{topic}").inc(lost)
            self._counts[tp].lost_messages += lost

    async def _pack(self, source: Source, admitted: Admitted) -> None:
        for row in admitted.rows:
            if row.domain is not None:
                await self._tick(row.domain, source)
            await self._add(row, self._tick_header(row.domain))
        for refused in admitted.refused:
            await self._add(dead_row(source, refused))

    async def _tick(self, domain: Domain, source: Source) -> None:
        clock = self._clocks.get(domain.id)
        if clock is None:
            clock = self._clocks[domain.id] = await self._recover_clock(domain)
        for tick_ms in clock.due(domain, source.received_ms):
            row = tick_row(domain, tick_ms, source, self._registry.registry.offset)
            await self._add(row, {TICK_HEADER: str(tick_ms)})

    def _tick_header(self, domain: Domain | None) -> dict[str, str]:
        clock = self._clocks.get(domain.id) if domain else None
        return {TICK_HEADER: str(clock.last_ms)} if clock and clock.last_ms is not None else {}

    async def _recover_clock(self, domain: Domain) -> TickClock:
        """The last tick that stands in `market`: every batch there says it in a header."""
        tp = TopicPartition(self.settings.topic(MARKET.name), domain.partition)
        async with started_consumer(self.settings) as client:
            client.assign([tp])
            end = (await client.end_offsets([tp]))[tp]
            if end == 0:
                return TickClock()
            client.seek(tp, end - 1)
            headers = header_map((await client.getone(tp)).headers)
        last = headers.get(TICK_HEADER)
        return TickClock(int(last) if last is not None else None)

    async def _add(self, row: Row, headers: dict[str, str] | None = None) -> None:
        registry_offset = row.fields.get("registry_offset", -1)
        await self._send(
            self._packer.add(row.topic, row.partition, row.fields, registry_offset, headers)
        )

    async def _send(self, records: list[Record]) -> None:
        for record in records:
            future = await self._producer.send(
                self.settings.topic(record.topic),
                record.value,
                partition=record.partition,
                headers=record.headers,
            )
            self._sends.append(future)
        if len(self._sends) >= _SENDS_MAX:
            await self._sent()

    async def _sent(self) -> None:
        """Until all outputs are durable; one that failed stays, so that no commit passes it."""
        await asyncio.gather(*self._sends)
        self._sends.clear()

    def _lag(self, tp: TopicPartition, offset: int) -> None:
        behind = (self._consumer.highwater(tp) or 0) - offset - 1
        stage = f"{STAGE}.{self._inputs[tp.topic].name}"
        metrics.LAG.labels(stage, str(tp.partition)).set(max(0, behind))

    async def _commit(self) -> None:
        """Outputs durable first, then offsets and counts in one commit."""
        await self._send(self._packer.close_all())
        await self._sent()
        owned = self._consumer.assignment()
        offsets = {
            tp: OffsetAndMetadata(offset, orjson.dumps(self._counts[tp].as_dict()).decode())
            for tp, offset in self._next.items()
            if tp in owned
        }
        self._next.clear()
        if offsets:
            try:
                await self._consumer.commit(offsets)
            except (CommitFailedError, IllegalStateError) as error:
                # taken over by another bridge, which reads it again
                self._log.warning("commit_refused", error=repr(error))

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self._epoch += 1
        if revoked:
            async with self._one:
                await self._commit()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        async with self._one:
            committed = await self._committed()
            for book in (self._counts, self._read, self._next):
                book.clear()
            for tp in assigned:
                offset, metadata = committed.get(tp, (-1, ""))
                self._counts[tp] = Counts(**orjson.loads(metadata)) if metadata else Counts()
                if offset >= 0:
                    self._read[tp] = offset
        self._log.info("assigned", partitions=len(assigned))

    async def _committed(self) -> dict[TopicPartition, tuple[int, str]]:
        """Asked again until it is known: counts that began at zero would be wrong for ever."""
        while True:
            try:
                group = self.settings.topic(f"gridloom.{STAGE}")
                return await group_offsets(self.settings, group)
            except (KafkaError, BrokerUnreachableError) as error:
                self._log.warning("counts_unread", error=repr(error))
                await asyncio.sleep(_RETRY_S)


async def ingest_counts(settings: Settings) -> dict[str, Counts]:
    """Topic -> counts as committed, for reports."""
    totals = {t.name: Counts() for t in (TELEMETRY_IN, MARKET_IN)}
    names = {settings.topic(name): name for name in totals}
    committed = await group_offsets(settings, settings.topic(f"gridloom.{STAGE}"))
    for tp, (_, metadata) in committed.items():
        if metadata and tp.topic in names:
            totals[names[tp.topic]].add(Counts(**orjson.loads(metadata)))
    return totals


async def run_bridge(settings: Settings) -> None:
    """The bridge until SIGTERM or SIGINT."""
    bridge = Bridge(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, bridge.stop)
    await bridge.run()
