"""One measured `rollup` worker of the agents suite: the agent as in production, and a stop watch.

    python -m tests.bench.agents_worker MESSAGES

Prints one JSON line: rows, CPU and wall seconds from the first message of readings in hand until
the last one is saved and acknowledged. The second stage, which merges partials, runs beside it.
"""

import os
import sys
import time
from typing import Any

import faust
import orjson
import uvloop

import streams.agents  # noqa: F401  (registers the stages)
from schemas import READINGS
from streams import worker
from streams.log import configure
from streams.runtime import StageRunner
from streams.settings import settings

_AGENT = "rollup"


class Measured(StageRunner):
    """Notes when the first reading came, and ends the process when the last one is saved."""

    _began: tuple[float, float] | None = None

    async def handle(self, event: Any) -> None:
        if self._began is None:
            self._began = time.process_time(), time.monotonic()
        await super().handle(event)

    async def _save(self, tp: Any, work: Any) -> None:
        await super()._save(tp, work)
        if self.stage.source is READINGS and self._saved_messages() == int(sys.argv[1]):
            self._report()

    def _saved_messages(self) -> int:
        return sum(work.saved_offset + 1 for work in self.work.values())

    def _report(self) -> None:
        assert self._began is not None
        cpu_s, wall_s = self._began
        line = {
            "accepted": sum(work.cut.counts.accepted for work in self.work.values()),
            "cpu_s": time.process_time() - cpu_s,
            "wall_s": time.monotonic() - wall_s,
        }
        sys.stdout.write(orjson.dumps(line).decode() + "\n")
        sys.stdout.flush()
        os._exit(0)


def main() -> None:
    configure(settings(), agent=_AGENT)
    worker.StageRunner = Measured  # type: ignore[misc]
    uvloop.install()
    app = worker.build_app(_AGENT, settings())
    faust.Worker(
        app, loglevel="WARN", override_logging=False, redirect_stdouts=False, quiet=True
    ).execute_from_commandline()


if __name__ == "__main__":
    main()
