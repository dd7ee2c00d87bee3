"""Downstream: the rows of a topic as the set they are, for any consumer of gridloom's outputs.

After a crash an agent sends some records again, and a worker that lost its partition may send old
ones late. A state that takes rows in through `Downstream` is the same with and without them.

    usage, total_mj = Downstream(USAGE), 0
    for record in consumer:
        for change in usage.take(decode(USAGE, record.value, header_map(record.headers))):
            total_mj += change.row["quantity"] - (change.before["quantity"] if change.before else 0)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from schemas import Topic

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """A row that is new (before is None) or that takes the place of `before`."""

    row: Row
    before: Row | None


class Downstream:
    """Of each key of a topic the row that counts.

    That is the row of the latest tick where the tick is no part of the key (placements, alerts),
    and of one tick that of the highest revision. Of two different rows of one rank, which no agent
    sends, the first stays. Counted, over the rows taken:

    consumed = accepted + duplicate + superseded + conflicting
    """

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.accepted = self.duplicate = self.superseded = self.conflicting = 0
        ranks = ("tick_ms", "revision")
        self._ranks = tuple(n for n in ranks if n in topic.by_name and n not in topic.key)
        self._rows: dict[tuple[Any, ...], Row] = {}

    def take(self, rows: pa.RecordBatch) -> list[Change]:
        """Take in one batch of the topic; returns what it changed, in order."""
        changes = []
        for row in rows.to_pylist():
            key = tuple(row[name] for name in self.topic.key)
            known = self._rows.get(key)
            if known is not None and not self._replaces(row, known):
                continue
            self._rows[key] = row
            self.accepted += 1
            changes.append(Change(row, known))
        return changes

    def _replaces(self, row: Row, known: Row) -> bool:
        if row == known:
            self.duplicate += 1
            return False
        new, old = ([of[name] for name in self._ranks] for of in (row, known))
        if new == old:
            self.conflicting += 1
            return False
        if new < old:
            self.superseded += 1
            return False
        return True

    def __len__(self) -> int:
        """Keys known."""
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        """The rows that count, in the order in which their keys came first."""
        return iter(self._rows.values())

    def forget(self, before_ms: int) -> int:
        """Drop the rows that hold from before `before_ms`; returns how many.

        Such a row would count as new if it came again: forget what is older than any agent may
        still send (48 h and the longest outage).
        """
        column = self.topic.time_column
        kept = {key: row for key, row in self._rows.items() if row[column] >= before_ms}
        dropped, self._rows = len(self._rows) - len(kept), kept
        return dropped
