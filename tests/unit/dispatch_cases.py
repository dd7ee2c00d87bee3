"""Cases of the dispatch tests: a market of two regions and two sites, small enough for a pencil.

Hours of one MW of load each; north imports at 100 a MWh, south at 300. A site offers 10 cores and
1 MW; a job asks 4 cores and 0.1 MW for an hour.
"""

from collections import defaultdict

import streams.agents  # noqa: F401  (registers the stages)
from schemas import MARKET
from schemas.registry import Domain
from streams.agent import STAGES, Batch
from streams.dispatch.state import Markets
from streams.registry import Registry

HOUR_MS = 3_600_000
T0 = 1_767_225_600_000
MWH_MJ = 3_600_000_000_000
MICRO = 1_000_000


def region(name, price, hour=0, hours=24, **given):
    row = {
        "kind": "region",
        "id": name,
        "region": name,
        "start_ms": T0 + hour * HOUR_MS,
        "end_ms": T0 + (hour + hours) * HOUR_MS,
        "load_mw": 1.0,
        "ren_avail_mw": 0.0,
        "import_max_mw": 2.0,
        "import_price_per_mwh": float(price),
    }
    return row | given


def site(name, in_region, **given):
    row = {"kind": "offer", "id": name, "region": in_region, "cores_milli": 10_000}
    return row | {"accel_milli": 0, "power_w": 1_000_000} | given


def job(name, **given):
    row = {"kind": "job", "id": name, "region": "north", "account_id": "tenant"}
    row |= {"class": "general", "duration_ms": HOUR_MS, "reject_cost": 1_000.0}
    return row | {"cores_milli": 4_000, "power_w": 100_000} | given


def outage(site_id, hour=0, hours=1):
    times = {"start_ms": T0 + hour * HOUR_MS, "end_ms": T0 + (hour + hours) * HOUR_MS}
    return {"kind": "outage", "id": f"outage-{site_id}", "site_id": site_id} | times


def path(rtt_ms=10.0):
    return {"kind": "path", "id": "p", "region": "north", "to_region": "south", "rtt_ms": rtt_ms}


def tick(hour=0):
    return {"kind": "tick", "id": str(hour), "start_ms": T0 + hour * HOUR_MS, "end_ms": None}


GRID = [region("north", 100), region("south", 300)]
SITES = [site("n1", "north"), site("s1", "south")]


class Town:
    """The domain's market so far; rows get their places in market.in as they are sent."""

    def __init__(self, steps=2, **domain):
        self.markets, self.sent = Markets(), 0
        self.registry = Registry()
        self.registry.put(Domain(id="town", partition=0, steps=steps, **domain), 0)

    def placed(self, *rows):
        """The rows as ingest writes them."""
        found = []
        for row in rows:
            place = {"source": "market.in", "source_partition": 0, "source_offset": self.sent}
            place |= {"source_row": 0, "received_ms": T0, "registry_offset": 0, "domain": "town"}
            found.append(place | row)
            self.sent += 1
        return found

    def apply(self, rows, offset=0):
        """The emit of one batch of placed rows, stamped with a registry offset."""
        view = self.registry.at(offset)
        emit = STAGES["dispatch.market"].step(
            self.markets, Batch(MARKET, 0, 0, MARKET.rows(rows), view, 0)
        )
        terms = emit.accepted + emit.duplicate + emit.superseded + len(emit.refused)
        assert terms == len(rows)
        return emit

    def send(self, *rows, offset=0):
        """Topic -> rows that these rows bring forth."""
        return by_topic([self.apply(self.placed(*rows), offset)])


def by_topic(emits):
    found = defaultdict(list)
    for emit in emits:
        for output in emit.outputs:
            found[output.topic.name] += output.rows.to_pylist()
    return found


def outcome(rows):
    """Job -> (state, site, reason) of a tick's placements."""
    return {
        row["job_id"]: (row["state"], row["site_id"], row["reason"]) for row in rows["placements"]
    }


def at(rows, topic, hour=0, **where):
    """The rows of a topic at the step that starts at an hour."""
    where |= {"start_ms": T0 + hour * HOUR_MS}
    return [r for r in rows[topic] if all(r[name] == value for name, value in where.items())]
