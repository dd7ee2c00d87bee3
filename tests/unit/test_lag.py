"""Lag: the order of agents, and when the whole pipeline has come to its end."""

from types import SimpleNamespace

from aiokafka import TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError

import streams.agents  # noqa: F401  (registers the stages)
from streams.lag import Lag, LagWatch, Moment, settled, sources_of_agents
from streams.settings import Settings

TELEMETRY, USAGE = TopicPartition("telemetry.in", 0), TopicPartition("usage", 0)


def moment(telemetry, usage, behind=0):
    return Moment({TELEMETRY: telemetry, USAGE: usage}, {"ingest": Lag(telemetry - behind, behind)})


def test_rows_pass_through_the_agents_in_this_order():
    order = list(sources_of_agents())

    assert order[0] == "ingest"
    assert order[-1] == "deliver"
    assert order.index("meter") < order.index("settle")


def test_every_agent_reads_its_own_sources():
    sources = sources_of_agents()

    assert sources["ingest"] == ["telemetry.in", "market.in"]
    assert sources["rollup"] == ["readings", "rollups.partial"]


def test_the_end_is_when_nobody_is_behind_and_nothing_has_moved_since():
    assert settled(moment(5, 9), moment(5, 9))


def test_an_output_that_came_meanwhile_is_still_to_be_read():
    assert not settled(moment(5, 8), moment(5, 9))


def test_somebody_behind_is_not_the_end():
    assert not settled(moment(5, 9, behind=1), moment(5, 9))
    assert not settled(moment(5, 9), moment(5, 9, behind=1))


class Cluster:
    """An admin and a consumer in one: topics t1.* with these ends, groups with these commits."""

    def __init__(self, ends, commits):
        self.ends, self.commits, self.asked = ends, commits, []

    async def describe_topics(self, names):
        return [
            {
                "topic": name,
                "error_code": 0 if f"{name}/0" in self.ends else 3,
                "partitions": [{"partition": p} for p in range(4) if f"{name}/{p}" in self.ends],
            }
            for name in names
        ]

    async def end_offsets(self, tps):
        self.asked.append("ends")
        return {tp: self.ends[f"{tp.topic}/{tp.partition}"] for tp in tps}

    async def list_consumer_group_offsets(self, group):
        self.asked.append(group)
        if group not in self.commits:
            raise GroupCoordinatorNotAvailableError
        found = self.commits[group]
        return {TopicPartition(t, p): SimpleNamespace(offset=n) for (t, p), n in found.items()}


async def lags_of(cluster):
    return await LagWatch(Settings(namespace="t1."), cluster, cluster).now()


async def test_lag_is_what_was_written_and_not_committed_over_all_partitions():
    ends = {"t1.telemetry.in/0": 10, "t1.telemetry.in/1": 5, "t1.readings/0": 7}
    ingest = {("t1.telemetry.in", 0): 8, ("t1.telemetry.in", 1): -1, ("another", 0): 99}
    cluster = Cluster(ends, {"t1.gridloom.ingest": ingest, "t1.gridloom.meter": {}})

    moment = await lags_of(cluster)

    assert moment.lags["ingest"] == Lag(done=8, behind=2 + 5)
    assert moment.lags["meter"] == Lag(done=0, behind=7)
    assert moment.lags["settle"] == Lag(0, 0), "its topic does not exist"
    assert not moment.idle
    assert cluster.asked[0] == "ends", "a lag of 0 holds for these ends"


async def test_a_commit_ahead_of_the_ends_as_they_were_is_no_negative_lag():
    commits = {"t1.gridloom.meter": {("t1.readings", 0): 9}}

    moment = await lags_of(Cluster({"t1.readings/0": 7}, commits))

    assert moment.lags["meter"] == Lag(done=9, behind=0)


async def test_a_cluster_without_topics_is_idle():
    assert (await lags_of(Cluster({}, {}))).idle
