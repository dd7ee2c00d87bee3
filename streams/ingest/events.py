"""From a message as received to its events: JSON, NDJSON, CloudEvents (both modes) or Arrow."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from schemas import DecodeError, FieldError, Topic
from schemas.codec import ARROW, CLOUDEVENT, JSON, NDJSON, decode, refuse_pickle
from schemas.jsonform import to_json, to_rows

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


def refusal(event: Event, error: FieldError) -> Refusal:
    return Refusal(event.row, error.reason, error.field, str(error), event.original)


def events_of(
    topic: Topic, value: bytes | None, headers: Mapping[str, str]
) -> tuple[list[Event], list[Refusal]]:
    """Events of one message in order, and those that cannot even be read."""
    content_type = headers.get("content-type", "")
    if value is None:
        return [], [Refusal(-1, "not_json", "", "empty message. send a JSON object", b"")]
    try:
        refuse_pickle(value, headers)
    except DecodeError as error:
        return [], [Refusal(-1, "unsupported", "", str(error), value, content_type)]
    if content_type == ARROW or (not content_type and value[:4] == _ARROW_MAGIC):
        return _arrow(topic, value, headers)
    if content_type.lower().startswith(CLOUDEVENT):
        return _structured(value, content_type)
    if content_type and not content_type.startswith((JSON, NDJSON, "text/plain")):
        message = (
            f"content type {content_type!r}. send {JSON}, {NDJSON}, {CLOUDEVENT}+json or Arrow"
        )
        return [], [Refusal(-1, "unsupported", "content-type", message, value, content_type)]
    return _json(value, headers.get("ce_source", ""), content_type)


def _json(value: bytes, source: str, content_type: str) -> tuple[list[Event], list[Refusal]]:
    if not content_type.startswith(NDJSON):
        try:
            return [Event(0, _object(orjson.loads(value)), value, source)], []
        except (orjson.JSONDecodeError, FieldError):
            if b"\n" not in value.strip():
                return [], [_not_json(0, value)]
    events: list[Event] = []
    refused: list[Refusal] = []
    lines = [line for line in value.split(b"\n") if line.strip()]
    for row, line in enumerate(lines):
        try:
            events.append(Event(row, _object(orjson.loads(line)), line, source))
        except (orjson.JSONDecodeError, FieldError):
            refused.append(_not_json(row, line))
    if not lines:
        refused.append(_not_json(0, value))
    return events, refused


def _object(parsed: Any) -> dict[str, Any]:
    if not isinstance(parsed, dict):
        raise FieldError("not_json", "", f"a JSON {type(parsed).__name__} is not an object")
    return parsed


def _not_json(row: int, value: bytes) -> Refusal:
    """Why it could not be read; NaN and Infinity, which JSON does not have, are named."""
    found: list[str] = []
    try:
        parsed = json.loads(value, parse_constant=found.append)
    except (ValueError, RecursionError) as error:
        return Refusal(row, "not_json", "", f"not JSON: {error}. send a JSON object", value)
    if found and isinstance(parsed, dict):
        return Refusal(row, "not_finite", "", f"{found[0]} is not a number. leave it out", value)
    return Refusal(row, "not_json", "", "not a JSON object. send one object a line", value)


def _structured(value: bytes, content_type: str) -> tuple[list[Event], list[Refusal]]:
    try:
        envelope = _object(orjson.loads(value))
    except (orjson.JSONDecodeError, FieldError):
        return [], [_not_json(0, value)]
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
        return _json(decoded, envelope["source"], envelope.get("datacontenttype", ""))
    if not isinstance(data, dict):
        message = "CloudEvent whose data is not a JSON object. send one event's fields as data"
        return [], [Refusal(0, "missing_field", "data", message, value, content_type)]
    return [Event(0, data, value, envelope["source"])], []


def _arrow(
    topic: Topic, value: bytes, headers: Mapping[str, str]
) -> tuple[list[Event], list[Refusal]]:
    # A device's ce_type is its own; only the columns decide.
    own = {name: text for name, text in headers.items() if name != "ce_type"}
    try:
        rows = to_rows(decode(topic, value, own))
    except DecodeError as error:
        return [], [Refusal(-1, "not_arrow", "", str(error), value, ARROW)]
    source = headers.get("ce_source", "")
    return [Event(i, row, to_json(row), source) for i, row in enumerate(rows)], []
