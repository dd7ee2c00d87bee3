"""Answers of a broker read straight into the memory in which they are parsed: no copy on the way.

aiokafka reads through asyncio's StreamReader: what came in pieces of 64 to 256 KB is added to a
growing buffer, cut out of it, and copied once more where an answer is taken apart; four copies of
every fetched byte, and a wake-up a piece. Here the size of an answer is read first, then the socket
writes into memory of that size, and the record bytes of a fetch are views of it. The memory of a
large answer is used again when nothing views it any more: fresh pages cost more than the copy.

Everything else stays aiokafka's: requests, correlation, time-outs, the end of a connection. Private
names it relies on (tests/contract/test_fetch.py fails when one goes):

    AIOKafkaClient._conns              the connection that a fetch goes over
    AIOKafkaConnection._protocol, ._writer     the stock protocol, and the transport under it
        ._requests                     (correlation id, request, future), oldest first
        ._handle_frame                 an answer that is no fetch's: as ever
        ._last_action                  when it was last heard of
"""

import asyncio
import time
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.fetch import FetchRequestStruct

_SIZE_BYTES = 4
_BLOCK_BYTES = 4 << 20  # a smaller answer has memory of its own, a larger one multiples of this
_SPARE = 2  # blocks that are kept: one answer is worked on while the next comes
_VIEW_MIN_BYTES = 4096  # a shorter field of an answer is copied: a name, an integer


def adopt(connection: AIOKafkaConnection) -> None:
    """Read a connection's answers this way from now on; nothing where one is under way."""
    if connection.connected() and not connection._requests:
        transport = connection._writer.transport
        if not isinstance(transport.get_protocol(), _Frames):
            transport.set_protocol(_Frames(connection))


class _Frames(asyncio.BufferedProtocol):
    """A size of 4 bytes, an answer of that size, and so on."""

    def __init__(self, connection: AIOKafkaConnection) -> None:
        self._connection = weakref.ref(connection)  # aiokafka closes one that nobody holds
        self._stock = connection._protocol
        self._size = memoryview(bytearray(_SIZE_BYTES))
        self._blocks = _Blocks()
        self._begin(self._size)

    def _begin(self, wanted: memoryview) -> None:
        self._wanted, self._at = wanted, 0

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._wanted[self._at :]

    def buffer_updated(self, nbytes: int) -> None:
        self._at += nbytes
        if self._at < len(self._wanted):
            return
        if self._wanted is self._size:
            size = int.from_bytes(self._size, "big", signed=True)
            self._begin(self._blocks.bytes(size))  # raises where it is negative
        else:
            answer = self._wanted
            self._begin(self._size)
            connection = self._connection()
            if connection is not None:
                _handle(connection, answer)

    def eof_received(self) -> bool | None:
        ended: bool | None = self._stock.eof_received()
        return ended

    def connection_lost(self, exc: Exception | None) -> None:
        self._stock.connection_lost(exc)

    def pause_writing(self) -> None:
        self._stock.pause_writing()

    def resume_writing(self) -> None:
        self._stock.resume_writing()


class _Blocks:
    """Memory for answers; what an answer leaves is given to a later one."""

    def __init__(self) -> None:
        self._spare: list[npt.NDArray[np.uint8]] = []

    def bytes(self, size: int) -> memoryview:
        """Room for so many bytes, until the last view of it is gone."""
        if size < _BLOCK_BYTES:
            return np.empty(size, np.uint8).data
        fitting = [number for number, block in enumerate(self._spare) if len(block) >= size]
        if fitting:
            block = self._spare.pop(fitting[0])
        else:
            self._spare.clear()  # too small for what comes now
            block = np.empty(-(-size // _BLOCK_BYTES) * _BLOCK_BYTES, np.uint8)
        answer = block[:size]
        weakref.finalize(answer, self._take_back, block).atexit = False
        return answer.data

    def _take_back(self, block: npt.NDArray[np.uint8]) -> None:
        if len(self._spare) < _SPARE:
            self._spare.append(block)


def _handle(connection: AIOKafkaConnection, answer: memoryview) -> None:
    """Give an answer to who waits for it; a fetch's record bytes are views of it."""
    correlation_id, request, waiting = connection._requests[0]
    if isinstance(request, FetchRequestStruct) and not waiting.done():
        fields = _Fields(answer)
        if request.parse_response_header(fields).correlation_id == correlation_id:
            waiting.set_result(request.RESPONSE_TYPE.decode(fields))
            connection._last_action = time.monotonic()
            connection._requests.popleft()
            return
    connection._handle_frame(bytes(answer))


class _Fields:
    """What aiokafka's decoding reads an answer from; long fields are views."""

    def __init__(self, answer: memoryview) -> None:
        self._answer, self._at = answer, 0

    def read(self, size: int) -> Any:
        field = self._answer[self._at : self._at + size]
        self._at += len(field)
        return field if size >= _VIEW_MIN_BYTES else bytes(field)
