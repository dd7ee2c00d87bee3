"""Dead letters: every row that was refused, with its reason and its original bytes."""

from schemas.topic import BINARY, INT32, INT64, SYMBOL, TEXT, Column, Topic

ORIGINAL_MAX_BYTES = 8 << 20  # of a dead letter: it must fit one record

DEAD_LETTER = Topic(
    "dead-letter",
    "Refused rows: reason, field, where they came from, and the bytes as received.",
    (
        Column("agent", SYMBOL, "who refused it"),
        Column("reason", SYMBOL, "reason code"),
        Column("field", SYMBOL, "the field at fault; empty for the whole message"),
        Column("message", TEXT, "what is wrong and what to do"),
        Column("source_topic", SYMBOL, "where it was read"),
        Column("source_partition", INT32, "where it was read"),
        Column("source_offset", INT64, "where it was read"),
        Column("source_row", INT32, "row within that message; -1 for the whole message"),
        Column("received_ms", INT64, "Kafka timestamp of the message, UTC", "ms"),
        Column("content_type", SYMBOL, "of the original bytes"),
        Column("event_source", SYMBOL, "CloudEvents source beside the bytes", required=False),
        Column("original", BINARY, "the row's bytes as received, or the row as JSON"),
    ),
    key=("source_topic", "source_partition", "source_offset", "source_row", "agent"),
    partitions=2,
    written_by=("ingest", "agents"),
    read_by=("dlq",),
)

# reason code -> what it means; the only place where a reason is named.
REASONS: dict[str, str] = {
    "not_json": "the bytes are not a JSON object",
    "not_arrow": "the bytes are not an Arrow batch of the topic's columns",
    "unsupported": "content type or version that is not accepted (pickle is never read)",
    "missing_field": "a required field is absent or null",
    "wrong_type": "a field has another type than its column",
    "unknown_value": "a field has a value outside its list, or one that is reserved",
    "unit_unknown": "the unit is not known, or not of the register's dimension",
    "not_finite": "NaN or infinite",
    "negative": "below zero where that has no meaning",
    "overflow": "does not fit 64 bits in base units, or is too long a text",
    "interval_reversed": "the interval ends at or before its start",
    "too_old": "ends longer before its receipt than the meter class allows",
    "too_far_ahead": "ends later after its receipt than the meter class allows",
    "unknown_meter": "no registered meter is valid at that time",
    "unknown_domain": "no registered scheduling domain has that name",
    "conflict": "the same reading id came before with other bytes",
    "out_of_order_register": "a register reading that contradicts its neighbours",
    "late_revision": "arrived after its slot was closed",
    "no_tariff": "no account or tariff is registered for that time",
    "bad_input": "a kernel refused the row",
    "step_failed": "the agent's step raised on this batch",
}


def cut_original(message: str, original: bytes) -> tuple[str, bytes]:
    """Message and original bytes of a dead letter; bytes too large for a record are cut, and the
    message says so."""
    size = len(original)
    if size > ORIGINAL_MAX_BYTES:
        message += f". The first {ORIGINAL_MAX_BYTES} of {size} bytes; the source has them all"
    return message, original[:ORIGINAL_MAX_BYTES]
