"""A consumer that hands over whole fetched record batches, parsed to flat arrays.

    consumer = new_consumer(settings, of=BatchConsumer, group_id=...)
    await consumer.start()               # without topics: subscribe or assign afterwards
    polled = await consumer.getmany()    # partition -> [Records], one of each fetch

Membership, rebalances, positions, back-off, offsets and commits are aiokafka's own, and so is the
fetch: only what a fetch is made into differs. aiokafka keeps each partition's answer as a
`FetchResult` over an iterator of consumer records; here the iterator gives one `Records`, and its
`next_fetch_offset`, from which the position follows, is the end of that.

A partition is not fetched again before its answer is taken: what is held is bounded by
max_partition_fetch_bytes a partition, however fast the input is.

Private names of aiokafka 0.14 it relies on (tests/contract/test_fetch.py fails when one goes):

    AIOKafkaConsumer._fetcher          ours takes the place of the stock one, before any assignment
        ._client, ._subscription and what start() gives its fetcher: ours is given the same
    Fetcher._client                    tapped: the answer's bytes are nowhere else to be had
    Fetcher._proc_fetch_request        one answer: afterwards its iterators are exchanged; it asks
                                       of the bytes whether there are any, and a whole batch
    Fetcher._records, ._isolation_level    where the answers wait; whether aborted records are read
    Fetcher._select_read_replica       the broker that a partition is fetched from
    FetchRequest._max_wait_ms          how long it waits: longer where no partition is left out
    FetchResult._partition_records     the iterator
    PartitionRecords._aborted_transactions, .next_fetch_offset    as the broker and aiokafka say
"""

from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import ConnectionGroup
from aiokafka.consumer.fetcher import READ_COMMITTED, Fetcher, FetchResult, PartitionRecords
from aiokafka.protocol.fetch import FetchRequest

from kernels.records import Fetched, Records, parse
from kernels.records.layout import LENGTH_AT, LOG_OVERHEAD
from streams.client import IDLE_WAIT_MS
from streams.receive import adopt

_SHORTEST = 14  # bytes of a batch of any format, behind its offset and length
_WHOLE = bytes(LENGTH_AT) + _SHORTEST.to_bytes(LOG_OVERHEAD - LENGTH_AT, "big") + bytes(_SHORTEST)


class BatchConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """aiokafka's consumer with a fetcher that builds no object per record."""

    _fetcher: Any

    async def start(self) -> None:
        """Connect; topics are subscribed to afterwards, so that no fetch is under way before."""
        assert not self.subscription(), "subscribe after start()"
        await super().start()
        await self._fetcher.close()
        self._fetcher = BatchFetcher(
            self._client,
            self._subscription,
            fetch_min_bytes=self._fetch_min_bytes,
            fetch_max_bytes=self._fetch_max_bytes,
            fetch_max_wait_ms=self._fetch_max_wait_ms,
            max_partition_fetch_bytes=self._max_partition_fetch_bytes,
            fetcher_timeout=self._consumer_timeout,
            retry_backoff_ms=self._retry_backoff_ms,
            auto_offset_reset=self._auto_offset_reset,
            isolation_level=self._isolation_level,
            client_rack=self._client_rack,
        )


class BatchFetcher(Fetcher):  # type: ignore[misc]
    """aiokafka's fetcher; each answer of a partition becomes one Records."""

    def __init__(self, client: Any, subscriptions: Any, **options: Any) -> None:
        super().__init__(client, subscriptions, **options)
        self._client = _Tap(client)

    async def _proc_fetch_request(self, assignment: Any, node_id: Any, request: Any) -> Any:
        asked = {(topic, number) for topic, some in request.topics for number, *_ in some}
        if all(tp in asked for tp in assignment.tps if self._select_read_replica(tp) == node_id):
            request._max_wait_ms = max(request._max_wait_ms, IDLE_WAIT_MS)
        has_records = await super()._proc_fetch_request(assignment, node_id, request)
        # no await since the answer came: what was tapped is what the stock fetcher has just kept
        for tp, fetched in self._client.taken().items():
            result = self._records.get(tp)
            if type(result) is FetchResult and type(result._partition_records) is PartitionRecords:
                committed = self._isolation_level == READ_COMMITTED
                result._partition_records = _Answer(fetched, result._partition_records, committed)
        return has_records


class _Tap:
    """aiokafka's client, of whose fetch answers the record bytes are kept until they are taken."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._fetched: dict[TopicPartition, Fetched] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def send(self, node_id: Any, request: Any, **options: Any) -> Any:
        if not isinstance(request, FetchRequest):
            return await self._client.send(node_id, request, **options)
        if await self._client.ready(node_id):
            adopt(self._client._conns[node_id, ConnectionGroup.DEFAULT])
        answer = await self._client.send(node_id, request, **options)
        for topic, partitions in answer.topics:
            for place, (partition, *fields, fetched) in enumerate(partitions):
                if fetched:
                    self._fetched[TopicPartition(topic, partition)] = fetched
                    partitions[place] = partition, *fields, seen(fetched)
        return answer

    def taken(self) -> dict[TopicPartition, Fetched]:
        """What the last answer brought."""
        fetched, self._fetched = self._fetched, {}
        return fetched


def seen(fetched: Fetched) -> bytes:
    """What the stock fetcher is shown: it looks only at whether there is a whole batch."""
    size = int.from_bytes(fetched[LENGTH_AT:LOG_OVERHEAD], "big")
    return _WHOLE if LOG_OVERHEAD + size <= len(fetched) else bytes(fetched)


class _Answer:
    """What FetchResult iterates over: the one Records of a partition's answer."""

    def __init__(self, fetched: Fetched, theirs: Any, committed: bool) -> None:
        self._fetched: Fetched | None = fetched
        self._aborted = theirs._aborted_transactions if committed else None
        self.next_fetch_offset: int = theirs.next_fetch_offset

    def __iter__(self) -> "_Answer":
        return self

    def __next__(self) -> Records:
        if self._fetched is None:
            raise StopIteration
        records = parse(self._fetched, self.next_fetch_offset, self._aborted)
        self._fetched, self.next_fetch_offset = None, records.next_offset
        return records
