"""Packs admitted rows into Arrow batches, one open batch a target partition."""

import time
from dataclasses import dataclass, field
from typing import Any

from schemas import Topic
from schemas.codec import ARROW, REGISTRY_OFFSET, encode, event_headers
from streams.emit import Record
from streams.fit import RECORD_MAX_BYTES as _RECORD_MAX_BYTES

_PLACE = ("source_topic", "source_partition", "source_offset", "source_row")


@dataclass(slots=True)
class _Open:
    rows: list[dict[str, Any]] = field(default_factory=list)
    since_s: float = 0.0
    registry_offset: int = -1
    headers: dict[str, str] = field(default_factory=dict)


class Packer:
    """Open batches by (topic, partition); closed by rows, by age, or by a newer registry."""

    def __init__(self, rows_max: int, age_max_s: float) -> None:
        self._rows_max, self._age_max_s = rows_max, age_max_s
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
        """Take a row in; returns the batch that this closed, if any."""
        self._topics[topic.name] = topic
        batch = self._open.setdefault((topic.name, partition), _Open())
        closed = []
        if batch.rows and batch.registry_offset != registry_offset:
            closed = self._close(topic.name, partition)
            batch = self._open.setdefault((topic.name, partition), _Open())
        if not batch.rows:
            batch.since_s, batch.registry_offset = time.monotonic(), registry_offset
        batch.rows.append(row)
        batch.headers |= headers or {}
        if len(batch.rows) >= self._rows_max:
            closed += self._close(topic.name, partition)
        return closed

    def close_aged(self) -> list[Record]:
        """Batches that are open for too long, so that light traffic is quick."""
        before = time.monotonic() - self._age_max_s
        aged = [key for key, batch in self._open.items() if batch.since_s <= before]
        return [record for key in aged for record in self._close(*key)]

    def close_all(self) -> list[Record]:
        return [record for key in list(self._open) for record in self._close(*key)]

    def _close(self, name: str, partition: int) -> list[Record]:
        batch, topic = self._open.pop((name, partition)), self._topics[name]
        return self._records(topic, partition, batch, batch.rows)

    def _records(
        self, topic: Topic, partition: int, batch: _Open, rows: list[dict[str, Any]]
    ) -> list[Record]:
        """One record, or halves of its rows where it would be larger than Kafka takes."""
        value = encode(topic, topic.rows(rows))
        if len(value) > _RECORD_MAX_BYTES and len(rows) > 1:
            half = len(rows) // 2
            return [
                record
                for part in (rows[:half], rows[half:])
                for record in self._records(topic, partition, batch, part)
            ]
        # a row of each input topic may have the same place: a dead letter's names its topic too
        place = "/".join(str(rows[0][name]) for name in _PLACE if name in rows[0])
        event_id = f"ingest/{topic.name}/{partition}/{place}"
        headers = event_headers(topic.event_type, event_id, "/gridloom/ingest", ARROW)
        headers.append((REGISTRY_OFFSET, str(batch.registry_offset).encode()))
        headers += [(header, text.encode()) for header, text in batch.headers.items()]
        return [Record(topic.name, partition, None, value, headers)]
