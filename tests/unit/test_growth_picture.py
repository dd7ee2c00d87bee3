"""The growth pictures of the benchmarks: their exponents, and what they show."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench.balance_growth import draw, exponent

SQUARE = {n: 0.5 * n**2 for n in (2, 4, 8, 64)}


def test_the_exponent_of_a_power_is_that_power() -> None:
    assert exponent(SQUARE) == pytest.approx(2)
    assert exponent({24: 3.0, 96: 3.0}) == pytest.approx(0)


def test_every_curve_is_drawn_with_its_name_its_exponent_and_its_points(tmp_path: Path) -> None:
    flat = dict.fromkeys(SQUARE, 7.0)
    draw(tmp_path / "g.svg", {"regions R": {"ours": SQUARE, "theirs": flat}, "steps": {"x": flat}})

    svg = ElementTree.parse(tmp_path / "g.svg").getroot()
    texts = [text.text for text in svg.findall("{*}text")]
    assert {"ours: exponent 2.00", "theirs: exponent 0.00", "x: exponent 0.00"} <= set(texts)
    assert "ms a solve against regions R" in texts
    lines = [line.attrib["points"].split() for line in svg.findall("{*}polyline")]
    assert [len(points) for points in lines] == [4, 4, 4]
    heights = [[float(point.split(",")[1]) for point in points] for points in lines]
    assert heights[0] == sorted(heights[0], reverse=True)  # up is more
    assert len(set(heights[1])) == 1
