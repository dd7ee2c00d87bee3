"""One measured worker that reads readings: the agent as in production, and a stop watch.

    python -m tests.bench.agent_worker AGENT exact|bare MESSAGES

exact: as it is. bare: the same agent that acknowledges without having saved. Prints one JSON line:
rows, CPU and wall seconds from the first message in hand until the last message of readings was
acknowledged. Other stages of the agent run beside it.
"""

import asyncio
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
from streams.memory import keep_freed
from streams.runtime import StageRunner
from streams.settings import settings

_agent, _how, _messages = sys.argv[1], sys.argv[2], int(sys.argv[3])


class Measured(StageRunner):
    """Notes when the first message came, and ends the process when the last one is saved."""

    _began: tuple[float, float] | None = None

    async def handle(self, event: Any) -> None:
        if self._began is None:
            self._began = time.process_time(), time.monotonic()
        await super().handle(event)

    async def _save(self, tp: Any, work: Any) -> None:
        await super()._save(tp, work)
        self._end()

    def _end(self) -> None:
        if self.stage.source is not READINGS:
            return
        if sum(work.saved_offset + 1 for work in self.work.values()) == _messages:
            self._report()

    def _report(self) -> None:
        assert self._began is not None
        cpu_s, wall_s = self._began
        line = {
            "rows": sum(work.cut.counts.consumed for work in self.work.values()),
            "accepted": sum(work.cut.counts.accepted for work in self.work.values()),
            "cpu_s": time.process_time() - cpu_s,
            "wall_s": time.monotonic() - wall_s,
        }
        sys.stdout.write(orjson.dumps(line).decode() + "\n")
        sys.stdout.flush()
        os._exit(0)


class Bare(Measured):
    """The same agent without a journal: outputs awaited, then acknowledged."""

    def _seal(self, cut: Any) -> None:
        pass

    async def _save(self, tp: Any, work: Any) -> None:
        await asyncio.gather(*work.sends)
        events, work.events, work.sends, work.unsaved = work.events, [], [], 0
        work.saved_offset = work.cut.offset
        for event in events:
            event.ack()
        self._end()


def main() -> None:
    configure(settings(), agent=_agent)
    keep_freed()
    worker.StageRunner = {"exact": Measured, "bare": Bare}[_how]  # type: ignore[misc]
    keep_freed()
    uvloop.install()
    app = worker.build_app(_agent, settings())
    faust.Worker(
        app, loglevel="WARN", override_logging=False, redirect_stdouts=False, quiet=True
    ).execute_from_commandline()


if __name__ == "__main__":
    main()
