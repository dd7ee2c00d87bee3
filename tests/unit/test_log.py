"""Logs: one event a line on standard error, and never the password."""

import json
import logging

import pytest
import structlog
from pydantic import SecretStr

from schemas.errors import ConfigError
from streams.log import configure, log
from streams.settings import Settings

PASSWORD = 'korrekt Pferd "Batterie" 电池\''
BOTH = pytest.mark.parametrize("form", ["json", "text"])


@pytest.fixture(autouse=True)
def _as_before():
    """Logging is of the whole process: leave it as it was."""
    handlers, levels = logging.root.handlers[:], {}
    for name in ("", "faust", "aiokafka", "mode", "kafka"):
        levels[name] = logging.getLogger(name).level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    logging.root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def given(**changed):
    login = {"sasl_username": "meterer", "sasl_password": SecretStr(PASSWORD)}
    return Settings(brokers="b:9092", **login | changed)


def leaks(text):
    """Forms of the password that a line shows: as it is, escaped, or any part of it."""
    forms = [PASSWORD, json.dumps(PASSWORD)[1:-1], repr(PASSWORD)[1:-1], "Pferd", "Batterie"]
    return [form for form in forms if form in text]


def test_an_event_is_one_json_line_with_what_was_bound_to_it(capsys):
    configure(given(), agent="meter")

    log("journal").info("saved", partition=3, text="two\nlines, 电")

    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    event = json.loads(line)
    assert out == ""
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "saved",
        "level": "info",
        "part": "journal",
        "agent": "meter",
        "partition": 3,
        "text": "two\nlines, 电",
    }


@pytest.mark.parametrize(
    ("level", "shown"), [("debug", "diwe"), ("info", "iwe"), ("warning", "we"), ("ERROR", "e")]
)
def test_events_below_the_level_are_left_out(capsys, level, shown):
    configure(given(log_level=level))
    speak = log("x")

    for name in ("debug", "info", "warning", "error"):
        getattr(speak, name)(name[0])

    assert [json.loads(x)["event"] for x in capsys.readouterr().err.splitlines()] == list(shown)


@BOTH
def test_the_password_is_not_in_what_is_logged(capsys, form):
    settings = given(log_format=form)
    configure(settings)

    log("x").info("ready", settings=settings, arguments=settings.kafka, text=f"as {PASSWORD}!")
    log("x").warning("refused", error=repr(ValueError(PASSWORD)))

    shown = capsys.readouterr().err
    assert "meterer" in shown
    assert leaks(shown) == []
    if form == "json":
        assert [json.loads(line)["event"] for line in shown.splitlines()] == ["ready", "refused"]


@BOTH
def test_the_password_is_not_in_a_traceback_nor_in_its_variables(capsys, form):
    settings = given(log_format=form)
    configure(settings)

    try:
        password = settings.sasl_password.get_secret_value()
        raise ConnectionError(f"login as meterer with {password} failed")
    except ConnectionError:
        log("x").error("step_failed", exc_info=True)
        logging.getLogger("aiokafka").exception("cannot connect")

    shown = capsys.readouterr().err
    assert shown.count("login as meterer with") >= 2
    assert leaks(shown) == []


@BOTH
def test_a_library_speaks_from_warnings_on_and_without_the_password(capsys, form):
    settings = given(log_format=form, log_level="debug")
    configure(settings)

    for name in ("aiokafka.conn", "faust", "mode", "somebody"):
        logging.getLogger(name).info("connecting with %s", settings.kafka)
        logging.getLogger(name).warning("refused: %s", settings.kafka)

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert all("refused" in line and "meterer" in line for line in lines)
    assert leaks("\n".join(lines)) == []
    if form == "json":
        assert {json.loads(line)["level"] for line in lines} == {"warning"}


def test_without_a_password_nothing_is_masked(capsys):
    configure(Settings(brokers="b:9092"))

    log("x").info("ready", text="as it is")

    assert json.loads(capsys.readouterr().err)["text"] == "as it is"


def test_an_unknown_level_is_refused_by_its_value_and_the_name_of_the_setting():
    with pytest.raises(ConfigError, match=r"(?s)'loud'.*GRIDLOOM_LOG_LEVEL"):
        configure(given(log_level="loud"))
