"""Doctor: each check finds what it is for, and says what to do."""

import platform
from importlib.machinery import EXTENSION_SUFFIXES

import pytest
from pydantic import SecretStr

from streams.counts import Counts
from streams.doctor import machine
from streams.doctor.cluster import clock, compare_topics, identity, lag_check
from streams.settings import Settings


def statuses(checks):
    return [check.status for check in checks]


@pytest.mark.parametrize(
    ("version", "status"),
    [((3, 10), "FAIL"), ((3, 11), "OK"), ((3, 13), "OK"), ((3, 14), "FAIL")],
)
def test_python_is_one_that_is_tested(version, status):
    assert machine.python(version).status == status


def test_another_system_than_linux_is_a_warning():
    assert machine.system("Linux").status == "OK"
    assert machine.system("Darwin").status == "WARN"
    assert platform.machine() in machine.system("Linux").found


def test_a_kernel_that_is_not_compiled_is_named(tmp_path):
    for name in ("meter", "match"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "_core.pyx").touch()
    (tmp_path / "meter" / f"_core{EXTENSION_SUFFIXES[0]}").touch()

    check = machine.kernels(tmp_path, pure="")

    assert check.status == "FAIL"
    assert check.found == "not compiled: match/_core.pyx"
    (tmp_path / "match" / f"_core{EXTENSION_SUFFIXES[0]}").touch()
    assert machine.kernels(tmp_path, pure="").status == "OK"


def test_plain_twins_are_a_warning(tmp_path):
    assert machine.kernels(tmp_path, pure="1").status == "WARN"


def test_another_package_of_the_same_name_is_found(tmp_path):
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "__init__.py").touch()

    check = machine.name_clash("schemas", [str(tmp_path)])

    assert check.status == "WARN"
    assert str(tmp_path / "schemas") in check.found
    assert machine.name_clash("schemas", [str(tmp_path / "nowhere")]).status == "OK"


def test_the_password_is_never_shown():
    known = Settings(sasl_username="meterer", sasl_password=SecretStr("hunter2"), batch_rows=7)

    found = machine.in_force(known).found

    assert "hunter2" not in found
    assert "sasl_username=meterer" in found
    assert "batch_rows=7" in found


def test_missing_topics_and_wrong_partitions_are_two_faults():
    wanted = {"usage": 4, "readings": 4, "market": 8}

    checks = compare_topics(wanted, {"usage": 4, "readings": 2})

    assert statuses(checks) == ["FAIL", "FAIL"]
    assert checks[0].found == "missing: market"
    assert checks[1].found == "readings has 2, not 4"
    assert statuses(compare_topics(wanted, wanted)) == ["OK"]


@pytest.mark.parametrize(
    ("behind", "members", "status"), [(0, 0, "OK"), (9, 1, "OK"), (9, 0, "WARN"), (0, 2, "OK")]
)
def test_lag_is_a_warning_where_nobody_works_on_it(behind, members, status):
    assert lag_check("meter", behind, members).status == status


def test_a_row_that_vanished_is_a_fault():
    assert identity("meter.readings", Counts(10, 6, 2, 1, 1)).status == "OK"
    assert identity("meter.readings", Counts(10, 6, 2, 1, 0)).status == "FAIL"


def test_a_record_from_the_future_means_that_clocks_disagree():
    assert statuses(clock(0, 1_000_000)) == []
    assert statuses(clock(999_000, 1_000_000)) == ["OK"]
    assert statuses(clock(1_060_000, 1_000_000)) == ["WARN"]
