"""What a child says it has: a job goes only where class, place, distance and size allow it."""

import msgspec
import pytest

from schemas.offer import Offer
from schemas.registry import parse_entry
from tests.unit.dispatch_cases import HOUR_MS, T0, region, site, tick
from tests.unit.hierarchy_cases import Realm, banks, newest
from tests.unit.test_dispatch_returns import HUBS, TREE, by_itself, state

REGIONS = {"east": ("plain", "coast"), "west": ("hills",)}


def way(a, b, rtt_ms):
    return {"kind": "path", "id": f"{a}-{b}", "region": a, "to_region": b, "rtt_ms": rtt_ms}


def realm():
    """The east is cheap: plain for all classes, coast for super; the west is dear, for general."""
    made = Realm(HUBS)
    made.send("nation", region("north", 100, hours=60, import_max_mw=1e3))
    for hub, price in (("east", 10), ("west", 900)):
        for name in REGIONS[hub]:
            made.send(hub, region(name, price, hours=60, import_max_mw=1e3))
    made.send("east", site("p", "plain"), site("c", "coast", classes="super", cores_milli=20_000))
    made.send("west", site("h", "hills", classes="general|super"))
    made.send("east", way("far", "plain", 40.0), way("far", "coast", 8.0))
    made.send("west", way("far", "hills", 3.0))
    for hour in (0, 1):
        made.tick(hour)
    return made


def offer(made, name="east"):
    return made.market("nation").below[name].offer


def placed(made, hour=2, **given):
    """Site of the job in the nation, and below."""
    made.send("nation", banks("j", **given))
    rows = made.tick(hour)
    hub = state(rows, "nation", "j")[1]
    assert not [row for row in made.log["nation"] if row["kind"] == "returned"]
    return hub, hub and state(rows, hub, "nation/j")[1]


def reason(made, hour=2, **given):
    made.send("nation", banks("j", **given))
    row = newest(made.tick(hour)["placements"])["nation", "j"]
    assert row["state"] == "rejected"
    assert not [row for row in made.log["nation"] if row["kind"] == "returned"]
    return row["reason"]


def test_an_offer_has_a_pool_for_each_region_and_set_of_classes():
    pools = {pool.region: pool for pool in offer(realm()).pools}
    assert {name: (pool.classes, pool.sites) for name, pool in pools.items()} == {
        "plain": ("general|intelligent|super", ("p",)),
        "coast": ("super", ("c",)),
    }
    assert pools["coast"].rtt_ms == {"coast": 0.0, "far": 8.0}
    assert pools["plain"].capacity[0][:3] == (10_000, 0, 1_000_000)
    assert pools["plain"].taken == ((0, 0, 0, 0, 0),) * 4
    assert pools["plain"].price_per_mwh == (10.0,) * 4


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ("east", "p")),
        ({"class": "intelligent"}, ("east", "p")),
        ({"class": "super", "cores": 15}, ("east", "c")),
        ({"residency": "hills"}, ("west", "h")),
        ({"residency": "coast|hills"}, ("west", "h")),
        ({"residency": "coast", "class": "super"}, ("east", "c")),
        ({"region": "far", "max_rtt_ms": 5.0}, ("west", "h")),
        ({"region": "far", "max_rtt_ms": 10.0, "class": "super"}, ("east", "c")),
        ({"region": "far", "max_rtt_ms": 50.0}, ("east", "p")),
        ({"site_id": "c", "class": "super"}, ("east", "c")),
        ({"site_id": "h"}, ("west", "h")),
        ({"site_id": "east"}, ("east", "p")),
    ],
)
def test_a_job_is_dealt_to_the_child_that_may_take_it_and_starts_there(asked, found):
    assert placed(realm(), **asked) == found


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"residency": "atlantis"}, "REJECTED_RESIDENCY"),
        ({"residency": "coast"}, "REJECTED_CLASS"),
        ({"residency": "hills", "class": "intelligent"}, "REJECTED_CLASS"),
        ({"region": "far", "max_rtt_ms": 2.0}, "REJECTED_LATENCY"),
        ({"site_id": "atlantis"}, "REJECTED_AFFINITY"),
        ({"site_id": "h", "residency": "plain"}, "REJECTED_AFFINITY"),
        ({"cores": 21}, "REJECTED_CAPACITY"),
    ],
)
def test_a_job_that_no_child_may_take_stays_and_says_why(asked, why):
    assert reason(realm(), **asked) == why


def test_sites_of_other_speeds_or_ways_are_other_pools():
    made = realm()
    made.send("east", site("q", "plain", rate_fp16_ppm=2_000_000, rate_fp64_ppm=0))
    made.send("east", way("far", "plain", 40.0) | {"price_per_gb": 0.25})
    made.tick(2)
    pools = {pool.sites: pool for pool in offer(made).pools}
    assert {name: pool.rate_ppm for name, pool in pools.items()} == {
        ("c",): (1_000_000,) * 4,
        ("p",): (1_000_000,) * 4,
        ("q",): (0, 1_000_000, 2_000_000, 1_000_000),
    }
    assert {name: pool.price_per_gb for name, pool in pools.items()} == {
        ("c",): {},
        ("p",): {"far": 0.25},
        ("q",): {"far": 0.25},
    }


def test_a_job_goes_down_with_its_precision_to_a_child_that_has_it():
    made = realm()
    made.send("east", *(site(name, "plain", rate_fp64_ppm=0) for name in ("p", "q")))
    made.send("west", site("h", "hills", rate_fp64_ppm=500_000))
    made.tick(2)
    assert placed(made, 3, precision="fp64") == ("west", "h")
    (run,) = made.market("west").running
    assert run.end_ms - run.start_ms == 2 * HOUR_MS  # an hour at half the speed
    assert made.market("nation").running[0].end_ms == run.end_ms


