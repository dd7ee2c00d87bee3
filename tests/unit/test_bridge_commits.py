"""What the bridge commits after an output was refused, and across rebalances: hand-driven, since a
broker that refuses one record and then works again cannot be had on demand."""

import asyncio
from typing import Any

import numpy as np
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError

from kernels.records import Records
from kernels.records.layout import Row
from streams.counts import Counts
from streams.ingest.bridge import Bridge
from streams.ingest.outbox import Outbox
from streams.settings import Settings

TP = TopicPartition("telemetry.in", 1)


class Brokers:
    """Takes outputs, or refuses the next one; keeps what was committed."""

    def __init__(self) -> None:
        self.refuses, self.first_kept = False, 0
        self.committed: list[dict[TopicPartition, Any]] = []

    async def send(self, *_: Any, **__: Any) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.refuses:
            future.set_exception(KafkaTimeoutError())
        else:
            future.set_result(None)
        self.refuses = False
        return future

    def assignment(self) -> set[TopicPartition]:
        return {TP}

    async def commit(self, offsets: dict[TopicPartition, Any]) -> None:
        self.committed.append(offsets)

    def highwater(self, _: TopicPartition) -> int:
        return 0

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, self.first_kept)


def message(offset: int) -> Records:
    """An answer of one message that is no JSON."""
    value = b"not json"
    columns = np.zeros((len(Row), 1), np.int64)
    columns[Row.OFFSET], columns[Row.VALUE_SIZE] = offset, len(value)
    columns[Row.KEY_SIZE] = -1
    return Records(value, columns, offset + 1)


@pytest.fixture
def brokers() -> Brokers:
    return Brokers()


@pytest.fixture
async def bridge(brokers: Brokers, monkeypatch: pytest.MonkeyPatch) -> Bridge:
    made = Bridge(Settings(brokers="nowhere:1"))
    made._producer = made._consumer = brokers
    made._outbox = Outbox(made.settings, made._producer)

    async def committed(*_: Any) -> dict[TopicPartition, tuple[int, str]]:
        if not brokers.committed:
            return {TP: (0, "")}
        last = brokers.committed[-1][TP]
        return {TP: (last.offset, last.metadata)}

    monkeypatch.setattr("streams.ingest.bridge.group_offsets", committed)
    await made.on_partitions_assigned({TP})
    return made


async def test_a_refused_output_is_never_committed_over(bridge: Bridge, brokers: Brokers) -> None:
    await bridge._take(TP, message(0))
    brokers.refuses = True
    with pytest.raises(KafkaTimeoutError):
        await bridge._commit()
    with pytest.raises(KafkaTimeoutError):  # the broker works again, the output is still missing
        await bridge._take(TP, message(1))
    with pytest.raises(KafkaTimeoutError):
        await bridge._commit()
    assert brokers.committed == []


async def test_counts_go_on_from_what_was_committed_after_a_rebalance(
    bridge: Bridge, brokers: Brokers
) -> None:
    await bridge._take(TP, message(0))
    await bridge.on_partitions_revoked({TP})
    await bridge._take(TP, message(1))  # taken, but another owner may have it: not committed
    await bridge.on_partitions_assigned({TP})
    await bridge._take(TP, message(1))
    await bridge._commit()
    last = brokers.committed[-1][TP]
    assert last.offset == 2
    assert bridge._counts[TP] == Counts(consumed=2, dead_lettered=2)


@pytest.mark.parametrize(("first_kept", "lost"), [(0, 0), (5, 5), (9, 7)])
async def test_only_a_hole_that_retention_made_is_a_loss(
    bridge: Bridge, brokers: Brokers, first_kept: int, lost: int
) -> None:
    await bridge.on_partitions_assigned({TP})
    brokers.first_kept = first_kept
    await bridge._take(TP, message(7))
    assert bridge._counts[TP].lost_messages == lost
