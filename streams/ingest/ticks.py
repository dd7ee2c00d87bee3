"""Ticks: the bridge writes a tick into `market` when a domain's event time passes a boundary.

A tick T stands after every row received up to T, so that `dispatch` sees what was known at T; late
rows come behind it. No clock: event time is the rows' received_ms.
"""

from dataclasses import dataclass

from schemas.registry import Domain

_CATCH_UP = 1_000  # boundaries written one by one after a silence; beyond, only the newest


@dataclass(slots=True)
class TickClock:
    """The last tick written of one domain (None: none yet)."""

    last_ms: int | None = None

    def due(self, domain: Domain, received_ms: int) -> list[int]:
        """Boundaries T with last < T < received_ms, oldest first."""
        step = domain.tick_ms
        newest = (received_ms - 1) // step * step
        if self.last_ms is None:
            self.last_ms = newest  # a boundary before the first row is not written
            return []
        if newest <= self.last_ms:
            return []
        first = max(self.last_ms + step, newest - _CATCH_UP * step)
        self.last_ms = newest
        return list(range(first, newest + 1, step))