def test_no_child_gets_a_job_of_a_precision_that_none_has():
    made = realm()
    made.send("east", site("p", "plain", rate_int8_ppm=0), site("c", "coast", rate_int8_ppm=0))
    made.send("west", site("h", "hills", rate_int8_ppm=0))
    made.tick(2)
    assert reason(made, 3, precision="int8") == "REJECTED_PRECISION"


@pytest.mark.parametrize(
    ("east", "west", "found", "cost"),
    [  # an hour of 1 kW costs 0.01 in the east, 0.9 in the west; 8 GB are moved
        (0.125, 0.5, ("east", "p"), 1.01),
        (0.5, 0.125, ("west", "h"), 1.9),
        (0.0, 0.0, ("east", "p"), 0.01),
    ],
)
def test_what_a_child_says_of_moving_data_decides_for_it_and_the_child_counts_it_too(
    east, west, found, cost
):
    made = realm()
    for name in ("plain", "coast"):
        made.send("east", way("far", name, 9.0) | {"price_per_gb": east})
    made.send("west", way("far", "hills", 9.0) | {"price_per_gb": west})
    made.tick(2)
    made.send("nation", banks("j", data_gb=8.0, data_region="far"))
    rows = newest(made.tick(3)["placements"])
    hub, leaf = found
    below = rows[hub, "nation/j"]
    assert (rows["nation", "j"]["site_id"], below["site_id"]) == (hub, leaf)
    assert below["cost_micro"] == rows["nation", "j"]["cost_micro"] == round(cost * 1_000_000)


def test_where_data_are_that_a_child_knows_no_way_from_is_left_to_its_parent():
    """The nation says that moving 8 GB from the sea costs 1 to the east, and knows no other way."""
    made = realm()
    made.send("nation", site("east", "north"), way("sea", "north", 4.0) | {"price_per_gb": 0.125})
    made.send("nation", banks("j", data_gb=8.0, data_region="sea"))
    rows = newest(made.tick(2)["placements"])
    above, below = rows["nation", "j"], rows["east", "nation/j"]
    assert (above["site_id"], below["site_id"]) == ("east", "p")
    assert below["cost_micro"] == 10_000
    (row,) = (row for row in made.log["east"] if row["id"] == "nation/j")
    assert row["data_gb"] is row["data_region"] is None


def test_a_site_that_is_down_is_not_offered():
    made = realm()
    out = {"kind": "outage", "id": "o", "site_id": "p", "start_ms": T0, "end_ms": T0 + 99 * HOUR_MS}
    made.send("east", out, tick(2))
    made.deliver()
    assert placed(made, 3) == ("west", "h")


def test_a_child_that_is_silent_for_its_horizon_gets_no_more_jobs():
    made = realm()  # four steps from hour 1
    for hour in (2, 3, 4, 5):
        made.tick(hour, "nation", "west")
    made.send("nation", banks("j"))
    assert state(made.tick(6, "nation", "west"), "nation", "j") == ("placed", "west")


def test_the_parents_region_of_a_child_holds_where_the_parent_names_one():
    """An offer that is published by hand says in which region of its own the parent sees it."""
    made = realm()
    made.send("nation", site("east", "north"), way("sea", "north", 4.0))
    assert placed(made, residency="north") == ("east", "p")
    made = realm()
    made.send("nation", site("east", "north"), way("sea", "north", 4.0))
    assert placed(made, region="sea", max_rtt_ms=5.0) == ("east", "p")


def test_pools_of_the_lowest_level_are_seen_from_the_top():
    sites = {"port": [site("deep", "north", classes="super", cores_milli=30_000)]}
    made = by_itself(TREE, sites | {"hill": [site("other", "north")]})
    made.send(
        "nation",
        banks("j", 25, **{"class": "super"}),
        banks("k", site_id="deep", **{"class": "super"}),
    )
    rows = made.tick(3)
    assert state(rows, "port", "nation/j") == state(rows, "port", "nation/k") == ("placed", "deep")


def test_an_offer_reads_as_it_was_written_and_refuses_what_it_does_not_know():
    its = offer(realm())
    assert Offer.read(its.text()) == its
    with pytest.raises(msgspec.DecodeError, match="capacity"):
        Offer.read(its.text().replace('"capacity":[[', '"capacity":[["x",', 1))


SHARE = {"max_share_ppm": 250_000, "weights": {"bank": 2}}  # half for the bank, a quarter others


def test_shares_are_dealt_to_the_children():
    made = Realm(HUBS)
    fair = {"kind": "policy", "id": "nation", "fairness": SHARE}
    made.register(parse_entry(msgspec.json.encode(fair)))
    for name in HUBS:
        made.send(name, region("north", 100, hours=60, import_max_mw=1e3))
    for hub in ("east", "west"):
        made.send(hub, site(f"{hub}-0", "north"))
    for hour in range(3):
        made.tick(hour)
    for hub in ("east", "west"):
        made.send(hub, *(banks(f"s{n}", 1, 30, account_id="shop") for n in range(9)))
    made.send("east", *(banks(f"b{n}", 1, 30) for n in range(7)))
    for hour in range(3, 9):
        made.tick(hour)
        assert made.use("nation", "shop")[hour] <= 5_000
        assert made.use("nation", "bank")[hour] <= 10_000
    assert made.use("nation", "shop")[8] == 5_000
    assert made.use("east", "bank")[8] == 7_000
