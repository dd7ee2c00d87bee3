"""`python -m tests.bench SUITE [--quick] [--json PATH]`: measure, compare, print JSON lines."""

import argparse
import sys
from importlib import import_module
from pathlib import Path

from schemas.errors import GridloomError
from tests.bench.case import SUITES, Case, say, show

_MODULES = (
    "agents",
    "balance",
    "balance_sites",
    "decode",
    "exact",
    "ingest",
    "instructions",
    "latency",
    "match",
    "pipeline",
    "soak",
)
for _name in _MODULES:
    import_module(f"tests.bench.{_name}")  # registers its suite


def main() -> int:
    """Run one suite; returns 0, or 1 where a case failed."""
    arguments = _arguments()
    if arguments.list or arguments.suite is None:
        for suite in SUITES.values():
            print(f"{suite.name:12} {suite.about}")
        return 0
    cases: list[Case] = []
    try:
        for case in SUITES[arguments.suite].run(arguments.quick):
            cases.append(case)
            _write(case, arguments.json)
    except GridloomError as error:
        say(f"failed: {error}")
        return 1
    finally:
        if cases:
            show(cases)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("suite", nargs="?", choices=list(SUITES), help="what to measure")
    parser.add_argument("--list", action="store_true", help="list the suites")
    parser.add_argument("--quick", action="store_true", help="a tenth of the input")
    parser.add_argument("--json", type=Path, metavar="PATH", help="append the JSON lines to a file")
    return parser.parse_args()


def _write(case: Case, path: Path | None) -> None:
    if path is None:
        print(case.line(), flush=True)
        return
    with path.open("a") as file:
        file.write(case.line() + "\n")


if __name__ == "__main__":
    sys.exit(main())
