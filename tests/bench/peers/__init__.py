"""Peers: the pipeline suite's job in other libraries, one a file, each run as a process.

The job: readings of a Kafka topic to tumbling windows by rack (count, sum, mean and max of the
quantity), one JSON result a window to another topic:
{"rack": .., "start_ms": .., "count": .., "sum": .., "mean": .., "max": ..}.
"""

import atexit
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import orjson

_STARTED = "started_ms"
_USED = "used_cpu_s"


@dataclass
class Job:
    """What a peer is told: where to read and write, how much, and a folder for its state."""

    brokers: str
    source: str
    results: str
    messages: int
    partitions: int
    window_ms: int
    folder: str
    lines: bool = False  # a message is a line an event, not one event
    begun: bool = False
    began_s: float = 0.0

    @classmethod
    def from_argv(cls) -> Self:
        return cls(**orjson.loads(sys.argv[1]))

    def begin(self) -> None:
        """To be called on every event: the first call is the start of the measured time."""
        if not self.begun:
            self.begun = True
            Path(self.folder, _STARTED).write_text(str(time.time() * 1000))
            self.began_s = time.process_time()
            atexit.register(self.end)

    def end(self) -> None:
        """To be called by a peer that leaves without its exit handlers."""
        Path(self.folder, _USED).write_text(str(time.process_time() - self.began_s))

    def started_ms(self) -> float:
        """When the peer had its first event in hand."""
        return float(Path(self.folder, _STARTED).read_text())

    def used_cpu_s(self) -> float:
        """CPU seconds from then to its end, all its threads."""
        return float(Path(self.folder, _USED).read_text())
