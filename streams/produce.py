"""Records sent from the memory they are in: no copy between a value and the socket.

    producer = unjoined(new_producer(settings))     before it is started; else as ever

aiokafka copies a value into its batch, the batch into a request and that into a longer one three
times more, and its own checksum is six times slower than the processor's. Here a batch is a list of
pieces (a record's head, its value, its headers), checked and written as it stands: the socket
gathers them. The bytes are those of aiokafka, whose batching, sequence numbers, retries and
time-outs all stay. No compression, no transactions: values are compressed already.

Private names of aiokafka 0.14 it relies on (tests/contract/test_produce.py fails when one goes):

    AIOKafkaProducer._message_accumulator.create_builder    makes each batch: ours instead
        ._sender.client                what a produce request is sent with: tapped
    BatchBuilder                       what MessageBatch asks of it is what _Batch has
    AIOKafkaClient._conns              the connection to a node
    AIOKafkaConnection._writer, ._versions, ._client_id, ._next_correlation_id, .close
        ._requests, ._request_timeout  as AIOKafkaConnection.send uses them
"""

import asyncio
import struct
import time
from collections.abc import Awaitable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.client import ConnectionGroup
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, RequestTimedOutError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.types import Array, Bytes, Int32, Schema
from aiokafka.util import wait_for
from crc32c import crc32c

from kernels.records.layout import ATTRIBUTES_AT, LOG_OVERHEAD, MAGIC, RECORDS_AT

_BEFORE_CRC, _BEHIND_CRC = struct.Struct(">qiib"), struct.Struct(">hiqqqhii")
_ATTRIBUTES = 0
_NO_EPOCH = -1
_NULL = b"\x01"  # the size -1
_HEADERS = 1024  # as they are encoded, kept: most are the same in every record

Header = tuple[str, bytes | None]


def unjoined(producer: AIOKafkaProducer) -> AIOKafkaProducer:
    """The producer, from now on sending the pieces as they are.

    ValueError for a producer of transactions, or one that compresses.
    """
    accumulator, manager = producer._message_accumulator, producer._txn_manager
    if accumulator._compression_type or (manager and manager.transactional_id is not None):
        raise ValueError("pieces are sent as they are: no compression, no transactions")
    size = accumulator._batch_size
    accumulator.create_builder = lambda *_, **__: _Batch(size)
    producer._sender.client = _Tap(producer._sender.client)
    return producer


class _Place(NamedTuple):
    """What the producer's answer is made of, as aiokafka's metadata of a record."""

    offset: int
    timestamp: int


class _Batch:
    """aiokafka's BatchBuilder, keeping what it is given as it is."""

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._pieces: list[bytes] = [b"", b""]  # what stands before the records comes at the end
        self._size = RECORDS_AT
        self._count = 0
        self._first_ms = self._max_ms = 0
        self._producer = -1, -1, 0
        self._built: list[bytes] | None = None
        self._closed = False

    def append(
        self,
        *,
        timestamp: int | None,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[Header] = (),
    ) -> _Place | None:
        """Take a record in; None where the batch is closed or would be larger than it may be."""
        if self._closed:
            return None
        ms = int(time.time() * 1000) if timestamp is None else timestamp
        first_ms = self._first_ms if self._count else ms
        head = b"\0" + _varint(ms - first_ms) + _varint(self._count) + _sized(key)
        head += _NULL if value is None else _varint(len(value))
        tail = _varint(len(headers)) + b"".join([_header(*header) for header in headers])
        body = len(head) + len(value or b"") + len(tail)
        head = _varint(body) + head
        size = len(head) + len(value or b"") + len(tail)
        if self._count and self._size + size > self._size_max:
            self.close()
            return None
        self._first_ms, self._max_ms = first_ms, max(ms, self._max_ms if self._count else ms)
        self._pieces += (head, value, tail) if value else (head, tail)
        self._size += size
        self._count += 1
        return _Place(self._count - 1, ms)

    def close(self) -> None:
        self._closed = True

    def closed(self) -> bool:
        return self._closed

    def size(self) -> int:
        return self._size

    def record_count(self) -> int:
        return self._count

    def _set_producer_state(self, producer_id: int, epoch: int, sequence: int) -> None:
        self._producer = producer_id, epoch, sequence

    def _build(self) -> list[bytes]:
        """The batch; once built it stays as it is, and is sent again as it was."""
        self.close()
        if self._built is None:
            times = self._first_ms, self._max_ms
            behind = _BEHIND_CRC.pack(
                _ATTRIBUTES, max(0, self._count - 1), *times, *self._producer, self._count
            )
            crc = crc32c(behind)
            for piece in self._pieces:
                crc = crc32c(piece, crc)
            before = _BEFORE_CRC.pack(0, self._size - LOG_OVERHEAD, _NO_EPOCH, MAGIC)
            assert len(before) + 4 == ATTRIBUTES_AT
            self._pieces[:2] = before + crc.to_bytes(4), behind
            self._built = self._pieces
        return self._built


class _Tap:
    """aiokafka's client, which writes a produce request in pieces."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def send(self, node_id: Any, request: Any, **options: Any) -> Any:
        client = self._client
        if not isinstance(request, ProduceRequest) or not await client.ready(node_id):
            return await client.send(node_id, request, **options)
        connection = client._conns[node_id, ConnectionGroup.DEFAULT]
        try:
            return await _send(connection, request)
        except TimeoutError as error:
            connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
            raise RequestTimedOutError from error


def _send(connection: AIOKafkaConnection, request: ProduceRequest) -> Awaitable[Any]:
    """AIOKafkaConnection.send; the answer."""
    if connection._writer is None:
        raise KafkaConnectionError(f"no connection to {connection.host}:{connection.port}")
    made = request.prepare(connection._versions)
    correlation_id = connection._next_correlation_id()
    header = made.build_request_header(correlation_id, connection._client_id).encode()
    pieces = [header, *_encoded(made.SCHEMA, [made.get_item(name) for name in made.SCHEMA.names])]
    try:
        connection._writer.writelines([Int32.encode(sum(map(len, pieces))), *pieces])
    except OSError as error:
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"{connection.host}:{connection.port} broken") from error
    future = asyncio.get_running_loop().create_future()
    connection._requests.append((correlation_id, made, future))
    answer: Awaitable[Any] = wait_for(future, connection._request_timeout)
    return answer


def _encoded(kind: Any, value: Any) -> Iterator[bytes]:
    """What kind.encode(value) is joined of; bytes may be a list of them."""
    if isinstance(kind, Schema):
        for field, part in zip(kind.fields, value, strict=True):
            yield from _encoded(field, part)
    elif isinstance(kind, Array) and value is not None:
        yield Int32.encode(len(value))
        for part in value:
            yield from _encoded(kind.array_of, part)
    elif kind is Bytes and isinstance(value, list):
        yield Int32.encode(sum(map(len, value)))
        yield from value
    else:
        yield kind.encode(value)


def _varint(number: int) -> bytes:
    """Zigzag, 7 bits a byte, lowest first."""
    left = number << 1 ^ number >> 63
    made = bytearray()
    while left > 0x7F:
        made.append(left & 0x7F | 0x80)
        left >>= 7
    made.append(left)
    return bytes(made)


def _sized(text: bytes | None) -> bytes:
    return _NULL if text is None else _varint(len(text)) + text


@lru_cache(_HEADERS)
def _header(name: str, value: bytes | None) -> bytes:
    return _sized(name.encode()) + _sized(value)
