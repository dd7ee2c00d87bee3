"""The contract suite's input of every stage: an hour and more of the eight-hub scenario.

The scenario's messages are admitted as the bridge would; what one stage brings forth is the input
of the next. A stage whose source has no rows here fails the suite: nobody can forget one. Of the
scenario's sites two are domains, one of which has a child: what they write to each other stands
among the rows of the market, a few rows late.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import pyarrow as pa

import streams.agents  # noqa: F401  (registers the stages)
from schemas import MARKET, MARKET_IN, READINGS, TELEMETRY_IN, TOPICS, Topic
from schemas.codec import header_map
from schemas.market import HANDED, HELD
from schemas.policy import Limits, Quota
from schemas.registry import Contract, Domain, Policy
from streams.agent import STAGES, Batch, Emit, Stage, stages_of
from streams.feeds.eight_hubs import START_MS, EightHubs
from streams.feeds.feed import HOUR_MS, Event, in_event_time, market_events
from streams.ingest.admission import Source, admit, tick_row
from streams.ingest.ticks import TickClock
from streams.registry import Registry, RegistryView

_HOURS = 3
_INPUTS = {TELEMETRY_IN.name: TELEMETRY_IN, MARKET_IN.name: MARKET_IN}
# every column of every delivered topic, so that a delivery shows all there is
_TREE = {"gansu-1": "national", "ningxia-1": "national", "gansu-1-a": "gansu-1"}
_LATE_ROWS = 5  # between what a domain writes to another and its place in the log
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
    entries = [*feed.entries(), *map(_contract, _DELIVERED), *_domains()]
    for offset, entry in enumerate(entries):
        registry.put(entry, offset)
    view = registry.at(registry.offset)
    rows = _admitted(feed, view)
    rows[MARKET] = _with_mail(rows[MARKET], view)
    found = Log({topic.name: topic.rows(given) for topic, given in rows.items()}, view)
    for name in ("meter", "rollup", "dispatch", "settle"):  # sources first
        for stage in stages_of(name):
            _follow(found, stage)
    return found


def _contract(topic: str) -> Contract:
    columns = tuple(TOPICS[topic].by_name)
    return Contract(id=f"all-{topic}", subscriber="suite", topic=topic, columns=columns)


def _domains() -> Iterable[Domain | Policy]:
    for number, (name, parent) in enumerate(_TREE.items(), 1):
        yield Domain(id=name, partition=number, steps=4, parent=parent)
    share = Quota(id="super", job_class="general", limits=Limits(cores_milli=20_000_000))
    yield Policy(id="national", quotas=(share,))


def _events_of_children() -> Iterable[Event]:
    """Every hour a domain's region and a job of its own; its site, or its child, at first."""
    for hour in range(_HOURS + 1):
        at_ms = START_MS + hour * HOUR_MS
        for name in _TREE:
            grid = {"kind": "region", "id": "r", "region": "r", "load_mw": 0.1, "ren_avail_mw": 0.0}
            grid |= {"start_ms": at_ms, "end_ms": at_ms + 2 * HOUR_MS, "import_max_mw": 5.0}
            offer = {"kind": "offer", "id": f"{name}-a", "region": "r", "cores_milli": 9_000_000}
            offer |= {"accel_milli": 900_000, "power_w": 900_000, "network_mbps": 400_000}
            offer |= {"rate_fp16_ppm": 2_000_000}
            job = {"kind": "job", "id": f"own-{hour}", "region": "r", "account_id": "local"}
            job |= {"class": "general", "duration_ms": 2 * HOUR_MS, "reject_cost": 900.0}
            job |= {"precision": "fp16", "data_gb": 1.5, "data_region": "r"}
            rows = [grid | {"import_price_per_mwh": 90.0 + hour}, offer]
            rows.append(job | {"cores_milli": 8_000, "power_w": 2_000})
            yield from market_events([{"domain": name} | row for row in rows], at_ms + 1)


def _with_mail(rows: list[dict[str, object]], view: RegistryView) -> list[dict[str, object]]:
    """The market's rows with what the domains write to each other."""
    stage = STAGES["dispatch.market"]
    log, state, mail = [], stage.state(), []
    coming = list(reversed(rows))
    while coming or mail:
        due = mail and (not coming or mail[0][0] <= len(log))
        row = mail.pop(0)[1] if due else coming.pop()
        log.append(row)
        emit = stage.step(state, Batch(MARKET, 0, 0, MARKET.rows([row]), view, view.offset))
        made = [output.rows for output in emit.outputs if output.topic is MARKET]
        mail += [(len(log) + _LATE_ROWS, new) for some in made for new in some.to_pylist()]
    kinds = [row["kind"] for row in log]
    assert kinds.count(HANDED) > len(_TREE)
    assert kinds.count(HELD) > len(_TREE)
    assert sum(row["kind"] == "job" and row["source"] == "gansu-1" for row in log)
    return log


def _admitted(feed: EightHubs, view: RegistryView) -> dict[Topic, list[dict[str, object]]]:
    rows: dict[Topic, list[dict[str, object]]] = {READINGS: [], MARKET: []}
    clocks: dict[str, TickClock] = defaultdict(TickClock)
    children = _events_of_children()
    outage = {"domain": "national", "kind": "outage", "id": "o1", "site_id": "gansu-1"}
    outage |= {"start_ms": START_MS + HOUR_MS, "end_ms": START_MS + 2 * HOUR_MS}
    events = [*market_events([outage], START_MS), *in_event_time(feed.events(), children)]
    for offset, event in enumerate(events):
        source = Source(_INPUTS[event.topic], event.partition, offset, event.timestamp_ms)
        for row in admit(source, event.value, header_map(event.headers), view).rows:
            if row.domain is not None:
                for tick_ms in clocks[row.domain.id].due(row.domain, event.timestamp_ms):
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
            if output.topic is stage.source:
                continue  # its rows stand in the log already
            made[output.topic.name].append(output.rows)
    for name, batches in made.items():
        known = [found.rows[name]] if name in found.rows else []
        table = pa.Table.from_batches([*known, *batches]).combine_chunks()
        found.rows[name] = table.unify_dictionaries().combine_chunks().to_batches()[0]
