"""What is known of each scheduling domain: the state of the dispatch agent.

Rows of `market` are taken in as they come; a later row for the same thing replaces the earlier. A
row comes again after a crash of the bridge: rows up to the last place seen of their source
partition are duplicates. A bridge writes in order, so nothing is missed by that rule.
"""

from typing import Any, ClassVar, Self

import msgspec

from schemas.market import HANDED, TICK
from schemas.offer import Offer
from schemas.policy import Deal, Part

Row = dict[str, Any]

HAND = -1  # source_partition of what one domain writes to another
MEMORY_MS = 7 * 86_400_000  # a job sent again so long after its decision is a duplicate


def sender_of(row: Row) -> str | None:
    """The domain that wrote the row to another; None for a row of ingest."""
    return str(row["source"]) if row["source_partition"] == HAND else None


class Running(msgspec.Struct, array_like=True):
    """A placed job that holds its resources until end_ms."""

    job_id: str
    site_id: str
    region: str
    start_ms: int
    end_ms: int
    demand: tuple[int, ...]  # kernels.match resource order, milli-units; power at the facility
    account_id: str = ""
    job_class: str = ""
    pairing: str = ""  # region it came from
    apart: str = ""  # group of which no two run at one site
    together: str = ""  # group that runs at one site
    pool: str = ""  # of the child that it was handed to
    deal: int = 0  # with which it was handed down


class Planned(msgspec.Struct, array_like=True):
    """A region's last good plan, as far as it has a memory; lists over the steps from tick_ms."""

    tick_ms: int
    flex_mw: list[float]
    storages: dict[str, tuple[list[float], list[float], list[float]]]  # MW in, MW out, MWh


class Above(msgspec.Struct):
    """The newest deal that a parent handed down."""

    parent: str
    deal: Deal


class Lent(msgspec.Struct):
    """The most a child may use: what it last said, and what was dealt to it since; its offer."""

    kept: tuple[Part, ...] = ()
    asked: tuple[Part, ...] = ()
    dealt: list[Deal] = []
    offer: Offer | None = None


class Sent(msgspec.Struct, array_like=True):
    """A job that was handed to a child, which may still return it."""

    child: str
    deal: int  # with which it was handed down
    job: Row  # as it waited here


class Open(msgspec.Struct):
    """The last tick while a region's input is late, or a parent may still hand down for it: what a

    revision of it begins from.
    """

    tick_ms: int
    late: list[str]  # regions whose newest row ended before the tick
    found: "Market"  # regions, things, states of charge and plans as the tick found them
    compute_mw: dict[str, list[float]]  # region -> load of its jobs, step by step
    revision: int = 0
    renewed: list[str] = []  # kind/id of storages and requests that were said anew since the tick
    priced: list[tuple[str, str, int]] = []  # product, id and start of prices of what is short


