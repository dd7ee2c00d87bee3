"""A parent deals its quotas to its children: national -> hub -> city, each decided by one step."""

from tests.unit.dispatch_cases import HOUR_MS, T0, tick
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
