"""Apache Kafka's jars: fetched once from Maven coordinates, checked against kafka.lock, kept.

kafka.lock has a line a jar: `group:artifact:version sha256`. Made anew (a new Kafka version, say)
with `python -m streams.jars org.apache.kafka:kafka_2.13:4.1.0+org.slf4j:slf4j-simple:1.7.36`.
"""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import GridloomError

KAFKA_VERSION = "4.1.0"
LOCK = Path(__file__).with_name("kafka.lock")
_FETCHERS = 6

Progress = Callable[[str], None]


class BrokerError(GridloomError):
    """The embedded broker cannot be had or does not do as told."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One locked jar."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def locked() -> list[Jar]:
    """The jars of kafka.lock."""
    jars = []
    for line in LOCK.read_text().splitlines():
        if line and not line.startswith("#"):
            coordinates, sha256 = line.split()
            group, artifact, version = coordinates.split(":")
            jars.append(Jar(group, artifact, version, sha256))
    return jars


def cache_home() -> Path:
    """XDG cache of gridloom: things that can be fetched again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gridloom"


def kafka_jars(on_progress: Progress = lambda _: None) -> Path:
    """The folder of all jars, complete and verified; fetches them where they are not there yet."""
    folder = cache_home() / f"kafka-{KAFKA_VERSION}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="kafka-") as made:
            _fetch_all(locked(), Path(made), on_progress)
            target = Path(made) / "jars"
            try:
                os.rename(target, folder)  # all or nothing
            except OSError:
                if not folder.is_dir():  # not: somebody else was quicker
                    raise
    _verify(folder)
    return folder


def _verify(folder: Path) -> None:
    """Every locked jar is there in its locked size and bytes, and nothing else."""
    for jar in locked():
        path = folder / jar.file_name
        found = _sha256(path) if path.is_file() else "absent"
        if found != jar.sha256:
            raise BrokerError(
                f"{path} does not match its locked checksum ({found[:12]}, not {jar.sha256[:12]})",
                f"delete {folder} and start again",
            )


def _fetch_all(jars: list[Jar], folder: Path, on_progress: Progress) -> None:
    context = _maven(folder / "repository")
    target = folder / "jars"
    target.mkdir()

    def fetch(jar: Jar) -> str:
        artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
        path = Path(artifact.resolve())
        if (found := _sha256(path)) != jar.sha256:
            raise BrokerError(
                f"{jar.file_name} as fetched has checksum {found}, locked is {jar.sha256}",
                "do not use it; compare with another mirror",
            )
        shutil.copyfile(path, target / jar.file_name)
        return jar.file_name

    on_progress(f"fetching Apache Kafka {KAFKA_VERSION}: {len(jars)} jars, 43 MB, once")
    with ThreadPoolExecutor(_FETCHERS) as pool:
        try:
            for number, name in enumerate(pool.map(fetch, jars), 1):
                on_progress(f"fetched {number} of {len(jars)}: {name}")
        except BrokerError:
            raise
        except Exception as error:  # the resolver raises many kinds for "no network"
            pool.shutdown(cancel_futures=True)
            raise BrokerError(
                f"the jars of Apache Kafka could not be fetched: {error}",
                "connect to a Maven repository once, or set GRIDLOOM_BROKERS to your own cluster",
            ) from error


def _maven(repository: Path) -> Any:
    try:
        from jgo import MAVEN_CENTRAL_URL
        from jgo.maven import MavenContext
    except ImportError:
        raise BrokerError(
            "the embedded broker is not installed",
            "pip install 'gridloom[embedded]', or set GRIDLOOM_BROKERS to your own cluster",
        ) from None
    return MavenContext(repo_cache=repository, remote_repos={"central": MAVEN_CENTRAL_URL})


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lock(endpoint: str) -> None:
    """Print a lock of an endpoint and all it needs at run time."""
    import jgo

    lines = set()
    for artifact in jgo.resolve(endpoint):
        name = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
        lines.add(f"{name} {_sha256(Path(artifact.resolve()))}")
    sys.stdout.write("\n".join([f"# {endpoint} and what it needs at run time", *sorted(lines), ""]))


if __name__ == "__main__":
    _lock(sys.argv[1])
