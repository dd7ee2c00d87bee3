"""An example to follow: a nation, two hubs and a city; what each domain writes to which other.

The port is cheap (100 a MWh) and computes fast in fp16; the west is dear (300) and has fp64.
"""

from tests.unit.dispatch_cases import HOUR_MS, job, region, site
from tests.unit.hierarchy_cases import Realm, newest

TREE = {"nation": None, "east": "nation", "west": "nation", "port": "east"}


def realm():
    """What is registered and published; an offer goes up a level in a tick."""
    made = Realm(TREE, steps=3)
    for name, price in (("nation", 100), ("east", 100), ("west", 300), ("port", 100)):
        made.send(name, region(name, price, hours=48))
    made.send("port", site("quay", "port", rate_fp64_ppm=0, rate_fp16_ppm=2_000_000))
    made.send("west", site("mill", "west"))
    for hour in (0, 1, 2):
        made.tick(hour)
    return made


def story(made, name):
    """Domain -> (sender, kind) of the rows of one job that other domains wrote to it."""
    ids = name, f"nation/{name}"
    found = {
        domain: [(row["source"], row["kind"]) for row in log if row["id"] in ids]
        for domain, log in made.log.items()
    }
    return {domain: [row for row in rows if row[0] in TREE] for domain, rows in found.items()}


def places(rows, name):
    """Domain -> (state, site, hours) of a job in its newest placements."""
    found = {}
    for (domain, job_id), row in newest(rows["placements"]).items():
        if job_id in (name, f"nation/{name}"):
            hours = row["site_id"] and (row["end_ms"] - row["start_ms"]) // HOUR_MS
            found[domain] = row["state"], row["site_id"], hours
    return found


def test_the_nation_knows_what_is_offered_two_levels_below():
    below = realm().market("nation").below
    assert {hub: [pool.sites for pool in of.offer.pools] for hub, of in below.items()} == {
        "east": [("port", "quay")],
        "west": [("mill",)],
    }


def test_a_job_sent_to_the_nation_starts_in_the_city_at_the_same_tick():
    made = realm()
    made.send("nation", job("half", region="nation", precision="fp16", duration_ms=4 * HOUR_MS))
    assert places(made.tick(3), "half") == {
        "nation": ("placed", "east", 2),  # 4 hours of work, at twice the speed
        "east": ("placed", "port", 2),
        "port": ("placed", "quay", 2),
    }
    assert story(made, "half") == {
        "nation": [],
        "east": [("nation", "job")],
        "west": [],
        "port": [("east", "job")],
    }


def test_a_job_goes_to_the_hub_that_has_its_precision_dear_as_it_is():
    made = realm()
    made.send("nation", job("double", region="nation", precision="fp64"))
    assert places(made.tick(3), "double") == {
        "nation": ("placed", "west", 1),
        "west": ("placed", "mill", 1),
    }


def test_a_job_that_the_city_has_no_place_for_goes_back_up_and_to_the_other_hub():
    made = realm()
    made.send("port", job("own", region="port", cores_milli=10_000, duration_ms=9 * HOUR_MS))
    made.send("nation", job("late", region="nation"))
    assert places(made.tick(3), "late") == {
        "nation": ("placed", "east", 1),
        "east": ("rejected", None, None),  # as soon as the port has said so
        "port": ("rejected", None, None),  # it started its own at this tick
    }
    assert places(made.tick(4), "late") == {
        "nation": ("rejected", None, None),
        "east": ("rejected", None, None),
    }
    assert places(made.tick(5), "late") == {
        "nation": ("placed", "west", 1),
        "west": ("placed", "mill", 1),
    }
    assert story(made, "late") == {
        "nation": [("east", "returned")],
        "east": [("nation", "job"), ("port", "returned")],
        "west": [("nation", "job")],
        "port": [("east", "job")],
    }
