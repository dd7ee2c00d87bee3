"""Instructions: what each kernel executes per item, beside what was kept for this compiler.

    python -m tests.bench instructions              # measure, compare, fail on a rise of over 5 %
    python -m tests.bench.instructions              # measure and keep the figures of this machine

Counts hardly waver, seconds do. They depend on compiler and Python: `instructions.json` has a key
for each pair that was measured; under another key the figures are only reported.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson

from schemas.errors import GridloomError
from tests.bench.case import Case, say, suite
from tests.bench.counted import KERNELS

_KEPT = Path(__file__).with_name("instructions.json")
_RISE = 0.05
_TOGGLE = "PyNumber_InPlaceMatrixMultiply"


class RiseError(GridloomError):
    """A kernel executes more than it did."""


@suite("instructions", "instructions an item of each kernel, beside those kept for this compiler")
def instructions(quick: bool) -> Iterator[Case]:
    """A case a kernel; ends with an error where one has risen by over 5 %. quick: all the same."""
    kept = _kept().get(key(), {})
    risen = []
    for name, count in _counts():
        kernel = KERNELS[name]
        before = kept.get(name)
        yield Case(
            suite="instructions",
            case=name,
            metric="instructions",
            value=count,
            unit=f"/{kernel.unit}",
            peers={"kept": before} if before else {},
            better="lower",
            n=kernel.items,
            note=key(),
        )
        if before and count > before * (1 + _RISE):
            risen.append(f"{name} {before:,.0f} -> {count:,.0f} a {kernel.unit}")
    if risen:
        raise RiseError(
            f"instructions have risen: {'; '.join(risen)}",
            "make it cheaper, or keep the new figure: python -m tests.bench.instructions",
        )


def _counts() -> Iterator[tuple[str, float]]:
    """Instructions per item of each kernel, measured side by side."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from zip(KERNELS, pool.map(_measure, KERNELS), strict=True)


def _measure(name: str) -> float:
    if shutil.which("valgrind") is None:
        raise GridloomError("valgrind is not installed", "apt-get install valgrind")
    with tempfile.TemporaryDirectory(prefix="gridloom-bench-") as folder:
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={folder}/out",
            "--collect-atstart=no",
            f"--toggle-collect={_TOGGLE}",
            sys.executable,
            "-m",
            "tests.bench.counted",
            name,
        ]
        environment = os.environ | {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise GridloomError(f"callgrind on {name} failed", done.stderr[-1000:])
    say(f"{name}: {int(found[1]):,} instructions, {KERNELS[name].items:,} {KERNELS[name].unit}s")
    return round(int(found[1]) / KERNELS[name].items, 1)


def key() -> str:
    """Compiler, Python and architecture: what the counts depend on."""
    compiler = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=True)
    version = re.search(r"\d+\.\d+\.\d+", compiler.stdout)
    python = ".".join(platform.python_version_tuple()[:2])
    gcc = version[0] if version else compiler.stdout.splitlines()[0]
    return f"cc {gcc}, Python {python}, {platform.machine()}"


def _kept() -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = orjson.loads(_KEPT.read_bytes()) if _KEPT.exists() else {}
    return found


def main() -> None:
    counts = dict(_counts())
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    _KEPT.write_bytes(orjson.dumps(_kept() | {key(): counts}, option=options))
    say(f"kept in {_KEPT.name} under {key()!r}")


if __name__ == "__main__":
    main()
