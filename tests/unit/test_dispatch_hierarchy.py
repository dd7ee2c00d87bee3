"""A parent deals its quotas to its children: national -> hub -> city, each decided by one step."""

from tests.unit.dispatch_cases import HOUR_MS, T0, site, tick
from tests.unit.hierarchy_cases import Realm, banks, newest, quota

TREE = {"nation": None, "east": "nation", "west": "nation", "port": "east", "hill": "west"}


def realm(*quotas, tree=TREE, **given):
    made = Realm(tree, **given)
    if quotas:
        made.policy("nation", *quotas)
    made.furnish()
    made.tick(0)
    return made


def where(rows):
    return {key: (row["state"], row["site_id"]) for key, row in newest(rows["placements"]).items()}


def test_a_job_sent_to_the_nation_starts_in_a_city_at_the_same_tick():
    made = realm()
    made.send("nation", banks("j"))
    rows = made.tick(1)
    found = where(rows)
    (hub,) = [site for (domain, _), (_, site) in found.items() if domain == "nation"]
    city = {"east": "port", "west": "hill"}[hub]
    assert found == {
        ("nation", "j"): ("placed", hub),
        (hub, "nation/j"): ("placed", city),
        (city, "nation/j"): ("placed", f"{city}-0"),
    }
    starts = {row["start_ms"] for row in newest(rows["placements"]).values()}
    assert starts == {T0 + HOUR_MS}
    assert made.use("nation", "bank")[:3] == [0, 1000, 0]


def test_the_parts_of_the_cities_hold_local_jobs_too():
    made = realm(quota(cores_milli=4_000))
    made.send("port", *(banks(f"p{n}") for n in range(6)))
    made.send("hill", *(banks(f"h{n}") for n in range(6)))
    made.tick(1)
    assert made.use("port", "bank")[1] == made.use("hill", "bank")[1] == 2_000


def dear_west(made):
    """From here on the nation places in the east what both could take."""
    dear = {"kind": "region", "id": "far", "region": "far", "import_price_per_mwh": 900.0}
    dear |= {"start_ms": T0, "end_ms": T0 + 48 * HOUR_MS, "load_mw": 1.0, "ren_avail_mw": 0.0}
    way = {"kind": "path", "id": "p", "region": "north", "to_region": "far", "rtt_ms": 1.0}
    made.send("nation", dear | {"import_max_mw": 1e3}, way, site("west", "far"))


def test_a_part_is_raised_only_by_what_no_other_child_may_still_use():
    made = realm(quota(cores_milli=4_000))
    dear_west(made)
    made.send("hill", banks("h", 2, 9))
    made.tick(1)
    made.send("nation", *(banks(f"n{k}", 2, 9) for k in range(2)))
    made.tick(2)
    assert (made.use("east", "bank")[2], made.use("west", "bank")[2]) == (2_000, 2_000)
    made.tick(3)  # hill has answered that it has 2 cores in use: no more for the east
    assert made.use("nation", "bank")[3] == 4_000


def test_a_child_that_is_cut_off_keeps_its_part_until_it_answers():
    made = realm(quota(cores_milli=4_000))
    dear_west(made)
    made.send("nation", *(banks(f"n{k}", 2, 9) for k in range(2)))
    for name in ("nation", "east"):  # west hears of nothing
        made.send(name, tick(1))
        made.deliver("nation", "east", "port")
    made.send("port", tick(1))
    made.send("hill", banks("h", 2, 9), tick(1))
    made.deliver("nation", "east", "port")
    assert (made.use("east", "bank")[1], made.use("hill", "bank")[1]) == (2_000, 2_000)


def test_what_one_child_gives_up_the_other_has_a_tick_later():
    made = realm(quota(cores_milli=4_000))
    dear_west(made)
    made.send("nation", *(banks(f"n{k}", 2, 9) for k in range(2)))
    made.tick(1)
    assert made.use("east", "bank")[1] == 2_000
    made.tick(2)
    assert made.use("east", "bank")[2] == 4_000
