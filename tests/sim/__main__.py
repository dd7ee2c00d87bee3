"""`python -m tests.sim [--schedules N] [--first SEED] [--jobs N] [--json PATH]`

Runs schedules, then breaks the wrapper on purpose and counts the schedules until that is found.
One JSON line; exit 1 if a promise was broken or a mutant was not found. One schedule again:
`python -m tests.sim --first SEED --schedules 1`.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from streams.log import configure
from streams.settings import Settings
from tests.sim.check import violations
from tests.sim.mutants import MUTANTS, process_of

_CHUNK = 250
_MUTANT_SCHEDULES = 5_000


def broken(first: int, count: int) -> dict[int, list[str]]:
    """Seed -> what its schedule broke, of those that broke something."""
    configure(Settings(log_level="critical"))
    found = ((seed, violations(seed)) for seed in range(first, first + count))
    return {seed: what for seed, what in found if what}


def found_at(mutant: str) -> int | None:
    """How many schedules it takes to find the mutant."""
    configure(Settings(log_level="critical"))
    process = process_of(MUTANTS[mutant])
    seeds = range(_MUTANT_SCHEDULES)
    return next((seed + 1 for seed in seeds if violations(seed, process)), None)


def _chunks(first: int, count: int) -> Iterator[tuple[int, int]]:
    for at in range(first, first + count, _CHUNK):
        yield at, min(_CHUNK, first + count - at)


def run(first: int, count: int, jobs: int) -> dict[str, Any]:
    """All schedules and mutants; progress on standard error."""
    began_s = time.monotonic()
    found: dict[int, list[str]] = {}
    done = 0
    with ProcessPoolExecutor(jobs) as pool:
        for part in pool.map(broken, *zip(*_chunks(first, count), strict=True)):
            found |= part
            done = min(count, done + _CHUNK)
            sys.stderr.write(f"\r{done:,} of {count:,} schedules, {len(found)} broke a promise")
        seconds = time.monotonic() - began_s
        mutants = dict(zip(MUTANTS, pool.map(found_at, MUTANTS), strict=True))
    sys.stderr.write("\n")
    for seed, what in sorted(found.items()):
        sys.stderr.write(f"seed {seed}: {'; '.join(what)[:1000]}\n")
    return {
        "scenario": "simulation",
        "schedules": count,
        "first_seed": first,
        "violations": len(found),
        "schedules_per_minute": round(60 * count / seconds),
        "mutants_found_after": mutants,
        "ok": not found and None not in mutants.values(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--schedules", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="PATH")
    given = parser.parse_args()
    line = orjson.dumps(run(given.first, given.schedules, given.jobs)).decode()
    print(line)
    if given.json:
        with given.json.open("a") as file:
            file.write(line + "\n")
    sys.exit(0 if orjson.loads(line)["ok"] else 1)


if __name__ == "__main__":
    main()
