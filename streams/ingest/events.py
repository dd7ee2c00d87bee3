"""From a message as received to its events: JSON, NDJSON, CloudEvents (both modes) or Arrow."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from schemas import DecodeError, FieldError, Topic
from schemas.codec import ARROW, CLOUDEVENT, JSON, NDJSON, decode, refuse_pickle
from schemas.errors import shown
from schemas.jsonform import to_json, to_rows

_LINES = ("", JSON, NDJSON, "text/plain")
_STRUCTURED = (CLOUDEVENT, f"{CLOUDEVENT}+json")
_ARROW_MAGIC = b"\xff\xff\xff\xff"  # continuation marker at the start of an IPC stream


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a message: its fields, its bytes, and the CloudEvents source if there is one."""

    row: int
    fields: dict[str, Any]
    original: bytes
    source: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """One event that is not admitted; row -1 stands for the whole message."""

    row: int
    reason: str
    field: str
    message: str
    original: bytes
    content_type: str = JSON
    source: str = ""


def refusal(event: Event, error: FieldError) -> Refusal:
    return Refusal(
        event.row, error.reason, error.field, str(error), event.original, source=event.source
    )


def events_of(
    topic: Topic, value: bytes | None, headers: Mapping[str, str]
) -> tuple[list[Event], list[Refusal]]:
    """Events of one message in order, and those that cannot even be read."""
    content_type = headers.get("content-type", "")
    media = media_type(content_type)
    if value is None:
        return [], [Refusal(-1, "not_json", "", "empty message. send a JSON object", b"")]
    try:
        refuse_pickle(value, headers)
    except DecodeError as error:
        return [], [Refusal(-1, "unsupported", "", str(error), value, content_type)]
    if media == ARROW or (not media and value[:4] == _ARROW_MAGIC):
        return _arrow(topic, value, headers)
    if media in _STRUCTURED:
        return _structured(value, content_type)
    if media not in _LINES:
        message = (
            f"content type {shown(content_type)}. send {JSON}, {NDJSON}, {CLOUDEVENT}+json or Arrow"
        )
        return [], [Refusal(-1, "unsupported", "content-type", message, value, content_type)]
    return _json(value, headers.get("ce_source", ""), media)


def media_type(content_type: str) -> str:
    """Without parameters and in lower case: a media type's name has no case (RFC 9110)."""
    return content_type.partition(";")[0].strip().lower()


def _json(value: bytes, source: str, media: str) -> tuple[list[Event], list[Refusal]]:
    """One JSON document, or else an event a line; blank lines do not count."""
    if media != NDJSON:
        try:
            return [Event(0, _object(orjson.loads(value)), value, source)], []
        except FieldError as error:  # one document: its lines are no events of their own
            return [], [_not_json(0, value, error)]
        except orjson.JSONDecodeError as error:
            if b"\n" not in value.strip():
                return [], [_not_json(0, value, error)]
    events: list[Event] = []
    refused: list[Refusal] = []
    for row, line in enumerate([line for line in value.split(b"\n") if line.strip()] or [value]):
        try:
            events.append(Event(row, _object(orjson.loads(line)), line, source))
        except (orjson.JSONDecodeError, FieldError) as error:
            refused.append(_not_json(row, line, error))
    return events, refused


def line_event(line: bytes, row: int, source: str) -> tuple[list[Event], list[Refusal]]:
    """The event of one line of NDJSON, the row-th of its message."""
    events, refused = _json(line, source, NDJSON)
    return [replace(event, row=row) for event in events], [replace(r, row=row) for r in refused]


def _object(parsed: Any) -> dict[str, Any]:
    if not isinstance(parsed, dict):
        named = "null" if parsed is None else type(parsed).__name__
        raise FieldError("not_json", "", f"a JSON {named} is not an object", "send one event")
    return parsed


def _not_json(row: int, value: bytes, error: Exception) -> Refusal:
    """Why it could not be read; NaN and Infinity, which JSON does not have, are named."""
    if isinstance(error, FieldError):
        return Refusal(row, "not_json", "", str(error), value)
    found: list[str] = []
    try:
        parsed = json.loads(value, parse_constant=found.append)
    except (ValueError, RecursionError):
        parsed = None
    if found and isinstance(parsed, dict):
        return Refusal(row, "not_finite", "", f"{found[0]} is not a number. leave it out", value)
    return Refusal(row, "not_json", "", f"not JSON: {error}. send a JSON object in UTF-8", value)


def _structured(value: bytes, content_type: str) -> tuple[list[Event], list[Refusal]]:
    try:
        envelope = _object(orjson.loads(value))
    except (orjson.JSONDecodeError, FieldError) as error:
        return [], [_not_json(0, value, error)]
    for name in ("specversion", "id", "source", "type"):
        if not isinstance(envelope.get(name), str):
            message = f"CloudEvent without {name}. send specversion, id, source, type and data"
            return [], [Refusal(0, "missing_field", name, message, value, content_type)]
    data = envelope.get("data")
    if "data_base64" in envelope:
        try:
            decoded = base64.b64decode(envelope["data_base64"], validate=True)
        except (binascii.Error, TypeError, ValueError):
            message = "data_base64 is not base64. encode the data"
            return [], [Refusal(0, "wrong_type", "data_base64", message, value, content_type)]
        return _enveloped(decoded, envelope, value)
    if not isinstance(data, dict):
        message = "CloudEvent whose data is not a JSON object. send one event's fields as data"
        return [], [Refusal(0, "missing_field", "data", message, value, content_type)]
    return [Event(0, data, value, envelope["source"])], []


def _enveloped(
    decoded: bytes, envelope: dict[str, Any], value: bytes
) -> tuple[list[Event], list[Refusal]]:
    """The events of data_base64; where it is one, its original is the envelope as received."""
    media = envelope.get("datacontenttype")
    media = "" if media is None else media
    if not isinstance(media, str) or media_type(media) not in _LINES:
        message = f"datacontenttype {shown(media)} is not read. send {JSON} or {NDJSON}"
        return [], [Refusal(0, "unsupported", "datacontenttype", message, value)]
    events, refused = _json(decoded, envelope["source"], media_type(media))
    if len(events) + len(refused) > 1:
        return events, refused
    return (
        [replace(event, original=value) for event in events],
        [replace(refusal, original=value) for refusal in refused],
    )


def _arrow(
    topic: Topic, value: bytes, headers: Mapping[str, str]
) -> tuple[list[Event], list[Refusal]]:
    try:  # a device's ce_type is its own; only the columns decide
        rows = to_rows(decode(topic, value, {}))
    except DecodeError as error:
        return [], [Refusal(-1, "not_arrow", "", str(error), value, ARROW)]
    source = headers.get("ce_source", "")
    return [Event(i, row, to_json(row), source) for i, row in enumerate(rows)], []
