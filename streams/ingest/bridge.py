"""The ingest bridge: telemetry.in and market.in to readings, market and dead-letter.

Whole record batches come in (fetch.py); telemetry is admitted by columns (bulk.py), market rows one
by one (admission.py); whole Arrow batches go out (pack.py, outbox.py).

Order: outputs durable (acks=all, idempotent), then the input offset is committed together with the
counts of what became of its rows, in the offset's metadata. After a crash the same rows may come
again with the same source coordinates; every state downstream is a set and counts them as
duplicates.

Memory is bounded whatever the input rate: one answer a partition is held (fetch.py), of which so
many bytes at a time are worked on; open batches by rows and bytes, sends by bytes. A corrupt batch
stops the bridge with an error that names its offset: nothing is skipped.
"""

import asyncio
import signal
import time
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from kernels.records import Records
from schemas import MARKET, MARKET_IN, TELEMETRY_IN
from schemas.codec import header_map
from schemas.registry import Domain
from streams import metrics
from streams.client import (
    FETCH_BYTES,
    FETCH_WAIT_MS,
    BrokerUnreachableError,
    new_consumer,
    new_producer,
)
from streams.client import consumer as started_consumer
from streams.counts import Counts
from streams.fetch import BatchConsumer
from streams.ingest.admission import Admitted, Row, Source, admit, dead_row, tick_row
from streams.ingest.bulk import Bulk, BulkAdmission
from streams.ingest.outbox import Outbox
from streams.ingest.pack import Packer
from streams.ingest.ticks import TickClock
from streams.log import log
from streams.produce import unjoined
from streams.registry_reader import RegistryReader
from streams.settings import Settings
from streams.topics import group_offsets

STAGE = "ingest"
TICK_HEADER = "gl_tick_ms"
_COMMIT_S = 1.0
_RETRY_S = 1.0
_WORK_BYTES = FETCH_BYTES  # of values at a time: bounds what the columns of a fetch take
_SEND_BYTES = 1 << 20  # of a producer's batch: several Arrow batches a round trip


