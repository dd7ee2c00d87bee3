"""Places: what the registry says of meters, looked up once a meter instead of once a row.

A meter and its site are dated; between two dates everything holds that a reading takes from them.
Each such span is one line of SPAN, and the spans of a meter follow each other by date.
"""

from collections.abc import Sequence

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

Int64s = npt.NDArray[np.int64]
_NOWHERE = -1  # site code of a span in which the meter or its site is not registered


class Places:
    """The spans of the meters seen so far, as of one registry offset."""

    def __init__(self, registry: RegistryView, symbols: Symbols) -> None:
        self.registry, self.symbols = registry, symbols
        self.spans = np.zeros(1024, SPAN)
        self._used = 0
        self._of: dict[str, tuple[int, int]] = {}  # meter -> first span, number of spans

    def find(self, meters: Sequence[str], codes: npt.NDArray[np.int32], at_ms: Int64s) -> Int64s:
        """The span of each row: of meters[code] at at_ms; -1 where it is not registered then."""
        found = [self._of.get(meter) or self._look_up(meter) for meter in meters]
        first, count = np.array(found, np.int64).reshape(-1, 2)[codes].T
        spans = np.where(count > 0, first, 0)
        for number in range(1, max(count.max(initial=0), 1)):  # few meters have many dates
            later = (count > number) & (
                at_ms >= self.spans["from_ms"][first + number * (count > number)]
            )
            spans += later
        known = (count > 0) & (at_ms >= self.spans["from_ms"][spans])
        known &= self.spans["site_id"][spans] != _NOWHERE
        return np.where(known, spans, -1)

    def _look_up(self, meter_id: str) -> tuple[int, int]:
        """A meter's spans; one that is not registered at all is not remembered."""
        meters = self.registry.history(Meter, meter_id)
        sites = {meter.site_id for meter in meters}
        dates = {meter.valid_from_ms for meter in meters}
        dates |= {s.valid_from_ms for site in sites for s in self.registry.history(Site, site)}
        lines = [self._span(meter_id, from_ms) for from_ms in sorted(dates)]
        if not meters:
            return 0, 0
        while self._used + len(lines) > len(self.spans):
            self.spans = np.concatenate([self.spans, np.zeros_like(self.spans)])
        self.spans[self._used : self._used + len(lines)] = lines
        self._of[meter_id] = self._used, len(lines)
        self._used += len(lines)
        return self._of[meter_id]

    def _span(self, meter_id: str, from_ms: int) -> tuple[int, ...]:
        meter = self.registry.find(Meter, meter_id, from_ms)
        site = self.registry.find(Site, meter.site_id, from_ms) if meter else None
        if meter is None or site is None:
            return from_ms, 0, 0, _NOWHERE, 0, 0, 0, 0
        place = (meter.site_id, meter.rack_id, site.hub_id, meter.account_id)
        codes = (self.symbols.code(name) for name in place)
        partition = partition_of(meter.site_id, READINGS.partitions)
        return (from_ms, meter.max_age_ms, meter.max_ahead_ms, *codes, partition)
