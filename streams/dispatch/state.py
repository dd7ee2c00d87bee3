"""What is known of each scheduling domain: the state of the dispatch agent.

Rows of `market` are taken in as they come; a later row for the same thing replaces the earlier. A
row comes again after a crash of the bridge: rows up to the last place seen of their source
partition are duplicates. A bridge writes in order, so nothing is missed by that rule.
"""

from typing import Any, ClassVar, Self

import msgspec

from schemas.market import TICK

Row = dict[str, Any]

MEMORY_MS = 7 * 86_400_000  # a job sent again so long after its decision is a duplicate


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


class Planned(msgspec.Struct, array_like=True):
    """A region's last good plan, as far as it has a memory; lists over the steps from tick_ms."""

    tick_ms: int
    flex_mw: list[float]
    storages: dict[str, tuple[list[float], list[float], list[float]]]  # MW in, MW out, MWh


class Market(msgspec.Struct):
    """What is known of one domain."""

    seen: dict[str, tuple[int, int]] = {}  # partition of market.in -> last (offset, row)
    regions: dict[str, dict[int, Row]] = {}  # region -> start_ms -> row
    things: dict[str, dict[str, Row]] = {}  # kind -> id -> row (storage, supply, link, ...)
    soc_mwh: dict[str, float] = {}  # storage id -> as of the last tick's plan
    jobs: dict[str, Row] = {}  # waiting for a place
    running: list[Running] = []
    decided: dict[str, int] = {}  # job ids placed or rejected for good -> when
    alerts: dict[str, int] = {}  # kind/id -> raised_ms
    planned: dict[str, Planned] = {}  # region -> held while its input is late
    last_tick_ms: int = -1

    def known(self, row: Row) -> bool:
        """Whether the row came before; remembers its place."""
        if row["kind"] == TICK:
            return bool(row["start_ms"] <= self.last_tick_ms)
        origin = str(row["source_partition"])
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
            if kind == "storage":
                self.soc_mwh[row["id"]] = row["soc_mwh"]
        return True

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

    VERSION: ClassVar[int] = 2

    domains: dict[str, Market] = {}

    def dump(self) -> bytes:
        return msgspec.msgpack.encode(self.domains)

    @classmethod
    def load(cls, dumped: bytes) -> Self:
        return cls(msgspec.msgpack.decode(dumped, type=dict[str, Market]))

    def of(self, domain_id: str) -> Market:
        """The domain's market, empty at first."""
        return self.domains.setdefault(domain_id, Market())
