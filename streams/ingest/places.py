"""Places: what the registry says of meters, looked up once a meter instead of once a row.

A meter and its site are dated; between two dates everything holds that a reading takes from them.
Each such span is one line of SPAN, and the spans of a meter follow each other by date.
"""

from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from kernels.symbols import Symbols
from schemas import READINGS, partition_of
from schemas.registry import Meter, Site
from streams.registry import RegistryView

SPAN = np.dtype(
    [
        ("from_ms", "i8"),
        ("max_age_ms", "i8"),
        ("max_ahead_ms", "i8"),
        ("site_id", "i4"),
        ("rack_id", "i4"),
        ("hub_id", "i4"),
        ("account_id", "i4"),
        ("partition", "i4"),  # of READINGS
    ]
)
PLACE_COLUMNS = ("site_id", "rack_id", "hub_id", "account_id")

E = TypeVar("E", Meter, Site)
Int64s = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
_partition_of = lru_cache(4096)(partition_of)  # a site's meters are many
_NOWHERE = -1  # site code of a span in which the meter or its site is not registered


class Found(NamedTuple):
    """The spans of rows: spans[place]; known: where there is one, None: everywhere."""

    spans: npt.NDArray[Any]
    place: npt.NDArray[Any]
    known: npt.NDArray[np.bool_] | None


class Places:
    """The spans of the meters seen so far, as of one registry offset."""

    def __init__(self, registry: RegistryView, symbols: Symbols) -> None:
        self.registry, self.symbols = registry, symbols
        self._spans = np.zeros(1024, SPAN)
        self._used = 0
        self._sites: dict[str, list[Site]] = {}
        self._of = np.zeros((0, 2), np.int64)  # meter's code -> first span, number of spans

    def find(self, meters: Codes, place: Codes, at_ms: Int64s) -> Found:
        """The span of each row: of the meter with code meters[place] at at_ms."""
        of_meters = self._of_meters(meters)
        if len(meters) and len(at_ms) and (of_meters[:, 1] == 1).all():
            spans = self._spans[of_meters[:, 0]]  # as a rule: no dates, so a line a meter
            if (spans["site_id"] != _NOWHERE).all() and spans["from_ms"].max() <= at_ms.min():
                return Found(spans, place, None)
        first, count = of_meters[place].T
        found = np.where(count > 0, first, 0)
        for number in range(1, max(count.max(initial=0), 1)):  # few meters have many dates
            later = (count > number) & (
                at_ms >= self._spans["from_ms"][first + number * (count > number)]
            )
            found += later
        known = (count > 0) & (at_ms >= self._spans["from_ms"][found])
        known &= self._spans["site_id"][found] != _NOWHERE
        return Found(self._spans, found, known)

    def _of_meters(self, meters: Codes) -> Int64s:
        """First span and number of spans of each; one that is not registered is asked for again."""
        if (size := len(self.symbols.names)) > len(self._of):
            grown = np.zeros((2 * size, 2), np.int64)
            grown[: len(self._of)] = self._of
            self._of = grown
        unknown = meters[self._of[meters, 1] == 0]
        if len(unknown):
            self._look_up(unknown)
        of_meters: Int64s = self._of[meters]
        return of_meters

    def _look_up(self, meters: Codes) -> None:
        """Take in the spans of these meters; none of one that is not registered at all."""
        lines: list[tuple[int, ...]] = []
        for meter in meters.tolist():
            before = len(lines)
            lines += self._spans_of(self.symbols.names[meter])
            self._of[meter] = self._used + before, len(lines) - before
        while self._used + len(lines) > len(self._spans):
            self._spans = np.concatenate([self._spans, np.zeros_like(self._spans)])
        self._spans[self._used : self._used + len(lines)] = lines
        self._used += len(lines)

    def _spans_of(self, meter_id: str) -> list[tuple[int, ...]]:
        meters = self.registry.history(Meter, meter_id)
        sites = {meter.site_id: self._site(meter.site_id) for meter in meters}
        dates = {meter.valid_from_ms for meter in meters}
        dates |= {site.valid_from_ms for site in chain.from_iterable(sites.values())}
        return [self._span(meters, sites, from_ms) for from_ms in sorted(dates)]

    def _site(self, site_id: str) -> list[Site]:
        """A site's dated entries: asked for once, its meters are many."""
        if site_id not in self._sites:
            self._sites[site_id] = self.registry.history(Site, site_id)
        return self._sites[site_id]

    def _span(
        self, meters: list[Meter], sites: dict[str, list[Site]], from_ms: int
    ) -> tuple[int, ...]:
        meter = _held(meters, from_ms)
        site = _held(sites[meter.site_id], from_ms) if meter else None
        if meter is None or site is None:
            return from_ms, 0, 0, _NOWHERE, 0, 0, 0, 0
        place = (meter.site_id, meter.rack_id, site.hub_id, meter.account_id)
        partition = _partition_of(meter.site_id, READINGS.partitions)
        codes = map(self.symbols.code, place)
        return (from_ms, meter.max_age_ms, meter.max_ahead_ms, *codes, partition)


def _held(dated: list[E], at_ms: int) -> E | None:
    """Of entries by date the one that holds at at_ms."""
    for entry in reversed(dated):
        if entry.valid_from_ms <= at_ms:
            return entry
    return None
