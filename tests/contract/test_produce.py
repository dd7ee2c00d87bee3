"""What streams/produce.py relies on in aiokafka: fails when it changes. And: the bytes of a batch,
and of a request, are aiokafka's own."""

import asyncio
import inspect
import struct

import pytest
import uvloop
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError, RequestTimedOutError
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator, MessageBatch
from aiokafka.producer.sender import Sender, SendProduceReqHandler
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest
from hypothesis import given
from hypothesis import strategies as st

from streams.produce import _Batch, _Tap, unjoined

SIZE = 4096
BYTES = st.none() | st.binary(max_size=300) | st.sampled_from([b"x" * 63, b"x" * 64, b"y" * 9000])
RECORDS = st.tuples(
    st.integers(0, 1 << 45),
    BYTES,
    BYTES,
    st.lists(st.tuples(st.text(max_size=8), BYTES), max_size=3),
)


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy])
def event_loop_policy(request):
    return request.param()


def test_what_a_batch_is_asked_for_and_how_a_request_is_sent_is_as_it_was():
    asked = inspect.getsource(MessageBatch)
    for name in ("append(", "record_count()", "closed()", "_set_producer_state(", "_build()"):
        assert f"self._builder.{name}" in asked
    assert "metadata.timestamp" in asked
    assert "metadata.offset" in asked
    assert "builder = self.create_builder()" in inspect.getsource(MessageAccumulator.add_message)
    assert "self._client = sender.client" in inspect.getsource(SendProduceReqHandler)
    assert "self.client = client" in inspect.getsource(Sender.__init__)
    sends = inspect.getsource(AIOKafkaConnection.send)
    assert "request.prepare(self._versions)" in sends
    assert "(correlation_id, request_struct, fut)," in sends
    assert "return wait_for(fut, self._request_timeout)" in sends
    by_client = inspect.getsource(AIOKafkaClient.send)
    assert "close(reason=CloseReason.CONNECTION_TIMEOUT)" in by_client
    assert "raise RequestTimedOutError()" in by_client


@given(st.lists(RECORDS, min_size=1, max_size=12), st.integers(-1, 1 << 40))
def test_a_batch_has_the_bytes_of_aiokafkas(records, producer_id):
    ours, theirs = _Batch(SIZE), BatchBuilder(SIZE, 0)
    for ms, key, value, headers in records:
        told = [
            batch.append(timestamp=ms, key=key, value=value, headers=headers)
            for batch in (ours, theirs)
        ]
        assert (told[0] is None) == (told[1] is None)
        if told[0] is not None:
            assert (told[0].offset, told[0].timestamp) == (told[1].offset, told[1].timestamp)
        assert ours.size() == theirs.size()
    for batch in (ours, theirs):
        batch._set_producer_state(producer_id, 3, 77)
    assert ours.record_count() == theirs.record_count()
    assert ours.closed() == theirs.closed()
    assert b"".join(ours._build()) == bytes(theirs._build())
    assert b"".join(ours._build()) == bytes(theirs._build())  # as it is sent again
    assert ours.closed()


class Broker:
    """Keeps what it is sent; answers the first request, and the others where it is told to."""

    def __init__(self, answers):
        self.answers, self.frames = answers, []

    async def serve(self, reader, writer):
        while True:
            try:
                size = int.from_bytes(await reader.readexactly(4))
                frame = await reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            if not self.frames:
                body = struct.pack(">hihhhhhh", 0, 2, 0, 0, 7, 3, 0, 5)
            else:
                body = struct.pack(">ii", 0, 0)
            self.frames.append(frame)
            if self.answers or len(self.frames) == 1:
                writer.write(struct.pack(">i", 4 + len(body)) + frame[4:8] + body)
        writer.close()


class Client:
    """A client of one node."""

    def __init__(self, connection):
        self._conns = {(0, ConnectionGroup.DEFAULT): connection}
        self.sent = []

    async def ready(self, _node_id):
        return True

    async def send(self, _node_id, request):
        self.sent.append(request)


async def connected(broker, **options):
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = AIOKafkaConnection("127.0.0.1", port, client_id="test", **options)
    await connection.connect()
    return server, connection


def produced(made):
    topics = [("one", [(0, made[0]), (3, made[1])]), ("two", [(1, made[2])])]
    return ProduceRequest(transactional_id=None, required_acks=-1, timeout=9, topics=topics)


def filled(batch, number):
    for place in range(number):
        value = bytes([place]) * 500_000
        batch.append(timestamp=place, key=b"key", value=value, headers=[("name", b"text")])
    return batch._build()


async def test_a_request_has_the_bytes_of_aiokafkas():
    frames = []
    for make, send in (
        (_Batch, lambda connection, request: _Tap(Client(connection)).send(0, request)),
        (lambda size: BatchBuilder(size, 0), AIOKafkaConnection.send),
    ):
        broker = Broker(answers=True)
        server, connection = await connected(broker)
        async with server:
            answer = await send(connection, produced([filled(make(1 << 23), n) for n in (1, 5, 9)]))
            assert answer.topics == []
            assert not connection._requests
            connection.close()
        frames.append(broker.frames[1:])
    assert len(frames[0][0]) > 7_500_000
    assert frames[0] == frames[1]


async def test_a_request_without_an_answer_ends_its_connection():
    server, connection = await connected(Broker(answers=False), request_timeout_ms=200)
    async with server:
        tapped = _Tap(Client(connection))
        with pytest.raises(RequestTimedOutError):
            await tapped.send(0, produced([filled(_Batch(1 << 20), 1) for _ in range(3)]))
        assert not connection.connected()
        with pytest.raises(KafkaConnectionError):
            await tapped.send(0, produced([filled(_Batch(1 << 20), 1) for _ in range(3)]))


async def test_other_requests_go_the_clients_own_way():
    client = Client(None)
    request = MetadataRequest([])
    await _Tap(client).send(0, request)
    assert client.sent == [request]


async def test_a_producer_of_transactions_or_compression_is_refused():
    for options in ({"transactional_id": "one"}, {"compression_type": "gzip"}):
        with pytest.raises(ValueError, match="pieces"):
            unjoined(AIOKafkaProducer(**options))
