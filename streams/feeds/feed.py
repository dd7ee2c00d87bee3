"""What a feed is: registry entries, then input messages in event time, the same on every run."""

import heapq
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import orjson

from schemas import MARKET_IN, TELEMETRY_IN, partition_of
from schemas.codec import JSON, NDJSON
from schemas.registry import AnyEntry

Row = dict[str, Any]
Headers = tuple[tuple[str, bytes], ...]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MESSAGE_ROWS = 100  # rows a message at most: about 15 kB, so that no message fills a batch

_JSON_HEADERS: Headers = (("content-type", JSON.encode()),)
_NDJSON_HEADERS: Headers = (("content-type", NDJSON.encode()),)


class Event(NamedTuple):
    """One message of an input topic; timestamp_ms is its receipt, in event time."""

    topic: str  # as the schemas name it, without a namespace
    partition: int
    key: bytes | None
    value: bytes
    timestamp_ms: int
    headers: Headers = ()
    rows: int = 1


class Feed(Protocol):
    """A data set or scenario as input of the pipeline."""

    name: str
    label: str  # where it is from; what in it is synthetic, assumed or left out

    @property
    def readings(self) -> int:
        """Rows of telemetry.in, exact, bad ones too."""
        ...

    def count(self) -> int:
        """Readings and market rows together."""
        ...

    def entries(self) -> list[AnyEntry]:
        """What must be registered before the first event."""
        ...

    def events(self) -> Iterator[Event]:
        """Messages in order of timestamp_ms; every call gives the same bytes."""
        ...


def telemetry_event(site_id: str, rows: list[Row], received_ms: int) -> Event:
    """Readings of one site as a message: a JSON object, or NDJSON where there are several.

    Placed by site, so that a site's readings keep their order.
    """
    return _event(TELEMETRY_IN.name, _telemetry_partition(site_id), rows, received_ms)


def telemetry_bytes(
    site_id: str, value: bytes, received_ms: int, headers: Headers = _JSON_HEADERS
) -> Event:
    """Bytes as a device might send them, sound or not."""
    return Event(
        TELEMETRY_IN.name, _telemetry_partition(site_id), None, value, received_ms, headers
    )


def market_events(rows: list[Row], received_ms: int) -> Iterator[Event]:
    """Market rows of one domain, at most MESSAGE_ROWS a message."""
    if not rows:
        return
    partition = partition_of(rows[0]["domain"], MARKET_IN.partitions)
    for first in range(0, len(rows), MESSAGE_ROWS):
        yield _event(MARKET_IN.name, partition, rows[first : first + MESSAGE_ROWS], received_ms)


def in_event_time(*streams: Iterable[Event]) -> Iterator[Event]:
    """Ordered streams as one; at equal times an earlier stream comes first."""
    return heapq.merge(*streams, key=lambda event: event.timestamp_ms)


def _event(topic: str, partition: int, rows: list[Row], received_ms: int) -> Event:
    value = b"\n".join(map(orjson.dumps, rows))
    headers = _NDJSON_HEADERS if len(rows) > 1 else _JSON_HEADERS
    return Event(topic, partition, None, value, received_ms, headers, len(rows))


def _telemetry_partition(site_id: str) -> int:
    return partition_of(site_id, TELEMETRY_IN.partitions)
