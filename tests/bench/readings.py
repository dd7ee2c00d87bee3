"""The input of the pipeline suite: readings of 1,000 racks, and what any right answer must be.

Each rack sends one reading after another without a gap, ten in a window; the racks take turns, so
the events of a partition are in the order of start_ms. A quantity is a whole number of quanta of
0.1 Wh: the expected sums are integers, known without any of the programs that are compared.

A closing reading a partition, two windows after the last, lets programs that wait for event time
finish the windows before it. Its own window is not part of the job.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import orjson

from schemas import TELEMETRY_IN, partition_of
from schemas.errors import GridloomError
from schemas.telemetry import IT_ENERGY

SITES = [f"site-{number:03d}" for number in range(20)]
RACKS = [f"{site}/rack-{number:04d}" for site in SITES for number in range(50)]
CLOSING_SITE = "closing"
PARTITIONS = TELEMETRY_IN.partitions

FIRST_MS = 1_760_400_000_000  # 2025-10-14 00:00 UTC, the start of a window
WINDOW_MS = 10_000
READING_MS = WINDOW_MS // 10
QUANTA_PER_KWH = 10_000
MJ_PER_QUANTUM = 360_000

_TURN_MS = READING_MS // len(RACKS)
_QUANTA = (250, 3_750)  # 1 to 15 kW over 90 s
_SEED = 7


class WrongResultError(GridloomError):
    """A program's windows are not those of the input: its speed says nothing."""


class Reading(NamedTuple):
    """One event of a rack; quantity in quanta."""

    rack: str
    start_ms: int
    quanta: int
    partition: int

    @property
    def end_ms(self) -> int:
        return self.start_ms + READING_MS

    @property
    def event(self) -> bytes:
        """The JSON of telemetry.in, about 150 bytes."""
        return orjson.dumps(
            {
                "meter_id": self.rack,
                "register": IT_ENERGY,
                "kind": "delta",
                "start_ms": self.start_ms,
                "end_ms": self.end_ms,
                "quantity": self.quanta / QUANTA_PER_KWH,
                "unit": "kWh",
            }
        )


class Window(NamedTuple):
    """One result: how many readings of one rack in one window, and their kWh."""

    readings: int
    sum_kwh: float
    mean_kwh: float
    max_kwh: float


Windows = Mapping[tuple[str, int], Window]  # (rack, start_ms)


@dataclass(frozen=True, slots=True)
class Input:
    """The first `rows` readings, and a closing one a partition."""

    rows: int

    @property
    def messages(self) -> int:
        return self.rows + PARTITIONS

    @property
    def end_ms(self) -> int:
        """End of the last window of the job."""
        last_ms = FIRST_MS + (self.rows - 1) * _TURN_MS
        return last_ms // WINDOW_MS * WINDOW_MS + WINDOW_MS

    def readings(self) -> Iterator[Reading]:
        """In the order of start_ms; every call gives the same."""
        random = Random(_SEED)
        places = [(rack, partition_of(rack, PARTITIONS)) for rack in RACKS]
        random.shuffle(places)
        for turn in range(self.rows):
            rack, partition = places[turn % len(places)]
            yield Reading(rack, FIRST_MS + turn * _TURN_MS, random.randint(*_QUANTA), partition)

    def closing(self) -> Iterator[Reading]:
        for partition in range(PARTITIONS):
            rack = f"{CLOSING_SITE}/rack-{partition:04d}"
            yield Reading(rack, self.end_ms + WINDOW_MS, 0, partition)

    def check(self, name: str, found: Windows) -> None:
        """Raises WrongResultError unless every window is there, once, with the right figures."""
        expected = self._windows()
        found = {key: window for key, window in found.items() if key[1] < self.end_ms}
        counted = sum(window.readings for window in found.values())
        if counted != self.rows:
            raise WrongResultError(f"{name} counted {counted} of {self.rows} readings")
        for key, window in expected.items():
            if key not in found or not _same(found[key], window):
                raise WrongResultError(f"{name} says {found.get(key)} of {key}, it is {window}")

    def _windows(self) -> Windows:
        quanta: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        for reading in self.readings():
            quanta[reading.rack, reading.start_ms // WINDOW_MS * WINDOW_MS].append(reading.quanta)
        return {
            key: Window(
                len(all_of),
                sum(all_of) / QUANTA_PER_KWH,
                sum(all_of) / len(all_of) / QUANTA_PER_KWH,
                max(all_of) / QUANTA_PER_KWH,
            )
            for key, all_of in quanta.items()
        }


def _same(found: Window, expected: Window) -> bool:
    return all(math.isclose(a, b, rel_tol=1e-9) for a, b in zip(found, expected, strict=True))