class Bridge(ConsumerRebalanceListener):  # type: ignore[misc]
    """One bridge process; several share the partitions of the input topics."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._inputs = {settings.topic(t.name): t for t in (TELEMETRY_IN, MARKET_IN)}
        self._registry = RegistryReader(settings)
        self._producer: AIOKafkaProducer = None
        self._consumer: AIOKafkaConsumer = None
        self._outbox: Outbox
        self._admission = BulkAdmission()
        self._packer = Packer(settings.batch_rows, settings.batch_ms / 1000, settings.batch_bytes)
        self._packer.readings = self._admission.readings
        self._clocks: dict[str, TickClock] = {}
        self._counts: dict[TopicPartition, Counts] = {}
        self._next: dict[TopicPartition, int] = {}  # offset to commit
        self._read: dict[TopicPartition, int] = {}  # offset expected next
        self._epoch = 0  # + 1 at every rebalance: what was polled before is read again
        self._one = asyncio.Lock()  # rebalances come between two answers, not within one
        self._stopping = asyncio.Event()
        self._log = log("ingest")

    async def run(self) -> None:
        """Until stop() is called; commits what is done at the end."""
        self._producer = unjoined(
            new_producer(self.settings, linger_ms=5, max_batch_size=_SEND_BYTES)
        )
        self._outbox = Outbox(self.settings, self._producer)
        group = self.settings.topic(f"gridloom.{STAGE}")
        self._consumer = new_consumer(
            self.settings,
            of=BatchConsumer,
            group_id=group,
            session_timeout_ms=self.settings.session_ms,
            heartbeat_interval_ms=1000,
            fetch_max_wait_ms=FETCH_WAIT_MS,
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
        began_s, waited_s = time.monotonic(), 0.0
        while not self._stopping.is_set():
            before_s = time.monotonic()
            polled = await self._consumer.getmany(timeout_ms=self._packer.wait_ms)
            epoch, now_s = self._epoch, time.monotonic()
            waited_s += now_s - before_s
            for tp, fetched in polled.items():
                for records in fetched:
                    await asyncio.sleep(0)  # sends and the next fetch go on between two answers
                    async with self._one:
                        if epoch == self._epoch:
                            await self._take(tp, records)
            async with self._one:
                self._outbox.put(self._packer.close_aged())
                await self._outbox.flush()
                if now_s - began_s >= _COMMIT_S:
                    await self._commit()
                    metrics.BUSY.set(1 - waited_s / (time.monotonic() - began_s))
                    began_s, waited_s = time.monotonic(), 0.0

    async def _take(self, tp: TopicPartition, records: Records) -> None:
        """One answer of a partition: admitted and packed, then counted."""
        topic = self._inputs[tp.topic]
        take = self._telemetry if topic is TELEMETRY_IN else self._market
        await self._note_lost(tp, records)
        counts = Counts()
        for part in _parts(records):
            await take(tp, part, counts)
            await self._outbox.flush()
        counts.check()
        self._counts[tp].add(counts)
        self._next[tp] = self._read[tp] = records.next_offset
        stage = f"{STAGE}.{topic.name}"
        metrics.count_rows(stage, counts)
        metrics.of(metrics.MESSAGES, stage).inc(len(records))
        behind = (self._consumer.highwater(tp) or 0) - records.next_offset
        metrics.of(metrics.LAG, stage, str(tp.partition)).set(max(0, behind))
        if records.error is not None:
            self._log.error("corrupt", topic=tp.topic, partition=tp.partition)
            raise records.error

    async def _note_lost(self, tp: TopicPartition, records: Records) -> None:
        """A hole that retention made is a loss; others are transaction markers or compaction."""
        offset = int(records.offset[0]) if len(records) else records.next_offset
        wanted = self._read.get(tp, offset)
        if offset == wanted:
            return
        first = min(offset, (await self._consumer.beginning_offsets([tp]))[tp])
        if (lost := first - wanted) > 0:
            topic = self._inputs[tp.topic].name
            self._log.error("lost", topic=topic, partition=tp.partition, messages=lost)
            metrics.of(metrics.LOST, f"{STAGE}.{topic}").inc(lost)
            self._counts[tp].lost_messages += lost

    # -- telemetry: by columns --

    async def _telemetry(self, tp: TopicPartition, records: Records, counts: Counts) -> None:
        if self._admission.is_full:
            self._outbox.put(self._packer.close_all())
            self._admission.forget()
            self._packer.readings = self._admission.readings
        bulk = self._admit(tp, records)
        message = bulk.unregistered
        if message is not None and await self._registry.catch_up():
            # registered just before it sent: read the registry to its end, then decide
            known = self._admit(tp, records.part(0, message))
            self._pack(known, counts)
            bulk = self._admit(tp, records.part(message, len(records)))
        self._pack(bulk, counts)

    def _admit(self, tp: TopicPartition, records: Records) -> Bulk:
        registry = self._registry.registry
        return self._admission.admit(records, tp.partition, registry.at(registry.offset))

    def _pack(self, bulk: Bulk, counts: Counts) -> None:
        done = 0
        for other in bulk.others:
            self._pack_rows(bulk, done, other.before)
            done = other.before
            for row in other.admitted.rows:
                self._add(row)
            self._refuse(other.source, other.admitted)
        self._pack_rows(bulk, done, len(bulk))
        counts.add(bulk.counts)

    def _pack_rows(self, bulk: Bulk, first: int, last: int) -> None:
        if first < last:
            lines = bulk.lines(first, last)
            self._outbox.put(self._packer.add_readings(lines, bulk.registry_offset))

    # -- market: row by row --

    async def _market(self, tp: TopicPartition, records: Records, counts: Counts) -> None:
        for number in range(len(records)):
            place = int(records.offset[number]), int(records.timestamp_ms[number])
            source = Source(MARKET_IN, tp.partition, *place)
            value, headers = records.value(number), header_map(records.headers(number))
            registry = self._registry.registry
            admitted = admit(source, value, headers, registry.at(registry.offset))
            if admitted.unregistered and await self._registry.catch_up():
                admitted = admit(source, value, headers, registry.at(registry.offset))
            for row in admitted.rows:
                if row.domain is not None:
                    await self._tick(row.domain, source)
                self._add(row, self._tick_header(row.domain))
            self._refuse(source, admitted)
            counts.add(admitted.counts)

    def _refuse(self, source: Source, admitted: Admitted) -> None:
        for refused in admitted.refused:
            self._add(dead_row(source, refused))
            metrics.of(metrics.REFUSED, f"{STAGE}.{source.topic.name}", refused.reason).inc()

    async def _tick(self, domain: Domain, source: Source) -> None:
        clock = self._clocks.get(domain.id)
        if clock is None:
            clock = self._clocks[domain.id] = await self._recover_clock(domain)
        for tick_ms in clock.due(domain, source.received_ms):
            row = tick_row(domain, tick_ms, source, self._registry.registry.offset)
            self._add(row, {TICK_HEADER: str(tick_ms)})

    def _tick_header(self, domain: Domain | None) -> dict[str, str]:
        clock = self._clocks.get(domain.id) if domain else None
        return {TICK_HEADER: str(clock.last_ms)} if clock and clock.last_ms is not None else {}

    async def _recover_clock(self, domain: Domain) -> TickClock:
        """The last tick that stands in `market`: every batch of the bridge says it in a header."""
        tp = TopicPartition(self.settings.topic(MARKET.name), domain.partition)
        async with started_consumer(self.settings) as client:
            client.assign([tp])
            first = (await client.beginning_offsets([tp]))[tp]
            to = end = (await client.end_offsets([tp]))[tp]
            while to > first:  # back over what other domains wrote, in ever longer parts
                at = max(first, 2 * to - end - 1)
                if (last := await _last_tick(client, tp, at, to)) is not None:
                    return TickClock(last)
                to = at
        return TickClock()

    def _add(self, row: Row, headers: dict[str, str] | None = None) -> None:
        registry_offset = row.fields.get("registry_offset", -1)
        self._outbox.put(
            self._packer.add(row.topic, row.partition, row.fields, registry_offset, headers)
        )

    async def _commit(self) -> None:
        """Outputs durable first, then offsets and counts in one commit."""
        self._outbox.put(self._packer.close_all())
        await self._outbox.durable()
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


async def _last_tick(
    client: AIOKafkaConsumer, tp: TopicPartition, offset: int, end: int
) -> int | None:
    """The tick that the last batch of the bridge from `offset` to `end` says."""
    last = None
    client.seek(tp, offset)
    while await client.position(tp) < end:
        for record in (await client.getmany(tp, timeout_ms=500)).get(tp, ()):
            if record.offset < end:
                last = header_map(record.headers).get(TICK_HEADER, last)
    return int(last) if last is not None else None


def _parts(records: Records) -> Iterator[Records]:
    """The records in parts of about _WORK_BYTES of values; one part where there are none."""
    pieces = np.cumsum(records.value_size) // _WORK_BYTES
    cuts = [0, *(np.flatnonzero(np.diff(pieces)) + 1).tolist(), len(records)]
    for first, last in pairwise(cuts):
        yield records.part(first, last)


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
