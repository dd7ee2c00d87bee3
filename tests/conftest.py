"""Shared fixtures: a real Kafka broker for the session, and the folder of the real data sets."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.broker import Broker

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    """host:port of a real Apache Kafka: GRIDLOOM_BROKERS, or an embedded one for this session."""
    if given := os.environ.get("GRIDLOOM_BROKERS"):
        yield given
        return
    with Broker("tests", ephemeral=True) as bootstrap:
        yield bootstrap


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The real data sets: GRIDLOOM_DATA, or shared/data beside the project."""
    folder = Path(os.environ.get("GRIDLOOM_DATA") or ROOT / "../shared/data").resolve()
    if not (folder / "MANIFEST").is_file():
        pytest.skip(f"no data sets at {folder}; set GRIDLOOM_DATA")
    return folder
