"""Any message of any topic as rows: Arrow batches, JSON, NDJSON, CloudEvents, registry entries."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
import pyarrow as pa

from schemas import TOPICS, DecodeError
from schemas.codec import ARROW, decode, header_map, refuse_pickle
from schemas.delivery import OUT_PREFIX
from schemas.errors import ConfigError
from schemas.jsonform import to_rows
from streams.client import read_all
from streams.ingest.events import events_of
from streams.settings import Settings

Row = dict[str, Any]

REFUSED = "refused"  # column that a line which is no event shows instead of its fields


def check_name(name: str) -> None:
    """Raises ConfigError unless `name` is a topic of the catalogue or a contract's."""
    if name not in TOPICS and not name.startswith(OUT_PREFIX):
        raise ConfigError(
            f"no topic {name!r}", f"choose from {', '.join(TOPICS)} or {OUT_PREFIX}<contract>"
        )


def rows_of(name: str, value: bytes | None, headers: Mapping[str, str]) -> list[Row]:
    """The rows of one message of topic `name` (without namespace); headers as header_map gives.

    A row of an input topic that ingest could not read shows its reason in `refused`. A deleted
    registry entry has no rows. Raises DecodeError where a batch cannot be read.
    """
    topic = TOPICS.get(name)
    if topic is None:
        return _delivered(name, value, headers)
    if topic.form == "arrow":
        return to_rows(decode(topic, value, headers))
    if topic.compacted:
        return [_object(name, value)] if value is not None else []
    events, refusals = events_of(topic, value, headers)
    rows = [(event.row, event.fields) for event in events]
    rows += [(r.row, {REFUSED: r.reason, "message": r.message}) for r in refusals]
    return [fields for _, fields in sorted(rows, key=lambda row: row[0])]


def _delivered(name: str, value: bytes | None, headers: Mapping[str, str]) -> list[Row]:
    if value is None:
        return []
    refuse_pickle(value, headers)
    if headers.get("content-type") != ARROW:
        return [_object(name, value)]
    try:
        with pa.ipc.open_stream(pa.py_buffer(value)) as reader:
            batches = list(reader)
        for batch in batches:
            batch.validate(full=True)
        return [row for batch in batches for row in to_rows(batch)]
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:
        raise DecodeError(f"{name}: not a readable Arrow batch: {error}") from None


def _object(name: str, value: bytes | None) -> Row:
    try:
        row = orjson.loads(value or b"")
    except orjson.JSONDecodeError as error:
        raise DecodeError(f"{name}: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise DecodeError(f"{name}: a JSON {type(row).__name__} is not an object")
    return row


async def read_rows(settings: Settings, name: str) -> AsyncIterator[Row]:
    """Every row of a topic (name without namespace) from its beginning to its end as of now."""
    async for record in read_all(settings, settings.topic(name)):
        for row in rows_of(name, record.value, header_map(record.headers)):
            yield row
