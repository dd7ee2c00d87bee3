"""`gridloom match`: files in any format, placements and prices out, bad rows named alone."""

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from streams.cli import app

JOB = {"duration_ms": 3_600_000, "reject_cost": 10.0, "cores_milli": 4000, "power_w": 1000}
SITES = [
    {
        "site_id": "east-1",
        "hub": "east",
        "cores_milli": 16000,
        "power_w": 9000,
        "price_per_mwh": 500,
    },
    {
        "site_id": "west-1",
        "hub": "west",
        "cores_milli": 4000,
        "power_w": 9000,
        "price_per_mwh": 200,
    },
]


def jobs(*ids, **fields):
    return [{"job_id": job_id, **JOB, **fields} for job_id in ids]


def write(folder, name, rows):
    path = folder / name
    if path.suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(str(v) for v in row.values()) for row in rows)]
        path.write_text("\n".join(lines))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_bytes(orjson.dumps(rows))
    else:
        path.write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    return str(path)


def solve(folder, job_rows, site_rows=SITES, *options, kind="json"):
    """Exit code, the rows of --json by kind, standard error."""
    given = write(folder, f"jobs.{kind}", job_rows), write(folder, f"sites.{kind}", site_rows)
    ended = CliRunner().invoke(app, ["match", *given, "--json", *options])
    rows = {k: [] for k in ("placement", "price", "quota", "worth", "summary", "error")}
    for line in ended.stdout.splitlines():
        row = orjson.loads(line)
        rows[row["kind"]].append(row)
    return ended.exit_code, rows, ended.stderr


@pytest.mark.parametrize("kind", ["json", "ndjson", "csv", "parquet"])
def test_every_format_gives_the_same_plan(tmp_path, kind):
    code, rows, _ = solve(tmp_path, jobs("a", "b", "c"), kind=kind)

    assert code == 0
    placed = sorted((row["site"], row["cost_micro"]) for row in rows["placement"])
    # 1 kWh at 500 or 200 per MWh; the cheap site holds one of three
    assert placed == [("east-1", 500_000), ("east-1", 500_000), ("west-1", 200_000)]
    assert rows["summary"][0]["primal"] == pytest.approx(1.2)
    assert rows["price"][0]["site"] == "west-1"


def test_a_bad_field_is_named_by_row_column_and_value_and_costs_its_row_alone(tmp_path):
    job_rows = jobs("a", "b", "c")
    job_rows[1]["cores_milli"] = "4x"
    code, rows, stderr = solve(tmp_path, job_rows)

    assert code == 1
    assert [row["job_id"] for row in rows["placement"]] == ["a", "c"]
    assert all(row["site"] for row in rows["placement"])
    assert "jobs, row 2, cores_milli: '4x'" in stderr


def test_a_number_out_of_bounds_is_named_by_its_row_in_the_file(tmp_path):
    job_rows = jobs("a", "b", "c")
    job_rows[0]["job_class"] = "none such"  # left out before the kernel sees the others
    job_rows[2]["priority"] = 9
    code, rows, _ = solve(tmp_path, job_rows)

    assert code == 1
    assert [(row["row"], row["column"]) for row in rows["error"]] == [
        (1, "job_class"),
        (3, "priority"),
    ]


def test_a_bad_site_is_down_and_the_others_serve(tmp_path):
    site_rows = [SITES[0], {**SITES[1], "price_per_mwh": "cheap"}]
    code, rows, stderr = solve(tmp_path, jobs("a"), site_rows)

    assert code == 1
    assert rows["placement"][0]["site"] == "east-1"
    assert "sites, row 2, price_per_mwh: 'cheap'" in stderr


def test_a_site_by_the_name_of_an_earlier_one_is_down_and_named(tmp_path):
    twice = [SITES[0], SITES[1] | {"site_id": "east-1"}]
    _, rows, _ = solve(tmp_path, jobs("a"), twice)
    assert [(row["row"], row["column"], row["value"]) for row in rows["error"]] == [
        (2, "site_id", "east-1")
    ]
    assert "row 1 has this one" in rows["error"][0]["message"]
    _, alone, _ = solve(tmp_path, jobs("a"), SITES[:1])
    assert rows["placement"] == alone["placement"]


