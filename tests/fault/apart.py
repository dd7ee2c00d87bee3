"""A place apart: the suite's own mounts, and where packets are lost its own network.

The suite starts itself again in namespaces of its own, so that nothing it mounts or drops is seen
outside, and all of it ends with the suite, however that ends.
"""

import os
import shutil
import subprocess
import sys

from streams.jars import kafka_jars

_MARK = "GRIDLOOM_FAULT_APART"
_NETEM = "ip link set lo up && tc qdisc add dev lo root netem loss 5%"


def enter(with_network: bool) -> None:
    """Become the same command in namespaces of its own; returns where that is impossible."""
    if _MARK in os.environ or why_no_mount():
        return
    command = _unshare("--mount", "--propagation", "private")
    if with_network and not why_no_loss():
        kafka_jars()  # while there is a network to fetch them from
        command = [*_unshare("--mount", "--propagation", "private", "--net"), "sh", "-c"]
        command += ['ip link set lo up && exec "$@"', "sh"]
    os.environ[_MARK] = "1"
    arguments = [sys.executable, "-m", "tests.fault", *sys.argv[1:]]
    os.execvp(command[0], [*command, *arguments])


def why_no_mount() -> str:
    """Why a file system cannot be mounted apart; empty where it can."""
    return "" if _MARK in os.environ else _try(["true"], "--mount")


def why_no_loss() -> str:
    """Why packets cannot be lost by netem; empty where they can."""
    return why_no_mount() or _try(["sh", "-c", _NETEM], "--net")


def lose_packets() -> None:
    """5 % of all packets on the suite's own loopback from now on."""
    subprocess.run(["sh", "-c", _NETEM], check=True)


def lose_none() -> None:
    subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"], check=True)


def _unshare(*spaces: str) -> list[str]:
    return ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), *spaces]


def _try(command: list[str], *spaces: str) -> str:
    if shutil.which("unshare") is None:
        return "no unshare here"
    done = subprocess.run([*_unshare(*spaces), *command], capture_output=True, check=False)
    said = done.stderr.decode(errors="replace").strip()
    return "" if done.returncode == 0 else said or "unshare failed"
