"""`python -m tests.fault [--quick] [--json PATH] [--scenario NAME] [--runs N]`.

Breaks things and judges: one JSON line a scenario on standard output or at the end of a file;
progress and a table for people on standard error. Ends with 0 where every promise was kept.
"""

import argparse
import asyncio
import logging
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from schemas.errors import GridloomError
from tests.fault import apart, scenarios  # noqa: F401  (registers the scenarios)
from tests.fault.ground import GROUNDS, Ground
from tests.fault.report import say, show
from tests.fault.scenario import SCENARIOS, Result, Run, Scenario
from tests.fault.world import world

_RUN_S = 900.0


def main() -> int:
    """Run the scenarios asked for; returns 0, 1 where one failed, 130 after Ctrl-C."""
    arguments = _arguments()
    chosen = _chosen(arguments)
    apart.enter(with_network=any(one.name == "packet-loss" for one in chosen))
    for number in (signal.SIGTERM, signal.SIGINT):  # also where a shell has it ignored
        signal.signal(number, signal.default_int_handler)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # that brokers go away is the purpose
    results: list[Result] = []
    try:
        with Grounds() as grounds:
            for one in chosen:
                results.append(Result(one, skipped=one.needs()))
                runs = 1 if arguments.quick else one.runs
                for number in range(0 if results[-1].skipped else arguments.runs or runs):
                    results[-1].runs.append(_run(one, number, grounds))
                _write(results[-1].line(), arguments.json)
    except KeyboardInterrupt:
        say("interrupted")
        if results and not results[-1].runs:
            results.pop()
        return 130
    finally:
        if results:
            show(results)
    return 1 if any(result.ok is False for result in results) else 0


class Grounds(ExitStack):
    """The ground in use: kept for as long as scenarios ask for the same."""

    _name, _ground = "", None

    def on(self, name: str) -> Ground:
        if self._ground is None or name != self._name:
            self.leave()
            self._ground, self._name = self.enter_context(GROUNDS[name](say)), name
        return self._ground

    def leave(self) -> None:
        self._ground = None
        self.close()


def _run(one: Scenario, number: int, grounds: Grounds) -> Run:
    """One run; what goes wrong in it is its failure, and the next begins on new ground."""
    say(f"{one.name}, run {number + 1}")
    began_s, run = time.monotonic(), Run()
    try:
        asyncio.run(_act(one, number, grounds.on(one.ground), run))
    except Exception as error:
        run.failure = run.failure or f"{type(error).__name__}: {error}"
        grounds.leave()
    recoveries = ", ".join(f"{s:.1f}" for s in run.recoveries_s)
    say(f"  {time.monotonic() - began_s:.0f} s, recovery {recoveries or '-'} s, {run.verdict}")
    if run.restarts:
        say(f"  {run.restarts} processes ended by themselves and were started again")
    if run.failure:
        say(f"  FAILED: {run.failure}")
    return run


async def _act(one: Scenario, number: int, ground: Ground, run: Run) -> None:
    async with asyncio.timeout(_RUN_S), world(ground, one, number, run) as made:
        await one.act(made)
        await made.finish()


def _chosen(arguments: argparse.Namespace) -> list[Scenario]:
    if arguments.scenario:
        return [SCENARIOS[name] for name in arguments.scenario]
    return [one for one in SCENARIOS.values() if one.quick or not arguments.quick]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fault", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the scenarios of CI, one run each")
    parser.add_argument("--json", type=Path, metavar="PATH", help="append the JSON lines to a file")
    parser.add_argument(
        "--scenario", action="append", choices=list(SCENARIOS), help="only this one; repeatable"
    )
    parser.add_argument("--runs", type=int, metavar="N", help="so many runs of each")
    return parser.parse_args()


def _write(line: str, path: Path | None) -> None:
    if path is None:
        print(line, flush=True)
        return
    with path.open("a") as file:
        file.write(line + "\n")


try:
    if __name__ == "__main__":
        sys.exit(main())
except GridloomError as error:
    say(f"failed: {error}")
    sys.exit(1)
