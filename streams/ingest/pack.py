"""Packs admitted rows into Arrow batches, one open batch a target partition."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from schemas import READINGS, Topic
from schemas.codec import ARROW, REGISTRY_OFFSET, event_headers
from streams.emit import Record
from streams.fit import RECORD_MAX_BYTES as _RECORD_MAX_BYTES
from streams.ingest.readings import READING, ReadingRows, Rows
from streams.value import only_value

_PLACE = ("source_topic", "source_partition", "source_offset", "source_row")
_NUMBER_BYTES = 8
_NO_BOUND = 1 << 62


@dataclass(slots=True)
class _Open:
    """Rows of one batch: dicts; of READINGS arrays of lines of READING."""

    rows: list[Any] = field(default_factory=list)
    size: int = 0
    bytes: int = 0
    since_s: float = 0.0
    registry_offset: int = -1
    headers: dict[str, str] = field(default_factory=dict)


class Packer:
    """Open batches by (topic, partition); closed by rows, by bytes, by age, or by a newer registry.

    readings: the texts that rows of READINGS are coded by; to be exchanged only when all is closed.
    """

    def __init__(self, rows_max: int, age_max_s: float, bytes_max: int = _NO_BOUND) -> None:
        self.readings = ReadingRows()
        self._rows_max, self._age_max_s, self._bytes_max = rows_max, age_max_s, bytes_max
        self._open: dict[tuple[str, int], _Open] = {}
        self._topics: dict[str, Topic] = {}

    def add(
        self,
        topic: Topic,
        partition: int,
        row: dict[str, Any],
        registry_offset: int = -1,
        headers: dict[str, str] | None = None,
    ) -> list[Record]:
        """Take a row in; returns the batches that this closed, if any."""
        if topic is READINGS:
            return self._add_readings(partition, self.readings.row(row), registry_offset, headers)
        batch, closed = self._batch(topic, partition, registry_offset)
        batch.rows.append(row)
        batch.headers |= headers or {}
        return closed + self._grown(topic, partition, batch, 1, _bytes_of(row))

    def add_readings(self, lines: Iterable[tuple[int, Rows]], registry_offset: int) -> list[Record]:
        """Take readings in, those of each partition; returns the batches that this closed."""
        return [
            record
            for partition, rows in lines
            for record in self._add_readings(partition, rows, registry_offset)
        ]

    def _add_readings(
        self,
        partition: int,
        rows: Rows,
        registry_offset: int,
        headers: dict[str, str] | None = None,
    ) -> list[Record]:
        closed = []
        while len(rows):
            batch, before = self._batch(READINGS, partition, registry_offset)
            fits = min(len(rows), self._rows_max - batch.size, self._left(batch))
            batch.rows.append(rows[:fits])
            batch.headers |= headers or {}
            size = fits * READING.itemsize
            closed += before + self._grown(READINGS, partition, batch, fits, size)
            rows = rows[fits:]
        return closed

    def _left(self, batch: _Open) -> int:
        """Readings until the batch is as large as it may be; an open one takes at least one."""
        return -((batch.bytes - self._bytes_max) // READING.itemsize)

    def _batch(
        self, topic: Topic, partition: int, registry_offset: int
    ) -> tuple[_Open, list[Record]]:
        """The open batch of a partition, and what a newer registry closed."""
        key = topic.name, partition
        self._topics[topic.name] = topic
        batch = self._open.setdefault(key, _Open())
        closed = []
        if batch.size and batch.registry_offset != registry_offset:
            closed = self._close(*key)
            batch = self._open.setdefault(key, _Open())
        if not batch.size:
            batch.since_s, batch.registry_offset = time.monotonic(), registry_offset
        return batch, closed

    def _grown(
        self, topic: Topic, partition: int, batch: _Open, rows: int, bytes_: int
    ) -> list[Record]:
        batch.size += rows
        batch.bytes += bytes_
        if batch.size >= self._rows_max or batch.bytes >= self._bytes_max:
            return self._close(topic.name, partition)
        return []

    @property
    def wait_ms(self) -> int:
        """How long nothing is to be closed by age."""
        now_s = time.monotonic()
        oldest_s = min((batch.since_s for batch in self._open.values()), default=now_s)
        return max(1, round((oldest_s + self._age_max_s - now_s) * 1000))

    def close_aged(self) -> list[Record]:
        """Batches that are open for too long, so that light traffic is quick."""
        before = time.monotonic() - self._age_max_s
        aged = [key for key, batch in self._open.items() if batch.since_s <= before]
        return [record for key in aged for record in self._close(*key)]

    def close_all(self) -> list[Record]:
        return [record for key in list(self._open) for record in self._close(*key)]

    def _close(self, name: str, partition: int) -> list[Record]:
        batch, topic = self._open.pop((name, partition)), self._topics[name]
        return self._records(topic, partition, batch, batch.rows, batch.size)

    def _records(
        self, topic: Topic, partition: int, batch: _Open, rows: list[Any], size: int
    ) -> list[Record]:
        """One record, or halves of its rows where it would be larger than Kafka takes."""
        is_readings = topic is READINGS
        value = self.readings.value(rows) if is_readings else only_value(topic, topic.rows(rows))
        if len(value) > _RECORD_MAX_BYTES and size > 1:
            half = size // 2
            halves = [rows[:half], rows[half:]]
            if is_readings:
                halves = [[part] for part in np.split(np.concatenate(rows), [half])]
            return [
                record
                for part, rows_of in zip(halves, (half, size - half), strict=True)
                for record in self._records(topic, partition, batch, part, rows_of)
            ]
        # a row of each input topic may have the same place: a dead letter's names its topic too
        first, names = (rows[0][0], READINGS.by_name) if is_readings else (rows[0], rows[0])
        place = "/".join(str(first[name]) for name in _PLACE if name in names)
        event_id = f"ingest/{topic.name}/{partition}/{place}"
        headers = event_headers(topic.event_type, event_id, "/gridloom/ingest", ARROW)
        headers.append((REGISTRY_OFFSET, str(batch.registry_offset).encode()))
        headers += [(header, text.encode()) for header, text in batch.headers.items()]
        return [Record(topic.name, partition, None, value, headers)]


def _bytes_of(row: dict[str, Any]) -> int:
    """About what a row takes: its texts and bytes, and its numbers."""
    return sum(
        len(field) if isinstance(field, str | bytes) else _NUMBER_BYTES for field in row.values()
    )
