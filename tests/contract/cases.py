"""The contract suite's input of every stage: an hour and more of the eight-hub scenario.

The scenario's messages are admitted as the bridge would; what one stage brings forth is the input
of the next. A stage whose source has no rows here fails the suite: nobody can forget one.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import pyarrow as pa

import streams.agents  # noqa: F401  (registers the stages)
from schemas import MARKET, MARKET_IN, READINGS, TELEMETRY_IN, TOPICS, Topic
from schemas.codec import header_map
from schemas.registry import Contract
from streams.agent import Batch, Emit, Stage, stages_of
from streams.feeds.eight_hubs import START_MS, EightHubs
from streams.feeds.feed import HOUR_MS, market_events
from streams.ingest.admission import Source, admit, tick_row
from streams.ingest.ticks import TickClock
from streams.registry import Registry, RegistryView

_HOURS = 3
_INPUTS = {TELEMETRY_IN.name: TELEMETRY_IN, MARKET_IN.name: MARKET_IN}
# every column of every delivered topic, so that a delivery shows all there is
_DELIVERED = ("usage", "rollups", "dispatch", "placements", "prices", "signals", "alerts")


@dataclass(frozen=True)
class Log:
    """Rows of each topic as in one partition, and the registry that they were made with."""

    rows: dict[str, pa.RecordBatch]
    registry: RegistryView

    def batches(self, topic: Topic, sizes: Iterable[int]) -> list[Batch]:
        """The topic's rows cut into batches of these sizes, the last size as often as needed."""
        rows, cut, batches = self.rows[topic.name], list(sizes), []
        at = 0
        while at < rows.num_rows:
            size = cut.pop(0) if len(cut) > 1 else cut[0]
            batches.append(self.batch(topic, rows.slice(at, size), len(batches)))
            at += size
        return batches

    def batch(self, topic: Topic, rows: pa.RecordBatch, offset: int) -> Batch:
        return Batch(topic, 0, offset, rows, self.registry, self.registry.offset)


@cache
def log() -> Log:
    """The input of all stages."""
    feed, registry = EightHubs(hours=_HOURS, racks=1), Registry()
    entries = [*feed.entries(), *map(_contract, _DELIVERED)]
    for offset, entry in enumerate(entries):
        registry.put(entry, offset)
    view = registry.at(registry.offset)
    rows = {topic.name: topic.rows(given) for topic, given in _admitted(feed, view).items()}
    found = Log(rows, view)
    for name in ("meter", "rollup", "dispatch", "settle"):  # sources first
        for stage in stages_of(name):
            _follow(found, stage)
    return found


def _contract(topic: str) -> Contract:
    columns = tuple(TOPICS[topic].by_name)
    return Contract(id=f"all-{topic}", subscriber="suite", topic=topic, columns=columns)


def _admitted(feed: EightHubs, view: RegistryView) -> dict[Topic, list[dict[str, object]]]:
    rows: dict[Topic, list[dict[str, object]]] = {READINGS: [], MARKET: []}
    clock = TickClock()
    outage = {"domain": "national", "kind": "outage", "id": "o1", "site_id": "gansu-1"}
    outage |= {"start_ms": START_MS + HOUR_MS, "end_ms": START_MS + 2 * HOUR_MS}
    events = [*market_events([outage], START_MS), *feed.events()]
    for offset, event in enumerate(events):
        source = Source(_INPUTS[event.topic], event.partition, offset, event.timestamp_ms)
        for row in admit(source, event.value, header_map(event.headers), view).rows:
            if row.domain is not None:
                for tick_ms in clock.due(row.domain, event.timestamp_ms):
                    rows[MARKET].append(tick_row(row.domain, tick_ms, source, view.offset).fields)
            rows[row.topic].append(row.fields)
    return rows


def _follow(found: Log, stage: Stage) -> None:
    """Add what the stage makes of its source, unless it reads its own output's topic."""
    if stage.agent == "deliver" or stage.source.name not in found.rows:
        return
    made: dict[str, list[pa.RecordBatch]] = defaultdict(list)
    state = stage.state()
    for batch in found.batches(stage.source, [400]):
        emit: Emit = stage.step(state, batch)
        for output in emit.outputs:
            made[output.topic.name].append(output.rows)
    for name, batches in made.items():
        known = [found.rows[name]] if name in found.rows else []
        table = pa.Table.from_batches([*known, *batches]).combine_chunks()
        found.rows[name] = table.unify_dictionaries().combine_chunks().to_batches()[0]
