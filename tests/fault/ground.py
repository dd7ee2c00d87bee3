"""The ground that scenarios run on: brokers as a user would have them, and what to break there."""

import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streams.broker import HOST, Broker
from streams.settings import Settings
from tests.fault.cluster import Cluster
from tests.fault.proxy import Proxy

DISK_BYTES = 192 << 20

# Compaction and retention within a run's seconds, and the time of a broker's start kept short.
PROPERTIES = {
    "log.cleaner.backoff.ms": "500",
    "log.retention.check.interval.ms": "1000",
    "log.initial.task.delay.ms": "1000",
}


@dataclass(frozen=True)
class Ground:
    """Brokers that run; `settings` of the feed and the watch, `environment` of the workers.

    broken: what scenarios break (a Broker, a Cluster, a Proxy, a Disk).
    """

    settings: Settings
    environment: dict[str, str] = field(default_factory=dict)
    broken: Any = None


Say = Callable[[str], None]
GROUNDS: dict[str, Callable[[Say], AbstractContextManager[Ground]]] = {}


def ground(
    name: str,
) -> Callable[[Callable[[Say], Iterator[Ground]]], Callable[[Say], AbstractContextManager[Ground]]]:
    """Register a ground under its name."""

    def register(
        make: Callable[[Say], Iterator[Ground]],
    ) -> Callable[[Say], AbstractContextManager[Ground]]:
        GROUNDS[name] = contextmanager(make)
        return GROUNDS[name]

    return register


@ground("plain")
def plain(say: Say) -> Iterator[Ground]:
    """One embedded broker."""
    broker = Broker("fault", ephemeral=True, properties=PROPERTIES, on_progress=say)
    with broker as bootstrap:
        yield Ground(Settings(brokers=bootstrap), {"GRIDLOOM_BROKERS": bootstrap}, broker)


@ground("proxied")
def proxied(say: Say) -> Iterator[Ground]:
    """One broker; workers reach it through a proxy, the feed and the watch do not."""
    with Proxy() as proxy, socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
        probe.close()
        proxy.target_port = port
        listeners = f"CLIENT://{{host}}:{{port}},PROXIED://{{host}}:{port}"
        properties = PROPERTIES | {
            "listeners": f"{listeners},CONTROLLER://{{host}}:{{controller_port}}",
            "advertised.listeners": f"CLIENT://{{host}}:{{port}},PROXIED://{{host}}:{proxy.port}",
            "listener.security.protocol.map": "CLIENT:PLAINTEXT,PROXIED:PLAINTEXT,"
            "CONTROLLER:PLAINTEXT",
        }
        broker = Broker("proxied", ephemeral=True, properties=properties, on_progress=say)
        with broker as bootstrap:
            workers = {"GRIDLOOM_BROKERS": f"{HOST}:{proxy.port}"}
            yield Ground(Settings(brokers=bootstrap), workers, proxy)


class Disk:
    """A small file system with a broker on it, and a ballast file that fills it."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.broker = broker
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave so little room that the next segments or indexes find none."""
        with self._ballast.open("wb") as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
                file.flush()

    def free(self) -> None:
        self._ballast.unlink()


@ground("small-disk")
def small_disk(say: Say) -> Iterator[Ground]:
    """One broker on a tmpfs of its own, mounted where only the suite sees it (apart.py)."""
    folder = Path(tempfile.mkdtemp(prefix="gridloom-fault-disk-"))
    size = f"size={DISK_BYTES}"
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True)
        try:
            broker = Broker("disk", folder=folder / "broker", ephemeral=True, properties=PROPERTIES)
            with broker as bootstrap:
                disk = Disk(folder, broker)
                yield Ground(Settings(brokers=bootstrap), {"GRIDLOOM_BROKERS": bootstrap}, disk)
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        folder.rmdir()


@ground("secured")
def secured(say: Say) -> Iterator[Ground]:
    """Three nodes with TLS and SCRAM, acks=all, min.insync.replicas 2."""
    with Cluster(on_progress=say) as cluster:
        settings = cluster.settings
        workers = {
            "GRIDLOOM_BROKERS": settings.brokers,
            "GRIDLOOM_REPLICATION": "3",
            "GRIDLOOM_TLS_CA": str(settings.tls_ca),
            "GRIDLOOM_SASL_USERNAME": settings.sasl_username,
            "GRIDLOOM_SASL_PASSWORD": settings.sasl_password.get_secret_value(),
        }
        yield Ground(settings, workers, cluster)
