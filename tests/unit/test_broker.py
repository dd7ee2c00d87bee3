"""The embedded broker: a real Kafka that starts anywhere and leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streams import jars
from streams.broker import HOST, Broker
from streams.jars import BrokerError, Jar, locked

pytestmark = pytest.mark.kafka

_PARENT = """
import sys, time
from streams.broker import Broker
broker = Broker("orphan", ephemeral=True)
print(broker.start(), broker.status().pid, broker.folder, flush=True)
time.sleep(600)
"""


def is_open(bootstrap: str) -> bool:
    host, port = bootstrap.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def eventually(condition, within_s: float = 15.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def test_an_ephemeral_broker_listens_on_loopback_and_leaves_nothing() -> None:
    broker = Broker("once", ephemeral=True)
    with broker as bootstrap:
        assert bootstrap.startswith(f"{HOST}:")
        assert is_open(bootstrap)
        status = broker.status()
        assert status.running
        assert status.bootstrap == bootstrap
    assert not is_open(bootstrap)
    assert not broker.folder.exists()
    assert not Path(f"/proc/{status.pid}").exists()


def test_further_properties_win_over_those_of_the_house() -> None:
    broker = Broker("more", ephemeral=True, properties={"num.io.threads": "1", "more": "{host}"})
    with broker:
        lines = (broker.folder / "server.properties").read_text().splitlines()
    assert lines.index("num.io.threads=1") > lines.index("num.io.threads=2")  # the last one holds
    assert lines[-1] == f"more={HOST}"


def test_a_killed_broker_starts_again_with_its_data_on_its_port() -> None:
    broker = Broker("again", ephemeral=True)
    bootstrap = broker.start()
    try:
        cluster = (broker.folder / "data" / "meta.properties").read_text()
        broker.kill()
        assert not broker.status().running
        assert not is_open(bootstrap)
        assert broker.start() == bootstrap
        assert (broker.folder / "data" / "meta.properties").read_text() == cluster
    finally:
        broker.stop()


def test_a_broker_ends_with_its_killed_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    bootstrap, pid, folder = parent.stdout.readline().split()
    assert is_open(bootstrap)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert eventually(lambda: not Path(f"/proc/{pid}").exists())
    assert eventually(lambda: not is_open(bootstrap))
    assert eventually(lambda: not Path(folder).exists())


def test_a_persistent_broker_is_one_however_often_it_is_started(tmp_path: Path) -> None:
    first, second = Broker("p", folder=tmp_path), Broker("p", folder=tmp_path)
    bootstrap = first.start()
    try:
        assert second.start() == bootstrap
        assert second.status().pid == first.status().pid
    finally:
        second.stop()
    assert not first.status().running
    assert not is_open(bootstrap)
    assert (tmp_path / "data").is_dir()  # persistent: the data stays


def test_a_pid_that_is_somebody_elses_is_not_taken_for_the_broker(tmp_path: Path) -> None:
    record = f'{{"pid":{os.getpid()},"since":"1","ports":[1,2]}}'
    (tmp_path / "broker.json").write_text(record)
    assert not Broker("stale", folder=tmp_path).status().running


def test_no_java_is_needed_and_an_empty_home_will_do(tmp_path: Path) -> None:
    bare = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "JAVA"))}
    # the jars are not fetched again for this: the cache alone is where it was
    bare |= {"HOME": str(tmp_path), "PATH": str(tmp_path)}
    bare |= {"XDG_CACHE_HOME": str(jars.cache_home().parent)}
    code = "from streams.broker import Broker\nwith Broker(ephemeral=True) as b: print(b)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(HOST)


def test_a_changed_jar_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = jars.kafka_jars()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = jars.cache_home() / sound.name
    folder.mkdir(parents=True)
    for jar in locked():
        (folder / jar.file_name).symlink_to(sound / jar.file_name)
    spoilt = folder / locked()[3].file_name
    spoilt.unlink()
    spoilt.write_bytes(b"not the jar")
    with pytest.raises(BrokerError, match=spoilt.name):
        jars.kafka_jars()


def test_jars_that_cannot_be_fetched_give_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Offline:
        def project(self, group: str, artifact: str) -> "Offline":
            raise OSError("network is unreachable")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(jars, "_maven", lambda _: Offline())
    with pytest.raises(BrokerError, match="GRIDLOOM_BROKERS"):
        jars.kafka_jars()
    assert list(jars.cache_home().iterdir()) == []  # nothing half


def test_every_jar_of_the_lock_has_a_version_and_a_checksum() -> None:
    assert len(locked()) > 40
    for jar in locked():
        assert isinstance(jar, Jar)
        assert len(jar.sha256) == 64
        assert jar.version[0].isdigit()
