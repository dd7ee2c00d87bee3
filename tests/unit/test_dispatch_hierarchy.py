"""A parent deals its quotas to its children: national -> hub -> city, each decided by one step."""

import numpy as np
import pytest

from schemas import PLACEMENTS, PRICES
from schemas.policy import Deal
from schemas.registry import Domain
from streams.dispatch.hierarchy import parent_of
from streams.dispatch.lending import parts
from streams.downstream import Downstream
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


def test_a_deal_that_was_not_answered_counts_with_those_after_it():
    made = realm(quota(cores_milli=4_000))
    dear_west(made)
    made.send("nation", *(banks(f"m{k}", 2, 9) for k in range(4)))
    made.tick(1)  # the west needs nothing
    made.send("hill", *(banks(f"h{k}", 1, 9) for k in range(6)))
    for hour in (2, 3, 4):  # the east hears of nothing: 4 cores at 2, and none once hill asks
        for name in ("nation", "west", "hill"):
            made.send(name, tick(hour))
            made.deliver("nation", "west", "hill")
    deals = [row for row in made.mail["east"] if row["kind"] == "handed"]
    assert [dealt_cores(row, T0 + 4 * HOUR_MS) for row in deals] == [4_000, 0, 0]
    made.mail["east"] = made.mail["east"][: made.mail["east"].index(deals[0]) + 1]
    for name in ("east", "port"):
        made.send(name, tick(2), tick(3), tick(4))
        made.deliver("east", "port")
    assert made.use("port", "bank")[4] == 4_000
    assert made.use("nation", "bank")[4] == 4_000


def dealt_cores(row, at_ms):
    (part,) = [part for part in Deal.read(row["deal"]).parts if part.id == "nation/q"]
    return part.limits.at(at_ms)[0]


def test_sites_of_the_parent_have_what_no_child_may_still_use():
    made = realm(quota(cores_milli=4_000), tree={"nation": None, "east": "nation"})
    made.send("nation", site("own", "north"), tick(1))
    made.send("nation", *(banks(f"n{k}", 1, 9, site_id="own") for k in range(4)))
    made.send("east", tick(1), *(banks(f"e{k}", 1, 9) for k in range(4)))
    made.send("nation", tick(2))
    made.send("east", tick(2))  # all 4 cores are its own until it hears of another deal
    assert made.use("nation", "bank")[2] == made.use("east", "bank")[2] == 4_000


def test_what_a_domain_runs_itself_is_not_dealt_to_its_children():
    made = realm(quota(cores_milli=4_000), tree={"nation": None, "east": "nation"})
    made.send("nation", site("own", "north"))
    made.send("nation", *(banks(f"n{k}", 1, 9, site_id="own") for k in range(4)))
    for hour in (1, 2, 3):
        made.tick(hour)
    assert made.use("nation", "bank")[3] == 4_000
    made.send("east", *(banks(f"e{k}", 1, 9) for k in range(9)))
    for hour in (4, 5, 6):
        made.tick(hour)
        assert made.use("nation", "bank")[hour] == 4_000


def test_a_lower_policy_is_obeyed_and_what_runs_goes_on():
    made = realm(quota(cores_milli=4_000))
    made.policy("nation", quota(cores_milli=1_000), hour=3)
    made.send("port", *(banks(f"p{k}", 1, 3) for k in range(2)))
    made.send("hill", *(banks(f"h{k}", 1, 3) for k in range(2)))
    made.tick(1)
    made.tick(2)
    assert made.use("nation", "bank")[2:4] == [4_000, 4_000]
    made.send("hill", *(banks(f"late{k}", 1, 1) for k in range(4)))
    used = [made.tick(hour) and made.use("nation", "bank")[hour] for hour in range(3, 7)]
    # at 4 the nation has heard that the hill asks for a core, at 5 that the port's is free
    assert used == [4_000, 0, 1_000, 1_000]


def test_a_limit_that_changes_with_time_is_dealt_by_slot():
    night = [[0, 4_000], [T0 + 2 * HOUR_MS, 0], [T0 + 4 * HOUR_MS, 2_000]]
    made = realm(quota(cores_milli=night))
    made.send("port", *(banks(f"p{k}") for k in range(4)))
    made.send("hill", *(banks(f"h{k}") for k in range(4)))
    used = [made.tick(hour) and made.use("nation", "bank")[hour] for hour in range(1, 7)]
    # at 4 one of two that ask as much; the other once that one is known to be through
    assert used == [4_000, 0, 0, 2_000, 0, 2_000]


