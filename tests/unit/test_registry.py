"""Registry entries: what may be registered, and why not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import RegistryError
from schemas.registry import KINDS, Tariff, check_tree, format_entry, newest_domains, parse_entry

DAY = [{"from_hour": 0, "to_hour": 24, "price_micro_per_kwh": 1}]
SOUND = {
    "provider": {"id": "p1", "name": "State Grid"},
    "site": {"id": "s1", "hub_id": "h1"},
    "meter": {"id": "m1", "site_id": "s1", "account_id": "a1"},
    "account": {"id": "a1", "tariff_id": "t1"},
    "tariff": {"id": "t1", "bands": DAY},
    "contract": {"id": "c1", "subscriber": "b", "topic": "usage", "columns": ["meter_id"]},
    "domain": {"id": "d1", "partition": 0},
    "policy": {
        "id": "d1",
        "weights": {"energy_ppm": 900_000, "carbon_price_per_t": 60.0},
        "rules": [{"job_class": "intelligent", "regions": ["gansu"], "factor_ppm": 800_000}],
        "quotas": [{"id": "q1", "account_id": "a1", "limits": {"cores_milli": 5}}],
        "fairness": {"max_share_ppm": 300_000, "weights": {"a1": 2}},
    },
}


def entry(kind, /, **given):
    fields = {"kind": kind} | SOUND[kind] | given
    return parse_entry(json.dumps({k: v for k, v in fields.items() if v is not ...}).encode())


def bands(*hours):
    return [{"from_hour": a, "to_hour": b, "price_micro_per_kwh": a} for a, b in hours]


def limited(jobs):
    return {"quotas": [{"id": "q", "limits": {"jobs": jobs}}]}


def where(column, op, value):
    return {"topic": "usage", "where": [{"column": column, "op": op, "value": value}]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_entry_of_each_kind_is_read_written_and_keyed(kind):
    made = entry(kind, valid_from_ms=5)
    assert parse_entry(format_entry(made)) == made
    assert made.key == f"{kind}/{SOUND[kind]['id']}/5"
    assert entry(kind).valid_from_ms == 0


@pytest.mark.parametrize(
    ("kind", "changed", "named"),
    [
        ("site", {"hub_id": ...}, "hub_id"),
        ("site", {"colour": "red"}, "colour"),
        ("meter", {"site_id": 5}, "site_id"),
        ("meter", {"account_id": None}, "account_id"),
        ("meter", {"rating_w": -1}, "rating_w"),
        ("meter", {"register_modulus": 2**63}, "register_modulus"),
        ("meter", {"max_age_ms": 1.5}, "max_age_ms"),
        ("meter", {"valid_from_ms": "2025-01-01"}, "valid_from_ms"),
        ("meter", {"valid_from_ms": -1}, "valid_from_ms"),
        ("policy", {"weights": {"energy_ppm": 0.5}}, "weights.energy_ppm"),
        ("policy", {"weights": {"colour": 1}}, "colour"),
        ("policy", {"rules": [{"job_class": "huge", "forbid": True}]}, "rules[0].job_class"),
        ("policy", {"rules": [{"factor_ppm": 1, "forbid": True}]}, "rules[0] is factor_ppm 1"),
        ("policy", {"rules": [{"regions": ["a"]}]}, "rules[0] is factor_ppm None"),
        ("policy", {"quotas": [{"id": "q", "limits": {}}]}, "quotas[0].limits"),
        ("policy", {"quotas": [{"id": "q", "limits": {"jobs": -1}}]}, "limits.jobs"),
        ("policy", {"quotas": [{"id": "q", "limits": {"jobs": 1}}] * 2}, "quotas[1].id is 'q'"),
        (
            "policy",
            {"quotas": [{"id": "q", "limits": {"jobs": 1}, "reserved": True}]},
            "quotas[0].reserved",
        ),
        ("policy", limited([]), "quotas[0].limits.jobs is a list from []"),
        ("policy", limited([[5, 1], [5, 2]]), "quotas[0].limits.jobs is a list from [5, 5]"),
        ("policy", limited([[5, 1], [4, 2]]), "quotas[0].limits.jobs is a list from [5, 4]"),
        ("policy", limited([[-1, 1]]), "limits.jobs[0][0]"),
        ("policy", limited([[0, -1]]), "limits.jobs[0][1]"),
        ("policy", limited([[0, 1, 2]]), "limits.jobs[0]"),
        ("policy", limited(["0"]), "limits.jobs[0]"),
        ("policy", {"fairness": {"max_share_ppm": 1_000_001}}, "fairness.max_share_ppm"),
        ("provider", {"id": ""}, "id ''"),
        ("provider", {"id": "x" * 201}, "id 'xx"),
        ("account", {"tariff_id": ["t"]}, "tariff_id"),
        ("tariff", {"utc_offset_ms": 15 * 3_600_000}, "utc_offset_ms"),
        ("tariff", {"bands": [DAY[0] | {"price_micro_per_kwh": 10**11 + 1}]}, "price_micro"),
        ("tariff", {"bands": [DAY[0] | {"to_hour": 25}]}, "bands[0].to_hour"),
        ("contract", {"topic": "readings"}, "readings"),
        ("contract", {"columns": ["meter_id", "colour"]}, "colour"),
        ("contract", {"columns": []}, "none given"),
        ("contract", {"columns": ["unit", "unit"]}, "twice"),
        ("contract", {"format": "xml"}, "format"),
        ("contract", {"id": "a/b"}, "a/b"),
        ("contract", where("colour", "eq", 1), "colour"),
        ("contract", where("quantity", "eq", "1"), "quantity eq '1'"),
        ("contract", where("quantity", "lt", 2**63), "quantity lt"),
        ("contract", where("unit", "in", "mJ"), "unit in 'mJ'"),
        ("contract", where("unit", "eq", ["mJ"]), "unit eq"),
        ("contract", where("unit", "like", "m"), "op"),
        ("domain", {"partition": 8}, "partition 8"),
        ("domain", {"partition": -1}, "partition -1"),
        ("domain", {"steps": 0}, "0 steps"),
        ("domain", {"tick_ms": 0}, "0 ms"),
        ("domain", {"parent": "d1"}, "parent is 'd1'"),
        ("domain", {"parent": ""}, "parent is ''"),
        ("domain", {"parent": "a/b"}, "slash"),
        ("domain", {"id": "a/b", "parent": "d1"}, "slash"),
        ("domain", {"voll_per_mwh": -1}, "voll_per_mwh"),
        ("domain", {"kind": "hub"}, "kind"),
        ("domain", {"kind": ...}, "kind"),
    ],
)
def test_an_unsound_entry_is_refused_and_the_field_is_named(kind, changed, named):
    with pytest.raises(RegistryError) as refused:
        entry(kind, **changed)
    assert named in refused.value.message
    assert refused.value.next_step


@pytest.mark.parametrize(
    "value", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"a":NaN}']
)
def test_what_is_no_json_object_is_refused(value):
    with pytest.raises(RegistryError, match="registry entry refused"):
        parse_entry(value)


@pytest.mark.parametrize(
    "hours",
    [
        [],
        [(0, 12)],
        [(0, 12), (13, 24)],
        [(1, 24)],
        [(0, 13), (12, 24)],
        [(0, 24), (5, 6)],
        [(0, 24), (0, 24)],
        [(0, 12), (12, 12), (12, 24)],
        [(12, 0), (0, 12), (12, 24)],
    ],
)
def test_bands_with_a_gap_or_an_overlap_are_refused(hours):
    with pytest.raises(RegistryError, match="0 to 24 once"):
        entry("tariff", bands=bands(*hours))


@given(st.sets(st.integers(1, 23)).map(sorted), st.randoms(use_true_random=False))
def test_bands_that_join_hold_in_any_order_and_each_hour_has_the_price_of_its_band(cuts, random):
    joined = bands(*zip([0, *cuts], [*cuts, 24], strict=True))
    random.shuffle(joined)
    tariff = entry("tariff", bands=joined, utc_offset_ms=8 * 3_600_000)
    assert isinstance(tariff, Tariff)
    for hour in range(24):
        utc_ms = ((hour - 8) % 24) * 3_600_000
        price = max(start for start in [0, *cuts] if start <= hour)
        for moment in (utc_ms, utc_ms + 3_599_999, utc_ms + 86_400_000):
            assert tariff.price_micro_per_kwh(moment) == price


def domains(**parents):
    made = [entry("domain", id=name, parent=parent) for name, parent in parents.items()]
    return {domain.id: domain for domain in made}


def test_a_tree_of_domains_is_admitted_in_any_order():
    check_tree(domains(port="east", east="nation", nation=None, west="nation"))


@pytest.mark.parametrize(
    ("parents", "named"),
    [
        ({"east": "nation"}, "domain east: parent 'nation' is not registered"),
        ({"port": "east", "east": "nation"}, "parent 'nation' is not registered"),
        ({"a": "b", "b": "a"}, "domain a: its parents go round: a > b > a"),
        ({"x": "a", "a": "b", "b": "c", "c": "a"}, "domain a: its parents go round"),
    ],
)
def test_an_unknown_parent_and_parents_that_go_round_are_refused(parents, named):
    with pytest.raises(RegistryError) as refused:
        check_tree(domains(**parents))
    assert named in refused.value.message
    assert refused.value.next_step


def test_of_a_domain_the_entry_of_the_latest_date_says_who_its_parent_is():
    entries = [
        entry("domain", parent="old", valid_from_ms=5),
        entry("domain", parent="later", valid_from_ms=7),
        entry("domain", parent="earlier", valid_from_ms=6),
        entry("account"),
        entry("domain", parent="again", valid_from_ms=7),
    ]
    assert newest_domains(entries)["d1"].parent == "again"


def test_a_limit_holds_from_its_time_until_the_next():
    (quota,) = entry("policy", **limited([[10, 5], [20, None], [30, 3]])).quotas
    limits = [quota.limits.at(ms)[5] for ms in (0, 9, 10, 19, 20, 29, 30, 10**12)]
    assert limits == [None, None, 5, 5, None, None, 3, 3]
    assert quota.limits.least(0, 10)[5] is None
    assert quota.limits.least(0, 11)[5] == 5
    assert quota.limits.least(19, 31)[5] == 3
    assert quota.limits.least(19, 30)[5] == 5
    assert quota.limits.least(20, 30)[5] is None