def test_a_bad_number_among_those_of_slots_is_named_by_its_slot(tmp_path):
    bad = [SITES[0] | {"price_per_mwh": [500, "dear", 500]}, SITES[1]]
    _, rows, _ = solve(tmp_path, jobs("a"), bad)
    assert "slot 1 is 'dear'" in rows["error"][0]["message"]


def test_rejections_are_counted_by_reason(tmp_path):
    job_rows = [*jobs("large", cores_milli=99_000), *jobs("dear", reject_cost=0.1)]
    code, rows, _ = solve(tmp_path, job_rows)

    assert code == 0
    assert rows["summary"][0]["rejected"] == {"rejected_cost": 1, "rejected_too_large": 1}


def test_a_job_without_room_and_the_worth_of_more_room_are_explained(tmp_path):
    site = {**SITES[0], "cores_milli": 7000}
    job_rows = [*jobs("a", reject_cost=9.5), *jobs("b", reject_cost=5.5)]
    _, rows, _ = solve(tmp_path, job_rows, [site])

    left = rows["placement"][1]
    assert (left["job_id"], left["reason"], left["short_by"]) == ("b", "rejected_capacity", 1000.0)
    # jobs of 4 cores fill 4 of the 7: any price clears them at which b, 5.5 - 0.5 for its 4 cores,
    # goes without and a, 9.5 - 0.5, does not
    assert rows["worth"][0]["one_more"] == "core"
    assert 1.25 * 0.99 <= rows["worth"][0]["saves"] <= 2.25 * 1.01


def test_prices_by_slot_send_a_job_to_the_cheapest_hour(tmp_path):
    site_rows = [{**SITES[0], "price_per_mwh": "500;100;300"}]
    _, rows, _ = solve(tmp_path, jobs("a"), site_rows)

    assert (rows["placement"][0]["slot"], rows["placement"][0]["cost_micro"]) == (1, 100_000)


def test_the_network_keeps_a_job_near_its_users(tmp_path):
    ways = [{"from_hub": "east", "to_hub": "west", "rtt_ms": 30, "price_per_gb": 0}]
    network = write(tmp_path, "network.json", ways)
    job_rows = [*jobs("near", origin_hub="east", max_rtt_ms=20), *jobs("far", origin_hub="east")]
    _, rows, _ = solve(tmp_path, job_rows, SITES, "--network", network)

    assert [row["site"] for row in rows["placement"]] == ["east-1", "west-1"]


def test_a_site_is_as_fast_as_it_says_in_each_precision(tmp_path):
    site_rows = [{**SITES[0], "rate_fp16_ppm": 4_000_000}, {**SITES[1], "rate_fp16_ppm": 0}]
    job_rows = [*jobs("half", precision="fp16", duration_ms=8 * 3_600_000), *jobs("single")]
    _, rows, _ = solve(tmp_path, job_rows, site_rows)

    assert [(row["site"], row["slots"]) for row in rows["placement"]] == [
        ("east-1", 2),
        ("west-1", 1),
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: row | {"colour": 1}, "no such column 'colour'"),
        (lambda row: {k: v for k, v in row.items() if k != "reject_cost"}, "'reject_cost' is miss"),
    ],
)
def test_a_column_unknown_or_missing_ends_the_command_with_the_next_step(tmp_path, change, said):
    code, rows, stderr = solve(tmp_path, [change(row) for row in jobs("a")])

    assert code == 2
    assert said in stderr
    assert "next:" in stderr
    assert not rows["placement"]


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "jobs.json").write_text("{")
    sites = write(tmp_path, "sites.json", SITES)
    for name, said in (("jobs.json", "is not json"), ("jobs.txt", "no format")):
        ended = CliRunner().invoke(app, ["match", str(tmp_path / name), sites])
        assert ended.exit_code == 2
        assert said in ended.stderr


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (b"", "it is empty; its first line names the columns"),
        (b"job_id,duration_ms,reject_cost\nj1,1,1\nj\xff,1,1\n", "line 3: byte 0xff is no UTF-8"),
        (
            b"job_id,duration_ms,reject_cost\nj1,1,1,more\n",
            "line 2: 'more' is beyond the 3 columns",
        ),
        (b'job_id,duration_ms,reject_cost\n"j1,1,1\nj2,1,1\n', "unexpected end of data"),
    ],
)
def test_a_csv_that_would_lose_rows_or_fields_is_refused_with_the_place(tmp_path, held, said):
    (tmp_path / "jobs.csv").write_bytes(held)
    sites = write(tmp_path, "sites.json", SITES)
    ended = CliRunner().invoke(app, ["match", str(tmp_path / "jobs.csv"), sites])
    assert ended.exit_code == 2
    assert f"jobs.csv is not csv: {said}" in ended.stderr
    assert "next:" in ended.stderr


