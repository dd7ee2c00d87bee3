"""Follows the registry topic, so that a batch can be resolved as of the offset it was stamped."""

import asyncio
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas import REGISTRY, RegistryError
from schemas.registry import parse_entry
from streams.client import new_consumer
from streams.log import log
from streams.registry import Registry
from streams.settings import Settings


class RegistryReader:
    """Reads every registry record from the first on; `registry` grows while it runs."""

    def __init__(self, settings: Settings) -> None:
        self.registry = Registry()
        self._settings = settings
        self._tp = TopicPartition(settings.topic(REGISTRY.name), 0)
        self._consumer: AIOKafkaConsumer | None = None
        self._asker: AIOKafkaConsumer | None = None  # on the other, it waits for a fetch
        self._task: asyncio.Task[None] | None = None
        self._grown = asyncio.Condition()
        self._log = log("registry")

    async def start(self) -> None:
        """Read to the end as of now, then go on in the background."""
        self._consumer = new_consumer(self._settings)
        await self._consumer.start()
        self._consumer.assign([self._tp])
        await self._consumer.seek_to_beginning(self._tp)
        end = await self._end(self._consumer)
        while await self._consumer.position(self._tp) < end:
            await self._read(500)
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        for client in (self._consumer, self._asker):
            if client:
                await client.stop()

    async def wait_for(self, offset: int) -> None:
        """Return once the registry has been read up to `offset`."""
        if self.registry.offset >= offset:
            return
        async with self._grown:
            await self._grown.wait_for(lambda: self.registry.offset >= offset)

    async def catch_up(self) -> bool:
        """Read to the registry's end as of now; whether that brought anything new."""
        if self._asker is None:
            self._asker = new_consumer(self._settings)
            await self._asker.start()
        before = self.registry.offset
        end = await self._end(self._asker)
        if end - 1 > before:
            await self.wait_for(end - 1)
        return self.registry.offset > before

    async def _end(self, client: AIOKafkaConsumer) -> int:
        end: int = (await client.end_offsets([self._tp]))[self._tp]
        return end

    async def _follow(self) -> None:
        while True:
            await self._read(1000)

    async def _read(self, timeout_ms: int) -> None:
        assert self._consumer is not None
        for records in (await self._consumer.getmany(timeout_ms=timeout_ms)).values():
            for record in records:
                self._admit(record)
        # an offset without a record (compacted away, a transaction's marker) counts as read
        self.registry.skip(await self._consumer.position(self._tp) - 1)
        async with self._grown:
            self._grown.notify_all()

    def _admit(self, record: Any) -> None:
        try:
            if record.value is None:
                self.registry.skip(record.offset)
            else:
                self.registry.put(parse_entry(record.value), record.offset)
        except RegistryError as error:
            self.registry.skip(record.offset)
            self._log.warning("entry_refused", offset=record.offset, error=str(error))
