"""What processes have used, by the kernel's own books."""

import os
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Self

_TICKS = os.sysconf("SC_CLK_TCK")
_EVERY_S = 0.01  # the books are kept in hundredths


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Used:
    """What these processes had used at any time, noted by a thread while it is entered.

    So that what is asked of a cluster to learn that a contestant is done, and how long that takes,
    is not counted as the contestant's.
    """

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._at_ms: list[float] = []
        self._used_s: list[list[float]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._note, daemon=True)

    def __enter__(self) -> Self:
        self._note_once()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def between(self, began_ms: float, ended_ms: float) -> list[float]:
        """CPU seconds of each process in that time, UTC ms, as noted next before and next after."""
        first = max(0, bisect_right(self._at_ms, began_ms) - 1)
        last = min(bisect_left(self._at_ms, ended_ms), len(self._at_ms) - 1)
        ends = zip(self._used_s[first], self._used_s[last], strict=True)
        return [after - before for before, after in ends]

    def _note(self) -> None:
        while not self._ended.wait(_EVERY_S):
            try:
                self._note_once()
            except OSError:
                return  # one of them is gone, and with it what was to be known

    def _note_once(self) -> None:
        at_ms = time.time() * 1000
        self._used_s.append([cpu_s(pid) for pid in self._pids])
        self._at_ms.append(at_ms)
