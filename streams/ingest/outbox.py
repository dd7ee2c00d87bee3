"""The outbox: records on their way to Kafka, bounded in bytes, and what is durable of them."""

import asyncio
from collections import deque
from typing import Any

from aiokafka import AIOKafkaProducer

from streams import metrics
from streams.emit import Record
from streams.settings import Settings

IN_FLIGHT_BYTES = 16 << 20  # sent but not acknowledged: beyond it `flush` waits


class Outbox:
    """Sends in the order of `put`; a send that failed raises in the next call of flush or durable.

    Several tasks may call: a record is in the outbox from `put` on, without a gap.
    """

    def __init__(self, settings: Settings, producer: AIOKafkaProducer) -> None:
        self._settings, self._producer = settings, producer
        self._waiting: deque[Record] = deque()
        self._sends: deque[tuple[asyncio.Future[Any], int]] = deque()
        self._bytes = 0
        self._one = asyncio.Lock()

    def put(self, records: list[Record]) -> None:
        """Take records in; they leave with the next flush."""
        self._waiting += records

    async def flush(self) -> None:
        """Returns when all are handed over and few enough bytes are in flight."""
        async with self._one:
            while self._waiting:
                await self._send(self._waiting.popleft())
            while self._sends and (self._bytes > IN_FLIGHT_BYTES or self._sends[0][0].done()):
                future, size = self._sends[0]
                await future  # before it is forgotten: a failed one stays
                self._sends.popleft()
                self._bytes -= size
        metrics.IN_FLIGHT.set(self._bytes)

    async def durable(self) -> None:
        """Returns when everything that was put in before this call is on the cluster."""
        await self.flush()
        await asyncio.gather(*(future for future, _ in self._sends))

    async def _send(self, record: Record) -> None:
        future = await self._producer.send(
            self._settings.topic(record.topic),
            record.value,
            partition=record.partition,
            headers=record.headers,
        )
        self._sends.append((future, len(record.value)))
        self._bytes += len(record.value)