def test_before_its_first_deal_a_child_is_bound_by_its_own_policy_alone():
    made = Realm(TREE)
    made.policy("nation", quota(cores_milli=0))
    made.furnish()
    made.send("hill", banks("a"), tick(0))
    assert made.use("hill", "bank")[0] == 1_000
    made.tick(1)
    made.send("hill", banks("b"))
    made.tick(2)
    assert made.use("hill", "bank")[2] == 0


def test_a_revision_by_a_deal_keeps_keys_and_replaces_what_it_decides():
    made = realm(quota(cores_milli=2_000))
    made.send("nation", *(banks(f"n{k}", 1, 2, reject_cost=50.0 + k) for k in range(5)))
    for topic in (PLACEMENTS, PRICES):
        held, rows = Downstream(topic), made.tick(1)[topic.name]
        held.take(topic.rows(rows))
        assert held.conflicting == 0
    assert {row["revision"] for row in made.tick(2)["placements"]} >= {0, 1}


def test_news_of_other_things_waits_for_the_next_tick_also_where_a_deal_revises():
    made = realm()
    made.send("port", tick(1))
    made.send("port", banks("late", received_ms=T0 + HOUR_MS + 1))
    rows = made.tick(1, "nation", "east")
    assert not [row for row in rows["placements"] if row["job_id"] == "late"]
    assert made.use("port", "bank")[1] == 0


def test_rows_that_come_again_change_nothing():
    made = realm(quota(cores_milli=4_000))
    made.send("nation", banks("n"))
    made.tick(1)
    for name in TREE:
        before = made.markets[name].dump()
        again = made.apply(name, made.log[name])
        assert (again.accepted, again.outputs) == (0, [])
        assert made.markets[name].dump() == before


@pytest.mark.parametrize(
    ("used", "limit", "dealt"),
    [
        ([0, 0], 11, [6, 5]),  # what nobody uses: equal parts, the rest to the first
        ([3, 0, 1], 10, [5, 2, 3]),  # what is used, and of the other 6 two each
        ([9, 2, 8], 12, [9, 0, 3]),  # more than there is: who uses most is served first
        ([4], 0, [0]),
    ],
)
def test_parts_of_a_limit_add_up_to_it(used, limit, dealt):
    table = np.array(used, np.int64)[:, None, None]
    found = parts(table, np.array([[limit]], np.int64))
    assert found.ravel().tolist() == dealt


def test_what_a_part_says_is_what_a_policy_says():
    deal = Deal.read('{"number": 1, "parts": [{"id": "n/q", "limits": {"jobs": [[5, 1]]}}]}')
    assert deal.parts[0].limits.at(4)[5] is None
    assert deal.parts[0].limits.at(5)[5] == 1
    assert Deal.read(deal.text()) == deal


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"source": "west"}, "source"),
        ({"source_partition": 0}, "source"),
        ({"deal": "{"}, "deal"),
        ({"deal": '{"number": 1}'}, "deal"),
        ({"deal": None}, "deal"),
        ({"kind": "held", "id": "west", "source": "west"}, "id"),
        ({"kind": "held", "id": "atlantis", "source": "atlantis"}, "id"),
        ({"kind": "job", "source": "west"}, "source"),
    ],
)
def test_what_no_parent_or_child_wrote_is_refused(changed, field):
    made = realm()
    made.send("nation", tick(1))
    (deal,) = [row for row in made.mail["east"] if row["kind"] == "handed"]
    before = made.markets["east"].dump()
    emit = made.apply("east", [deal | changed])
    assert [(refused.reason, refused.field) for refused in emit.refused] == [
        ("unknown_value", field)
    ]
    assert made.markets["east"].dump() == before


def test_a_deal_of_a_domain_that_is_not_registered_is_refused():
    made = realm()
    made.send("nation", tick(1))
    rows = [row | {"domain": "atlantis"} for row in made.mail["east"]]
    emit = made.apply("east", rows)
    assert {refused.reason for refused in emit.refused} == {"unknown_domain"}


@pytest.mark.parametrize("above", ["east", "atlantis", "hill"])
def test_a_domain_whose_parents_are_unknown_or_go_round_has_none(above):
    made = realm()
    made.register(Domain(id="west", partition=2, parent=above))
    view = made.registry.at(made.entries)
    expected = "east" if above == "east" else None
    assert parent_of(view, view.find(Domain, "west", 0)) == expected
