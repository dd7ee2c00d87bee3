"""Exact delivery for Faust on aiokafka: every record pulled from the broker is delivered to the
streams once and in order, per assignment, or the partition is sought back to it.

One event is a run (runs.py): consecutive records of one partition from one fetch,
`event.message.run`. What Faust asks for an event is paid once a run; a run never spans a hole, and
nothing waits for one to fill. It is acknowledged as a whole.

    app.transport = ExactTransport(app.conf.broker_consumer, app)
    app.transport.start_offsets = load      # async: partitions -> the offset each state asks for
    app.consumer.done_with(message)         # whoever takes a run says when: some are ahead of it

Faust's own back-pressure fetches without the partition that is ahead, and so may wait a second for
the others before it asks for that one again, which by then has nothing in hand. Here delivery waits
instead, at the most AHEAD_BYTES before what is done, while the next answer comes.

Why: stock Faust resumes the stream partitions, then seeks, then clears the stream queues, so that
what was handed over in between is lost; its drain loop then drops the re-read as old and books the
hole as acknowledged. Three books replace its `_read_offset` and `_gap`:

    _owed[tp]  first offset pulled from aiokafka but not yet delivered: the next fetch seeks there
    _jump[tp]  offset somebody sought to: the batch in hand is stale, the next fetch seeks there
    _sent[tp]  first offsets of delivered runs without an acknowledgement: the first is committed

Faust has no public extension point for what a consumer hands over and commits, so it overrides or
reads these private names of faust-streaming 0.15.3; tests/contract/test_transport*.py fail when one
goes, or does something else:

    Consumer._getmany                pulls one fetch from the thread; getmany is rewritten around it
    Consumer._get_active_partitions  which partitions are not paused ...
    Consumer._active_partitions      ... and whether one was paused while its batch was in hand
    Consumer._to_message             aiokafka's record as Faust's message
    Consumer._is_changelog_tp        Faust's own tables are recovered before streams are fetched
    Consumer._read_offset            what the drain loop drops by: always "nothing"
    Consumer._committed_offset       where the group's commit is; acks below it are ignored
    Consumer._acked, _acked_index    what ack() notes; read and cleared where a commit is decided
    Consumer._new_offset             decides what is committed: rewritten on _sent
    Consumer._new_consumer_thread    so that the thread is ours
    AIOKafkaConsumerThread._fetch_records
                                     runs on the consumer's thread: seeks are only safe there
    AIOKafkaConsumerThread._create_worker_consumer
                                     its consumer is made one that hands over whole fetches
    AIOKafkaConsumer._fetch_max_wait_ms
                                     how long a fetch may wait: Faust leaves no choice
    AIOKafkaConsumerThread._create_client_consumer
                                     the log's start is asked over a connection of its own ...
    AIOKafkaConsumerThread._ensure_consumer
                                     ... or of this one, where that cannot be had
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from aiokafka.errors import KafkaError
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ack_lock

from streams.client import FETCH_WAIT_MS
from streams.fetch import BatchConsumer
from streams.runs import records_of, runs_of

# Delivered and not done with: what is in the cache while it is worked on. A small run counts as
# more than it is, so that there are AHEAD_RUNS at most.
AHEAD_BYTES = 4 << 20
AHEAD_RUNS = 64

StartOffsets = Callable[[set[TP]], Awaitable[Mapping[TP, int]]]


def _ahead_by(run: list[Any]) -> int:
    size: int = sum(record.serialized_value_size for record in run)
    return max(AHEAD_BYTES // AHEAD_RUNS, size)


class ExactConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """The thread that owns the aiokafka consumer: the only place that may move its positions."""

    _one_fetch: asyncio.Lock | None = None
    _asking: Any = None  # a client without a group

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust leaves no choice of a class; until it is started it is a stock one
        consumer.__class__ = BatchConsumer
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    async def _fetch_records(
        self, consumer: Any, active_partitions: Any, timeout: Any = None, max_records: Any = None
    ) -> Any:
        book = self.consumer
        self._one_fetch = self._one_fetch or asyncio.Lock()
        # A fetch whose caller was cancelled still runs here; what it pulls must be owed before
        # the next fetch begins.
        async with self._one_fetch:
            if not book.flow_active:
                return {}
            assigned = consumer.assignment()
            for seeks in (book._owed, book._jump):  # a jump wins over a debt
                for tp in list(seeks):
                    offset = seeks.pop(tp, None)
                    if offset is not None and tp in assigned:
                        consumer.seek(tp, offset)
            fetched = await super()._fetch_records(
                consumer, active_partitions, timeout, max_records
            )
            answers = {ensure_TP(tp): answer for tp, (answer,) in fetched.items()}
            records = {tp: records_of(tp, answer) for tp, answer in answers.items() if len(answer)}
            book._owed.update({tp: batch[0].offset for tp, batch in records.items()})
            if not records:  # else what is wrong is asked for again, and comes alone
                for answer in answers.values():
                    if answer.error is not None:
                        raise answer.error
            return records

    async def earliest_offsets(self, *partitions: TP) -> Any:
        return await self.call_thread(self._earliest, partitions)

    async def _earliest(self, partitions: tuple[TP, ...]) -> Any:
        """Asked over a connection of its own: on the consumer's it waits for the fetch before it,
        up to 1.5 s, and it is asked at every hole.
        """
        if self._asking is None:
            client = self._create_client_consumer(self.transport)
            try:
                await client.start()
            except KafkaError:
                await client.stop()
                return await self._ensure_consumer().beginning_offsets(partitions)
            self._asking = client
        return await self._asking.beginning_offsets(partitions)

    async def on_thread_stop(self) -> None:
        await super().on_thread_stop()
        if self._asking is not None:
            await self._asking.stop()


class ExactConsumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer with the three books."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._owed: dict[TP, int] = {}
        self._jump: dict[TP, int] = {}
        self._end: dict[TP, int] = {}  # last delivered offset + 1
        self._sent: defaultdict[TP, deque[int]] = defaultdict(deque)
        # (wanted, got) of holes that are in the log itself: compaction, transaction markers
        self.holes: defaultdict[TP, set[tuple[int, int]]] = defaultdict(set)
        self._epoch = 0  # + 1 whenever the flow stops or goes on, or the assignment changes
        self._ahead = 0  # bytes of this epoch that were delivered and are not done with
        self._room = asyncio.Event()  # they are fewer than before
        self._sought = False  # perform_seek() is done for this assignment ...
        self._ready = False  # ... and resume_flow() came after it: streams may be fetched
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> ExactConsumerThread:
        return ExactConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # -- delivery: called by the stock drain loop, which hands each record to the streams --

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
            return
        # A copy: Faust changes the set while the fetch waits in the other thread, where an empty
        # set means "all partitions".
        active = frozenset(
            tp for tp in self._get_active_partitions() if self._ready or self._is_changelog_tp(tp)
        )
        if not active:
            await self.sleep(0.1)
            return
        epoch = self._epoch
        records = await self._getmany(active_partitions=active, timeout=timeout)
        if not records or self.should_stop:
            return
        last = {tp: batch[-1].offset for tp, batch in records.items()}
        runs = {tp: list(runs_of(batch)) for tp, batch in records.items()}
        for any_tp, run in self.scheduler.iterate(runs):
            while self._ahead >= AHEAD_BYTES and epoch == self._epoch and not self.should_stop:
                self._room.clear()
                await self.wait_first(self._room, self.suspend_flow)
            if epoch != self._epoch or self.should_stop:
                return  # the rest stays owed
            tp, first, end = ensure_TP(any_tp), run[0].offset, run[-1].offset + 1
            if tp not in self._active_partitions:
                self._jump.setdefault(tp, first)  # paused meanwhile: come back to it
            if tp in self._jump:
                continue
            self._before_delivery(tp, first)
            message = self._to_message(tp, run[0])
            message.run, message.value = run, b""  # nobody else asks for a value
            message.epoch, message.ahead = epoch, _ahead_by(run)
            self._ahead += message.ahead
            yield tp, message
            if epoch != self._epoch:
                return  # the drain loop may have cancelled the delivery
            if tp not in self._jump:
                self._end[tp] = end
            if end > last[any_tp]:
                self._owed.pop(tp, None)
            else:
                self._owed[tp] = end

    def _before_delivery(self, tp: TP, offset: int) -> None:
        self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
        if self.app.topics.acks_enabled_for(tp.topic):
            self._sent[tp].append(offset)
        wanted = self._end.get(tp, offset)
        if wanted < offset:
            self.holes[tp].add((wanted, offset))
        self._read_offset[tp] = None  # no "dropped", no invented gap in the drain loop

    def done_with(self, message: Any) -> None:
        """A run that was delivered is applied, or dropped."""
        if message.epoch == self._epoch:
            self._ahead -= message.ahead
            self._room.set()

    def _new_epoch(self) -> None:
        self._epoch += 1
        self._ahead = 0
        self._room.set()

    def stop_flow(self) -> None:
        self._new_epoch()
        super().stop_flow()

    def resume_flow(self) -> None:
        self._new_epoch()  # Faust has dropped what the streams had not taken
        self._ready = self._sought
        super().resume_flow()

    # -- seeks: noted here, done by the next fetch on the consumer thread --

    async def restart(self, tp: TP, offset: int) -> None:
        """Read on at `offset`, which may be within a run: all before it is saved and done with."""
        with ack_lock:
            self._sent[tp].clear()
            self._acked_index[tp].clear()
        self._jump_to(tp, offset)

    def _jump_to(self, tp: TP, offset: int) -> None:
        sent = self._sent[tp]
        while sent and sent[-1] >= offset:
            sent.pop()
        self._end[tp] = self._jump[tp] = offset

    async def seek(self, partition: TP, offset: int) -> None:
        self._jump_to(ensure_TP(partition), offset)

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        for tp, offset in partitions.items():
            self._jump_to(ensure_TP(tp), offset)

    async def perform_seek(self) -> None:
        """Start each partition where its state asks, else where committed, else by policy."""
        self._ready, epoch = False, self._epoch
        await super().perform_seek()
        tps = {ensure_TP(tp) for tp in self.assignment() if not self._is_changelog_tp(tp)}
        load: StartOffsets | None = self.transport.start_offsets
        asked = await load(tps) if load else {}
        start = {tp: asked.get(tp, self._committed_offset[tp]) for tp in tps}
        if unset := [tp for tp, offset in start.items() if offset is None]:
            earliest = self.app.conf.consumer_auto_offset_reset == "earliest"
            start |= await (self.earliest_offsets if earliest else self.highwaters)(*unset)
        if epoch != self._epoch:
            return  # a rebalance came: this assignment is over
        for tp, offset in start.items():
            self._jump_to(tp, offset)
            # Where the state is ahead of the group's offset, the next commit says so.
            self._acked.setdefault(tp, [])
        self._sought = True

    def _new_assignment(self) -> None:
        self._new_epoch()
        self._ready = self._sought = False
        books: tuple[Any, ...] = (
            self._owed,
            self._jump,
            self._end,
            self._sent,
            self.holes,
        )
        for book in books:
            book.clear()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self._new_assignment()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._new_assignment()
        await super().on_partitions_assigned(assigned, generation_id)

    # -- commit up to the first delivered record that is not acknowledged --

    def _new_offset(self, tp: TP) -> int | None:
        with ack_lock:
            sent, acked = self._sent[tp], self._acked_index[tp]
            while sent and sent[0] in acked:
                acked.discard(sent.popleft())
            self._acked[tp].clear()
            if not sent:
                acked.clear()
            return sent[0] if sent else self._end.get(tp)


class ExactTransport(driver.Transport):  # type: ignore[misc]
    """The transport to set on a Faust app before it starts."""

    Consumer = ExactConsumer
    # asked after every assignment, before the first fetch of its partitions
    start_offsets: StartOffsets | None = None
