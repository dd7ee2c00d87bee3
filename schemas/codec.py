"""The one codec: Arrow record batches to and from Kafka messages, in CloudEvents binary mode.

Value: an Arrow IPC stream of one batch whose schema names topic and version. Headers:
ce_specversion, ce_id, ce_source, ce_type, content-type, and gl_registry_offset where a batch was
made with the registry as of that offset. No clock: ce_id says where a batch came from, so the same
input gives the same bytes. Python objects are never unpickled.
"""

from collections.abc import Iterable, Mapping

import pyarrow as pa

from schemas.errors import DecodeError
from schemas.topic import Topic

ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"
NDJSON = "application/x-ndjson"
CLOUDEVENT = "application/cloudevents"
REGISTRY_OFFSET = "gl_registry_offset"

# One thread: a column of a batch is a few KB, and handing it to a pool costs more than lz4 does.
_WRITE = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
_READ = pa.ipc.IpcReadOptions(use_threads=False)
_END = b"\xff\xff\xff\xff\0\0\0\0"  # what every Arrow writer ends a stream with
_PICKLE_PROTOCOLS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))

Headers = list[tuple[str, bytes]]


def header_map(
    headers: Iterable[tuple[str, bytes | None]] | Mapping[str, bytes] | None,
) -> dict[str, str]:
    """Kafka headers as text by lower-case name; a header that is not UTF-8 is left out."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    known = {}
    for name, value in pairs:
        try:
            known[name.lower()] = value.decode() if value is not None else ""
        except UnicodeDecodeError:
            continue
    return known


def event_headers(event_type: str, event_id: str, source: str, content_type: str) -> Headers:
    """CloudEvents 1.0 headers of a Kafka message in binary mode."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", event_type.encode()),
        ("content-type", content_type.encode()),
    ]


def encode(topic: Topic, batch: pa.RecordBatch) -> bytes:
    """A batch of the topic's columns as an Arrow IPC stream; kernels.ipc writes many at once."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, topic.schema, options=_WRITE) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def refuse_pickle(value: bytes, headers: Mapping[str, str]) -> None:
    """Raises DecodeError where bytes are or claim to be a Python pickle."""
    if "pickle" in headers.get("content-type", "") or value[:2] in _PICKLE_PROTOCOLS:
        raise DecodeError("pickled Python objects are never read", "send JSON or Arrow")


def check_headers(topic: Topic, headers: Mapping[str, str]) -> None:
    """Raises DecodeError where headers name another content type, or another topic or version."""
    content_type = headers.get("content-type", ARROW)
    if content_type != ARROW:
        raise DecodeError(f"{topic.name}: content type {content_type!r}", f"send {ARROW}")
    event_type = headers.get("ce_type", topic.event_type)
    if event_type != topic.event_type:
        raise DecodeError(
            f"{topic.name}: event type {event_type!r} is not {topic.event_type!r}",
            "upgrade the older side, or replay with its version",
        )


def decode(topic: Topic, value: bytes | None, headers: Mapping[str, str]) -> pa.RecordBatch:
    """The rows of a message of `topic` as one batch; headers as header_map gives them.

    A column that a row need not have may be absent, as it is in batches older than the column:
    null in every row. Raises DecodeError: empty value, pickle, other content type, other topic or
    version, other columns, bytes that are not Arrow, or a stream that was cut off (between two of
    its parts it would read as fewer rows).
    """
    if value is None:
        raise DecodeError(f"{topic.name}: empty message", "a batch topic has no tombstones")
    refuse_pickle(value, headers)
    check_headers(topic, headers)
    try:
        with pa.ipc.open_stream(pa.py_buffer(value), options=_READ) as reader:
            _check_schema(topic, reader.schema)
            batches = [batch for batch in reader if batch.num_rows]
        if not value.endswith(_END):
            raise DecodeError(f"{topic.name}: Arrow stream without its end", "send it whole")
        if not batches:
            return topic.empty
        for batch in batches:
            batch.validate(full=True)
        batch = batches[0]
        if len(batches) > 1:
            batch = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:
        raise DecodeError(f"{topic.name}: not a readable Arrow batch: {error}") from None
    return _whole(topic, batch)


def _whole(topic: Topic, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with nulls for columns that it was made without."""
    if len(batch.schema) == len(topic.schema):
        return batch
    given = set(batch.schema.names)
    columns = [
        batch.column(field.name) if field.name in given else pa.nulls(len(batch), field.type)
        for field in topic.schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=topic.schema)


def _check_schema(topic: Topic, schema: pa.Schema) -> None:
    metadata = schema.metadata or {}
    version = metadata.get(b"gridloom.version", b"").decode()
    name = metadata.get(b"gridloom.topic", topic.name.encode()).decode()
    if name != topic.name or (version and version != str(topic.version)):
        raise DecodeError(
            f"{topic.name}: batch is {name} version {version or '?'}, expected {topic.version}",
            "upgrade the older side, or replay with its version",
        )
    if schema.equals(topic.schema):
        return
    given = set(schema.names)
    wanted = pa.schema([f for f in topic.schema if f.name in given or not f.nullable])
    if not schema.equals(wanted):
        theirs = {f.name: f.type for f in schema}
        ours = {f.name: f.type for f in wanted}
        differ = [n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n)]
        needed = ", ".join(field.name for field in topic.schema if not field.nullable)
        raise DecodeError(
            f"{topic.name}: columns differ: {', '.join(sorted(differ)) or 'order or nullability'}",
            f"send {', '.join(topic.schema.names)}, in this order; only {needed} are needed",
        )
