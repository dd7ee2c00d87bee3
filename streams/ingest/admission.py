"""One message of an input topic to admitted rows and refusals. Pure.

consumed = accepted + dead-lettered: every event of a message is one or the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas import DEAD_LETTER, FieldError, Topic, partition_of
from schemas.deadletter import cut_original
from schemas.market import MARKET, TICK
from schemas.registry import Domain
from schemas.telemetry import READINGS, TELEMETRY_IN
from streams.counts import Counts
from streams.ingest import market, telemetry
from streams.ingest.events import Event, Refusal, events_of, line_event, refusal
from streams.ingest.fields import TEXT_MAX
from streams.registry import RegistryView

UNREGISTERED = ("unknown_meter", "unknown_domain")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a message was read, and when it was received in event time."""

    topic: Topic
    partition: int
    offset: int
    received_ms: int


@dataclass(frozen=True, slots=True)
class Row:
    """One row for a batch topic's partition; `domain` where it belongs to one."""

    topic: Topic
    partition: int
    fields: dict[str, Any]
    domain: Domain | None = None


@dataclass(slots=True)
class Admitted:
    """What one message came to."""

    rows: list[Row] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)

    @property
    def counts(self) -> Counts:
        accepted, dead = len(self.rows), len(self.refused)
        return Counts(accepted + dead, accepted, dead_lettered=dead)

    @property
    def unregistered(self) -> bool:
        """Whether a newer registry might admit more."""
        return any(r.reason in UNREGISTERED for r in self.refused)


def admit(
    source: Source, value: bytes | None, headers: Mapping[str, str], registry: RegistryView
) -> Admitted:
    """Admit one message of telemetry.in or market.in."""
    return _admit(source, *events_of(source.topic, value, headers), registry)


def admit_line(
    source: Source, line: bytes, row: int, event_source: str, registry: RegistryView
) -> Admitted:
    """Admit the row-th line of a message of NDJSON."""
    return _admit(source, *line_event(line, row, event_source), registry)


def _admit(
    source: Source, events: list[Event], unread: list[Refusal], registry: RegistryView
) -> Admitted:
    admitted = Admitted(refused=unread)
    to_row = _reading if source.topic is TELEMETRY_IN else _market_row
    for event in events:
        try:
            admitted.rows.append(to_row(event, source, registry))
        except FieldError as error:
            admitted.refused.append(refusal(event, error))
    return admitted


def _reading(event: Event, source: Source, registry: RegistryView) -> Row:
    fields = telemetry.admit(event, source.received_ms, registry)
    fields |= _coordinates(source, event.row, registry.offset)
    return Row(READINGS, partition_of(fields["site_id"], READINGS.partitions), fields)


def _market_row(event: Event, source: Source, registry: RegistryView) -> Row:
    domain, fields = market.admit(event, registry)
    fields |= _coordinates(source, event.row, registry.offset)
    return Row(MARKET, domain.partition, fields, domain)


def _coordinates(source: Source, row: int, registry_offset: int) -> dict[str, Any]:
    return {
        "source_partition": source.partition,
        "source_offset": source.offset,
        "source_row": row,
        "received_ms": source.received_ms,
        "registry_offset": registry_offset,
    }


def tick_row(domain: Domain, tick_ms: int, source: Source, registry_offset: int) -> Row:
    """The tick of a domain at tick_ms, for its horizon of steps."""
    fields = {
        "kind": TICK,
        "domain": domain.id,
        "id": str(tick_ms),
        "start_ms": tick_ms,
        "end_ms": tick_ms + domain.steps * domain.tick_ms,
        "duration_ms": domain.tick_ms,
        "source": "ingest",
    }
    return Row(MARKET, domain.partition, fields | _coordinates(source, -1, registry_offset), domain)


def dead_row(source: Source, refused: Refusal) -> Row:
    """The dead letter of one refused event; one too large for a record is cut and says so."""
    message, original = cut_original(refused.message, refused.original)
    fields = {
        "agent": "ingest",
        "reason": refused.reason,
        "field": refused.field,
        "message": message,
        "source_topic": source.topic.name,
        "source_partition": source.partition,
        "source_offset": source.offset,
        "source_row": refused.row,
        "received_ms": source.received_ms,
        "content_type": refused.content_type[:TEXT_MAX],
        "event_source": refused.source[: TEXT_MAX + 1] or None,  # one more than is admitted
        "original": original,
    }
    return Row(DEAD_LETTER, source.partition % DEAD_LETTER.partitions, fields)