@pytest.mark.parametrize(
    ("option", "value"), [("--slot-min", "999999999999999999"), ("--carbon-price", "inf")]
)
def test_a_number_that_no_plan_can_have_is_refused_by_its_option(tmp_path, option, value):
    code, rows, told = solve(tmp_path, jobs("1"), SITES, option, value)
    assert code == 2
    assert option in told
    assert not rows["placement"]


def test_people_see_placements_prices_and_the_gap(tmp_path):
    given = write(tmp_path, "jobs.csv", jobs("a", "b")), write(tmp_path, "sites.json", SITES)
    shown = CliRunner().invoke(app, ["match", *given]).stdout

    for part in ("Placements", "Prices", "placed 2 of 2 jobs", "certified gap"):
        assert part in shown


def policy(folder, **parts):
    path = folder / "policy.json"
    path.write_bytes(orjson.dumps({"kind": "policy", "id": "national"} | parts))
    return "--policy", str(path)


def test_a_policy_limits_a_tenant_and_the_quota_is_named_and_priced(tmp_path):
    quota = {"id": "of-a", "account_id": "a", "regions": ["east", "west"], "limits": {"jobs": 1}}
    asked = [*jobs("1", "2", tenant="a"), *jobs("3", tenant="b")]
    roomy = [site | {"cores_milli": 16_000} for site in SITES]
    code, rows, _ = solve(tmp_path, asked, roomy, *policy(tmp_path, quotas=[quota]))
    assert code == 0
    assert [row["site"] is not None for row in rows["placement"]] == [True, False, True]
    rejected = rows["placement"][1]
    assert (rejected["reason"], rejected["short_quota"]) == ("rejected_quota", "of-a")
    assert (rejected["short_resource"], rejected["short_by"]) == ("jobs", 1.0)
    (quota,) = rows["quota"]
    assert (quota["quota"], quota["limits"], quota["used"], quota["limit"]) == (
        "of-a",
        "jobs",
        1,
        1,
    )
    assert quota["price_per_unit"] > 0
    assert rows["summary"][0]["rejected_by_quota"] == {"of-a": 1}


def test_a_policys_weights_and_rules_steer_the_plan(tmp_path):
    rules = [{"job_class": "general", "sites": ["west-1"], "forbid": True}]
    weights = {"energy_ppm": 2_000_000}
    given = policy(tmp_path, rules=rules, weights=weights)
    code, rows, _ = solve(tmp_path, jobs("1"), SITES, *given)
    assert code == 0
    assert (rows["placement"][0]["site"], rows["placement"][0]["cost_micro"]) == ("east-1", 10**6)


def test_a_name_that_no_site_has_is_told_and_the_rest_of_the_policy_holds(tmp_path):
    quotas = [{"id": "q", "regions": ["nowhere"], "limits": {"jobs": 0}}]
    code, rows, told = solve(tmp_path, jobs("1"), SITES, *policy(tmp_path, quotas=quotas))
    assert code == 1
    assert "policy, row 1, quotas[0].regions: nowhere" in told
    assert rows["placement"][0]["site"] == "west-1"


def test_an_unsound_policy_is_refused_with_its_field(tmp_path):
    code, rows, told = solve(tmp_path, jobs("1"), SITES, *policy(tmp_path, quotas=[{"id": "q"}]))
    assert code != 0
    assert "limits" in told
    assert "policy.json: " in told
    assert not rows["placement"]


def test_rejections_by_quota_are_shown_to_people(tmp_path):
    quota = {"id": "of-all", "limits": {"jobs": 0}}
    given = write(tmp_path, "jobs.json", jobs("1")), write(tmp_path, "sites.json", SITES)
    ended = CliRunner().invoke(app, ["match", *given, *policy(tmp_path, quotas=[quota])])
    assert "rejected_quota: 1" in ended.stdout
    assert "by quota of-all: 1" in ended.stdout
