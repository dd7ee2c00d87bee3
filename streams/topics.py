"""Topics on the cluster: created as the schemas say, never by accident; and what lies in them."""

import asyncio

from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import GroupCoordinatorNotAvailableError, TopicAlreadyExistsError

from schemas import TOPICS, Topic
from streams.agent import STAGES
from streams.client import MAX_MESSAGE_BYTES, admin, consumer, partitions_of
from streams.settings import Settings

# a new cluster makes the topic of group offsets when it is first asked for one
_COORDINATOR_WAITS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
_METADATA_WAITS_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0)

_COMPACTED = {
    "cleanup.policy": "compact",
    "segment.bytes": str(32 << 20),
    "min.cleanable.dirty.ratio": "0.1",
    "max.message.bytes": str(MAX_MESSAGE_BYTES),
}
# What a save replaced is deleted in the newest segment, which no cleaner looks at before it is
# rolled: by time, so that a partition that became quiet does not keep two copies of its state.
_ROLLED_MS = str(10 * 60_000)
_JOURNAL = _COMPACTED | {"segment.ms": _ROLLED_MS, "max.compaction.lag.ms": _ROLLED_MS}
# A batch topic is kept by time and never compacted: the last batch of a key is not its whole.
_BATCHES = {"cleanup.policy": "delete", "max.message.bytes": str(MAX_MESSAGE_BYTES)}
# Inputs carry event time as Kafka timestamp: by-time retention would delete a replay of last year
# while it is being read. How long raw input is kept is the operator's decision.
_INPUTS = _BATCHES | {"retention.ms": "-1"}


def wanted(settings: Settings) -> dict[str, NewTopic]:
    """Every topic of the schemas and a journal a stage, as they should be on the cluster."""
    topics = {topic.name: (topic.partitions, _configs(topic)) for topic in TOPICS.values()}
    for stage in STAGES.values():
        topics[stage.journal_topic] = (stage.source.partitions, _JOURNAL)
    return {
        settings.topic(name): NewTopic(
            settings.topic(name), partitions, settings.replication, topic_configs=dict(configs)
        )
        for name, (partitions, configs) in topics.items()
    }


def _configs(topic: Topic) -> dict[str, str]:
    if topic.compacted:
        return _COMPACTED
    return _INPUTS if "ingest" in topic.read_by and topic.form == "json" else _BATCHES


async def create_topics(settings: Settings, names: list[str] | None = None) -> list[str]:
    """Create what is missing of `names` (a contract's out.* topics) or of all; returns those."""
    topics = wanted(settings)
    if names is not None:
        topics = {
            name: NewTopic(name, 1, settings.replication, topic_configs=dict(_BATCHES))
            for name in map(settings.topic, names)
        }
    async with admin(settings) as client:
        present = set(await client.list_topics())
        missing = [topic for name, topic in topics.items() if name not in present]
        for topic in missing:
            try:
                await client.create_topics([topic])
            except TopicAlreadyExistsError:
                continue  # somebody else created it at the same moment
    names = sorted(topic.name for topic in missing)
    await _known(settings, names)
    return names


async def _known(settings: Settings, names: list[str]) -> None:
    """Wait until the brokers know topics that the controller has made: they learn it later."""
    for wait_s in _METADATA_WAITS_S:
        if len(await partitions_of(settings, names)) == len(names):
            return
        await asyncio.sleep(wait_s)


async def end_offsets(settings: Settings, names: list[str]) -> dict[str, dict[int, int]]:
    """Partition -> next offset, of each topic on the cluster among `names`."""
    present = await partitions_of(settings, names)
    tps = [TopicPartition(name, p) for name, found in present.items() for p in sorted(found)]
    async with consumer(settings) as client:
        ends = await client.end_offsets(tps) if tps else {}
    result: dict[str, dict[int, int]] = {name: {} for name in present}
    for tp, end in ends.items():
        result[tp.topic][tp.partition] = end
    return result


async def group_offsets(settings: Settings, group: str) -> dict[TopicPartition, tuple[int, str]]:
    """Committed offset and metadata of each partition that a consumer group has read."""
    async with admin(settings) as client:
        for wait_s in _COORDINATOR_WAITS_S:
            try:
                found = await client.list_consumer_group_offsets(group)
                break
            except GroupCoordinatorNotAvailableError:
                await asyncio.sleep(wait_s)
        else:
            found = await client.list_consumer_group_offsets(group)
    return {tp: (at.offset, at.metadata) for tp, at in found.items()}
