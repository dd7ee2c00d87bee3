"""A child gives its parent back what it has no place for, and the parent places it elsewhere."""

import msgspec
import pytest

from tests.unit.dispatch_cases import HOUR_MS, T0, region, site, tick
from tests.unit.hierarchy_cases import Realm, banks, newest

HUBS = {"nation": None, "east": "nation", "west": "nation"}
EAST = {"nation": None, "east": "nation", "port": "east", "dock": "east"}
TREE = HUBS | {"port": "east", "dock": "east", "hill": "west"}


def grid(name, price=100):
    """Dearer by the hour, so that what can start now does."""
    return [region(name, price + h, hour=h, hours=1, import_max_mw=1e3) for h in range(60)]


def by_itself(tree, sites):
    """Domains that nobody publishes an offer of: `sites` are those of each leaf."""
    made = Realm(tree)
    for name in tree:
        made.send(name, *grid("north"), *sites.get(name, ()))
    for hour in (0, 1, 2):  # an offer goes up a level in a tick
        made.tick(hour)
    return made


def lumpy(tree, leaf):
    """Two sites of 5 cores; any other leaf one of 10."""
    sites = {name: [site(f"{name}-0", "north")] for name in tree}
    sites[leaf] = [site(f"{leaf}-{n}", "north", cores_milli=5_000) for n in range(2)]
    return {name: some for name, some in sites.items() if name not in tree.values()}


def state(rows, *key):
    row = newest(rows["placements"])[key]
    return row["state"], row["site_id"]


def waits(made, name):
    return sorted(made.market(name).jobs)


def test_domains_offer_themselves_and_a_job_starts_below():
    made = by_itself(TREE, {leaf: [site(f"{leaf}-0", "north")] for leaf in ("port", "hill")})
    assert "offer" not in made.market("nation").things
    made.send("nation", banks("j"))
    rows = made.tick(3)
    (leaf,) = {name for name, _ in newest(rows["placements"])} - {"nation", "east", "west"}
    assert state(rows, leaf, "nation/j") == ("placed", f"{leaf}-0")


def test_what_a_child_has_taken_by_itself_is_not_dealt_to_it_again():
    made = by_itself(HUBS, {name: [site(f"{name}-0", "north")] for name in ("east", "west")})
    made.send("east", banks("own", 9, 9))
    made.tick(3)
    made.send("nation", banks("a", 9, 9), banks("b", 9, 9))
    rows = made.tick(4)
    assert sorted(state(rows, "nation", name)[0] for name in "ab") == ["placed", "rejected"]
    assert {site for _, site in (state(rows, "nation", n) for n in "ab")} == {"west", None}


def test_a_job_larger_than_any_one_site_of_a_child_is_not_dealt_to_it():
    made = by_itself(HUBS, lumpy(HUBS, "east"))
    made.send("nation", *(banks(f"n{k}", 6, 9) for k in range(2)))
    rows = made.tick(3)
    assert sorted(state(rows, "nation", f"n{k}")[0] for k in range(2)) == ["placed", "rejected"]
    assert waits(made, "east") == []


def filled_since(tree, leaf="east"):
    """The leaf uses its last core from the next tick on."""
    made = by_itself(tree, {n: [site(f"{n}-0", "north")] for n in tree if n not in tree.values()})
    made.send(leaf, banks("own", 10, 40))
    return made


def test_what_a_child_has_no_place_for_goes_to_a_sibling_at_the_next_tick():
    made = filled_since(HUBS)
    made.send("east", tick(3))  # the nation hears of it after its own tick
    offers = [row for row in made.mail["nation"] if row["kind"] == "offered"]
    made.mail["nation"] = []
    made.send("nation", *(banks(f"n{k}", 10) for k in range(2)))
    rows = made.tick(3, "nation", "west")
    assert [r["state"] for r in rows["placements"] if r["domain"] == "nation"][:2] == ["placed"] * 2
    given = [row for row in made.log["nation"] if row["kind"] == "returned"]
    (back,) = given
    now = newest(rows["placements"])["nation", waits_for(back)]  # said at once
    assert (now["state"], now["tick_ms"], now["revision"]) == ("rejected", T0 + 3 * HOUR_MS, 1)
    assert now["detail"].startswith("returned by east: ")
    assert [state(rows, "nation", f"n{k}")[0] for k in range(2)].count("placed") == 1
    assert waits(made, "nation") == [back["id"].removeprefix("nation/")]
    assert waits(made, "east") == []
    made.mail["nation"] += offers
    rows = made.tick(4)
    assert state(rows, "nation", waits_for(back)) == ("placed", "west")
    assert made.market("nation").handed == {}


