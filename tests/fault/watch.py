"""When new rows came out: how long each partition stood still after a fault.

A row is new when it is of a later minute than any before it in its partition; what a killed process
had sent already, or what is sent again, is none.
"""

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.client import new_consumer
from streams.settings import Settings

TOPICS = ("readings", "usage")
PARTITIONS = 4
IN_FLIGHT_S = 0.3  # what was sent before the fault has arrived by then
_POLL_S = 0.02


@dataclass
class Watch:
    """The latest minute of each output partition, and when it came (monotonic seconds)."""

    settings: Settings
    _minutes: dict[tuple[str, int], list[tuple[float, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    async def run(self) -> None:
        """The watch's task; ends when it is cancelled."""
        consumer: AIOKafkaConsumer = new_consumer(self.settings)
        await consumer.start()
        try:
            names = {self.settings.topic(name): name for name in TOPICS}
            tps = [TopicPartition(full, p) for full in names for p in range(PARTITIONS)]
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            while True:
                found = await consumer.getmany(timeout_ms=200)
                now_s = time.monotonic()
                for tp, records in found.items():
                    self._note((names[tp.topic], tp.partition), records, now_s)
        finally:
            await consumer.stop()

    def _note(self, place: tuple[str, int], records: list[Any], now_s: float) -> None:
        latest_ms = max(_latest_ms(record.value) for record in records)
        minutes = self._minutes[place]
        if not minutes or latest_ms > minutes[-1][1]:
            minutes.append((now_s, latest_ms))

    async def until_new(self, topic: str, since_s: float, within_s: float) -> float:
        """Seconds from `since_s` to the first new row of the slowest partition.

        Raises TimeoutError when a partition brings none in time.
        """
        async with asyncio.timeout(max(0.0, since_s + within_s - time.monotonic())):
            while None in (came := [self._came(topic, p, since_s) for p in range(PARTITIONS)]):
                await asyncio.sleep(_POLL_S)
        return max(at_s for at_s in came if at_s is not None) - since_s

    def _came(self, topic: str, partition: int, since_s: float) -> float | None:
        minutes = self._minutes[topic, partition]
        known = [ms for at_s, ms in minutes if at_s <= since_s + IN_FLIGHT_S]
        before_ms = known[-1] if known else 0
        return next((s for s, ms in minutes if ms > before_ms and s > since_s + IN_FLIGHT_S), None)


def _latest_ms(value: bytes) -> int:
    with pa.ipc.open_stream(value) as reader:
        return int(pc.max(reader.read_all()["end_ms"]).as_py())
