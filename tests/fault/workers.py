"""Worker processes: started as in production, killed, stopped, continued; kept by a keeper."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

_KEEP_S = 0.3
_END_S = 30.0
_OUTAGE = re.compile("NodeNotReady|Unable |NotEnoughReplicas|is overlapping")  # thousands of them


@dataclass
class Worker:
    """One process of one agent; `kept` means that it is started again when it ends by itself."""

    name: str
    agent: str
    environment: dict[str, str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None
    kept: bool = False
    restarts: int = 0

    def start(self) -> None:
        command = [sys.executable, "-m", "streams", "worker", "--agents", self.agent]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, f"--parent={os.getpid()}"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C goes to the suite, which ends it
            )
        self.kept = True

    def kill(self) -> float:
        """SIGKILL; returns when (monotonic seconds)."""
        self.kept = False
        self.signal(signal.SIGKILL)
        at_s = time.monotonic()
        if self.process is not None:
            self.process.wait()
        return at_s

    def signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    @property
    def has_ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None


@dataclass
class Workers:
    """The processes of a run."""

    folder: Path
    environment: dict[str, str]
    by_name: dict[str, Worker] = field(default_factory=dict)

    def start(self, name: str, **environment: str) -> Worker:
        """A worker of the agent that its name begins with: meter, meter2, ingest2."""
        agent = name.rstrip("0123456789")
        worker = Worker(name, agent, self.environment | environment, self.folder / f"{name}.log")
        self.by_name[name] = worker
        worker.start()
        return worker

    async def keep(self) -> None:
        """The keeper's task: what ended by itself is started again, as a supervisor would."""
        while True:
            for worker in self.by_name.values():
                if worker.kept and worker.has_ended:
                    worker.restarts += 1
                    worker.start()
            await asyncio.sleep(_KEEP_S)

    async def end(self) -> list[str]:
        """SIGTERM to all; returns those that did not end by it in time and were killed."""
        for worker in self.by_name.values():
            worker.kept = False
            worker.signal(signal.SIGCONT)
            worker.signal(signal.SIGTERM)
        deadline_s = time.monotonic() + _END_S
        while time.monotonic() < deadline_s and not all(w.has_ended for w in self._started):
            await asyncio.sleep(0.05)
        late = [worker.name for worker in self._started if not worker.has_ended]
        self.kill()
        return late

    def kill(self) -> None:
        """SIGKILL to all."""
        for worker in self.by_name.values():
            worker.kill()

    @property
    def _started(self) -> list[Worker]:
        return [worker for worker in self.by_name.values() if worker.process is not None]

    @property
    def restarts(self) -> int:
        return sum(worker.restarts for worker in self.by_name.values())

    def logged(self, event: str) -> int:
        """Lines of all logs that tell of an event."""
        needle = f'"event": "{event}"'.encode()
        return sum(path.read_bytes().count(needle) for path in self.folder.glob("*.log"))

    def tail(self, lines: int = 12) -> str:
        """The last lines of every log, for a run that failed."""
        shown = []
        for path in sorted(self.folder.glob("*.log")):
            said = path.read_text(errors="replace").splitlines()
            last = [text for text in said if not _OUTAGE.search(text)][-lines:]
            shown += [f"--- {path.name}", *(text[:400] for text in last)]
        return "\n".join(shown)