class Market(msgspec.Struct):
    """What is known of one domain."""

    seen: dict[str, tuple[int, int]] = {}  # partition of market.in, or domain -> (offset, row)
    regions: dict[str, dict[int, Row]] = {}  # region -> start_ms -> row
    things: dict[str, dict[str, Row]] = {}  # kind -> id -> row (storage, supply, link, ...)
    soc_mwh: dict[str, float] = {}  # storage id -> as of the last tick's plan
    jobs: dict[str, Row] = {}  # waiting for a place
    running: list[Running] = []
    decided: dict[str, int] = {}  # job ids placed or rejected for good -> when
    alerts: dict[str, int] = {}  # kind/id -> raised_ms
    planned: dict[str, Planned] = {}  # region -> held while its input is late
    last_tick_ms: int = -1
    open: Open | None = None
    above: Above | None = None
    below: dict[str, Lent] = {}  # child -> what it may use, and what it offers
    handed: dict[str, Sent] = {}  # name of a job below -> what a child has not started yet
    told: str = ""  # its last answer to its parent
    dealt: int = 0  # deals so far
    written: int = 0  # rows written to other domains so far
    proof: dict[str, float] = {}  # of the last tick's plan

    def known(self, row: Row) -> bool:
        """Whether the row came before; remembers its place."""
        if row["kind"] == TICK:
            return bool(row["start_ms"] <= self.last_tick_ms)
        origin = str(row["source_partition"])
        if sender := sender_of(row):
            origin = f"domain {sender}"
        place = (row["source_offset"], row["source_row"])
        if place <= self.seen.get(origin, (-1, -1)):
            return True
        self.seen[origin] = place
        return False

    def take(self, row: Row) -> bool:
        """Take in one row that is not a tick; False for a job that is known already."""
        kind, thing = row["kind"], {k: v for k, v in row.items() if v is not None}
        if kind == "region":
            self.regions.setdefault(row["region"], {})[row["start_ms"]] = thing
        elif kind == "job":
            if row["id"] in self.jobs or row["id"] in self.decided:
                return False
            self.jobs[row["id"]] = thing
        else:
            self.things.setdefault(kind, {})[row["id"]] = thing
            if self.open is not None and kind in ("storage", "request"):
                self.open.renewed.append(f"{kind}/{row['id']}")
            if kind == "storage":
                self.soc_mwh[row["id"]] = row["soc_mwh"]
        return True

    def awaits(self, row: Row) -> bool:
        """Whether the row is what the last tick lacked, and covers it: a deal, a late region."""
        if self.open is None or row["kind"] not in ("region", HANDED):
            return False
        late = row["kind"] == HANDED or row["region"] in self.open.late
        return late and bool(row["start_ms"] <= self.open.tick_ms < row["end_ms"])

    def goes_by_plan(self, kind: str, thing_id: str) -> bool:
        """Whether nothing newer than the last tick's plan is known of a storage or request."""
        return self.open is None or f"{kind}/{thing_id}" not in self.open.renewed

    def as_found(self) -> "Market":
        """A copy of what the balance is made from; rows are never changed in place."""
        return Market(
            regions={region: dict(rows) for region, rows in self.regions.items()},
            things={kind: dict(things) for kind, things in self.things.items()},
            soc_mwh=dict(self.soc_mwh),
            planned=dict(self.planned),
        )

    def of(self, kind: str) -> list[Row]:
        """The known things of a kind, by id."""
        return [thing for _, thing in sorted(self.things.get(kind, {}).items())]

    def region_at(self, region: str, at_ms: int) -> Row | None:
        """The region's row that holds at a time: the latest that starts at or before it."""
        rows = self.regions[region]
        earlier = [start for start in rows if start <= at_ms]
        return rows[max(earlier)] if earlier else None

    def is_down(self, site_id: str, at_ms: int) -> bool:
        """Whether an outage of the site covers the time."""
        return any(
            outage.get("site_id", outage["id"]) == site_id
            and outage["start_ms"] <= at_ms < outage["end_ms"]
            for outage in self.of("outage")
        )

    def forget(self, before_ms: int) -> None:
        """Drop what can no longer matter: past region rows but the last, ended jobs, outages."""
        for rows in self.regions.values():
            past = sorted(start for start in rows if start < before_ms)
            for start in past[:-1]:
                del rows[start]
        for kind in ("outage", "request"):
            things = self.things.get(kind, {})
            for thing_id in [i for i, t in things.items() if t["end_ms"] <= before_ms]:
                del things[thing_id]
        self.running = [job for job in self.running if job.end_ms > before_ms]
        for job_id in [i for i, at in self.decided.items() if at < before_ms - MEMORY_MS]:
            del self.decided[job_id]


class Markets(msgspec.Struct):
    """State of one partition of `market`: one domain, or several apart where they share it."""

    VERSION: ClassVar[int] = 6

    domains: dict[str, Market] = {}

    def dump(self) -> bytes:
        return msgspec.msgpack.encode(self.domains)

    @classmethod
    def load(cls, dumped: bytes) -> Self:
        return cls(msgspec.msgpack.decode(dumped, type=dict[str, Market]))

    def of(self, domain_id: str) -> Market:
        """The domain's market, empty at first."""
        return self.domains.setdefault(domain_id, Market())