def waits_for(back):
    return back["id"].removeprefix("nation/")


def blind(made, parent, child):
    """The parent goes on thinking that all of the child is free."""
    lent = made.market(parent).below[child]
    bare = [
        msgspec.structs.replace(pool, taken=((0,) * 5,) * len(pool.taken), largest=pool.capacity[0])
        for pool in lent.offer.pools
    ]
    lent.offer = msgspec.structs.replace(lent.offer, pools=tuple(bare))


def test_tries_at_one_child_grow_as_the_logarithm_of_the_wait():
    made = filled_since({"nation": None, "east": "nation"})
    made.tick(3)
    made.send("nation", banks("n", 10))
    tried = []
    for hour in range(4, 36):
        blind(made, "nation", "east")
        rows = made.tick(hour)
        assert waits(made, "nation") == ["n"]
        assert waits(made, "east") == []
        if any(row["state"] == "placed" for row in rows["placements"]):
            tried.append(hour)
        row = newest(rows["placements"])["nation", "n"]
        assert row["reason"] == "REJECTED_TOO_LARGE"  # for what is left of the site
        assert row["detail"].startswith("returned by east: REJECTED_TOO_LARGE cores_milli")
    assert tried == [4, 6, 10, 18, 34]


def test_a_domain_between_tries_each_child_once_and_then_returns_the_job():
    made = filled_since(EAST, "port")
    made.send("dock", banks("own", 10, 40))
    for hour in (3, 4, 5):
        made.tick(hour)
    made.send("nation", banks("n", 10))
    for hour in range(6, 40):
        for parent, child in (("nation", "east"), ("east", "port"), ("east", "dock")):
            blind(made, parent, child)
        made.tick(hour)
        places = {name: waits(made, name) for name in made.tree}
        assert sum(map(len, places.values())) == 1, places
    tries = {
        name: sum(row["kind"] == "job" and row["id"] == "nation/n" for row in made.log[name])
        for name in made.tree
    }
    assert tries["port"] == tries["dock"] == tries["east"]
    assert 3 <= tries["east"] <= 5


def test_a_row_of_what_was_not_handed_there_changes_nothing():
    made = by_itself(HUBS, {name: [site(f"{name}-0", "north")] for name in ("east", "west")})
    made.send("nation", banks("n"))
    made.tick(3)
    (run,) = made.market("nation").running
    other = {"east": "west", "west": "east"}[run.site_id]
    row = {"kind": "returned", "id": "nation/n", "deal": '{"reason": "REJECTED_QUOTA"}'}
    place = {"source": other, "source_partition": -1, "source_offset": 10**6, "source_row": 0}
    place |= {"received_ms": T0, "registry_offset": 0, "domain": "nation"}
    made.apply("nation", [row | place])
    assert made.market("nation").running == [run]
    assert waits(made, "nation") == []


@pytest.mark.parametrize("kind", ["offered", "returned"])
def test_what_no_child_wrote_is_refused(kind):
    made = by_itself(HUBS, {})
    row = {"kind": kind, "id": "east", "deal": "{}", "source": "east", "source_partition": -1}
    row |= {"source_offset": 10**6, "source_row": 0, "received_ms": T0, "registry_offset": 0}
    emits = [
        made.apply("nation", [row | {"domain": "nation"} | changed])
        for changed in ({}, {"source": "port", "id": "port"}, {"source_partition": 0})
    ]
    fields = [[refused.field for refused in emit.refused] for emit in emits]
    of = "source" if kind == "returned" else "id"
    assert fields == [["deal"], [of], [of]]
