"""`gridloom balance`: a case in, a proven plan out, and what it says of a case that is wrong."""

from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from streams.cli import app

CASE = Path(__file__).parent.parent / "cases" / "three_regions.json"
SMALL = {
    "regions": ["north", "south"],
    "dt_h": 1,
    "load_mw": [[10, 20], [30, 40]],
    "import_max_mw": 100,
    "import_price": [[50, 60], [70, 80]],
}


def gridloom(*arguments, stdin=None):
    return CliRunner().invoke(app, ["balance", *arguments], input=stdin)


def rows_of(ended):
    return [orjson.loads(line) for line in ended.stdout.splitlines()]


def test_the_example_is_planned_and_proven():
    ended = gridloom(str(CASE), "--json")

    *rows, proof = rows_of(ended)
    assert ended.exit_code == 0
    assert [(row["region"], row["step"]) for row in rows[:25:24]] == [("north", 0), ("coast", 0)]
    assert len(rows) == 3 * 24
    assert -1e-9 <= proof["gap_rel"] <= 1e-7
    assert all(row["status"] == "OK" for row in rows)


def test_a_plan_for_people_has_a_table_a_picture_and_the_gap():
    shown = gridloom(str(CASE)).stdout

    assert "discharge_mw" in shown
    assert "coast, MW that serve it" in shown
    assert "no plan costs less than" in shown
    assert "RRRR" in shown  # wind and sun stand at the bottom


def count_of(picture, colour):
    """Dots of a colour in a PNG."""
    image = pytest.importorskip("matplotlib.image").imread(picture)
    dots = (image[..., :3] * 255).round().astype(int)
    return int((dots == colour).all(axis=2).sum())


GREEN, VIOLET = (0x2A, 0x9D, 0x5C), (0xA4, 0x5B, 0xB8)  # wind and sun; imports


def test_a_plot_shows_what_serves_the_regions(tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "plan.png"
    windy = SMALL | {"ren_avail_mw": 5}
    without = gridloom("-", "--plot", str(picture), stdin=orjson.dumps(SMALL).decode())
    imported = count_of(picture, VIOLET), count_of(picture, GREEN)
    ended = gridloom("-", "--plot", str(picture), stdin=orjson.dumps(windy).decode())
    both = count_of(picture, VIOLET), count_of(picture, GREEN)

    assert (without.exit_code, ended.exit_code) == (0, 0)
    assert picture.read_bytes().startswith(b"\x89PNG")
    # two steps, each region to its own scale: north's 10 and 20 MW, south's 30 and 40; 5 of wind
    served = both[0] + both[1] - imported[1]
    wind = both[1] - imported[1]
    assert wind / served == pytest.approx((10 / 20 + 10 / 40) / (30 / 20 + 70 / 40), rel=0.1)
    assert "no plan costs less than" in ended.stdout


def test_a_plot_beside_json_leaves_standard_output_alone(tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "plan.svg"

    ended = gridloom(str(CASE), "--json", "--plot", str(picture))

    assert ended.stdout == gridloom(str(CASE), "--json").stdout
    assert b"<svg" in picture.read_bytes()


@pytest.mark.parametrize(
    ("picture", "says"),
    [("plan.docx", "is no .png or .svg"), ("nowhere/plan.png", "is no folder")],
)
def test_a_plot_that_cannot_be_is_refused_before_anything_is_solved(tmp_path, picture, says):
    ended = gridloom(str(CASE), "--plot", str(tmp_path / picture))

    assert (ended.exit_code, ended.stdout) == (2, "")
    assert says in ended.stderr
    assert "next:" in ended.stderr


def test_a_plot_without_matplotlib_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("streams.cli.balance_picture.find_spec", lambda _: None)

    ended = gridloom(str(CASE), "--plot", str(tmp_path / "plan.png"))

    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "next: pip install 'gridloom[plot]'" in ended.stderr


def test_parquet_gives_the_plan_that_json_gives(tmp_path):
    file = tmp_path / "case.parquet"
    pq.write_table(pa.Table.from_pylist([orjson.loads(CASE.read_bytes())]), file)

    assert gridloom(str(file), "--json").stdout == gridloom(str(CASE), "--json").stdout


def test_imports_at_their_price_by_hand():
    *rows, proof = rows_of(gridloom("-", "--json", stdin=orjson.dumps(SMALL).decode()))

    assert [row["import_mw"] for row in rows] == [10, 20, 30, 40]
    assert [row["price"] for row in rows] == [50, 60, 70, 80]
    assert proof["objective"] == pytest.approx(10 * 50 + 20 * 60 + 30 * 70 + 40 * 80)


def test_a_missing_value_is_named_and_the_other_region_is_planned():
    ended = gridloom(
        "-", "--json", stdin=orjson.dumps(SMALL | {"load_mw": [[10, None], [30, 40]]}).decode()
    )

    assert ended.exit_code == 1
    assert "error: north, load_mw, step 1: nan: send a finite number" in ended.stderr
    rows = rows_of(ended)[:-1]
    assert [row["status"] for row in rows] == ["BAD_INPUT", "BAD_INPUT", "OK", "OK"]
    assert [row["import_mw"] for row in rows] == [0, 0, 30, 40]


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("[]", "a case is one JSON object"),
        ("{", "is no JSON"),
        ({"load_mw": [[1, 2], [3, "x"]]}, "region south, load_mw, step 1: 'x' is no number"),
        ({"load_mw": [[1, 2], [3]]}, "error: load_mw: its rows differ in length"),
        ({"import_price": [[1, 2], 3]}, "error: import_price: its rows differ in length"),
        (
            '{"regions":["a"],"dt_h":1,"load_mw":' + "[" * 1015 + "1" + "]" * 1015 + "}",
            "error: load_mw: its lists are nested too deep",
        ),
        ({"load_mw": [[1, 2]] * 3}, "load_mw"),
        ({"wind_mw": 3}, "no column wind_mw"),
        ({"dt_h": "1h"}, "dt_h is '1h'"),
        ({"regions": ["a", "a"]}, "two regions have one name"),
        ({"link_to": [True]}, "link_to"),
    ],
)
def test_a_case_that_is_none_is_refused_with_the_next_step(case, says):
    given = case if isinstance(case, str) else orjson.dumps(SMALL | case).decode()
    ended = gridloom("-", stdin=given)

    assert ended.exit_code == 2
    assert says in ended.stderr
    assert "next:" in ended.stderr
