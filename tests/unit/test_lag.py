"""Lag: the order of agents, and when the whole pipeline has come to its end."""

from aiokafka import TopicPartition

import streams.agents  # noqa: F401  (registers the stages)
from streams.lag import Lag, Moment, settled, sources_of_agents

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
