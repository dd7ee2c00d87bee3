"""What streams/receive.py relies on in aiokafka and asyncio: fails when it changes. And: an
answer is the same however the socket cuts it, and its record bytes are not copied."""

import asyncio
import inspect
import struct

import numpy as np
import pytest
import uvloop
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.fetch import FetchRequest, FetchRequestStruct
from aiokafka.protocol.metadata import MetadataRequest

from streams import receive
from streams.receive import adopt

RECORDS = bytes(range(256)) * 40


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy])
def event_loop_policy(request):
    return request.param()


def test_a_connection_keeps_its_requests_and_handles_an_answer_as_it_did():
    source = inspect.getsource(AIOKafkaConnection)
    assert "(correlation_id, request_struct, fut)," in source
    assert "correlation_id, request, fut = self._requests[0]" in source
    assert "self._handle_frame(resp)" in source
    assert "self._requests.popleft()" in source
    assert "self._last_action = time.monotonic()" in source
    assert "self._reader, self._writer, self._protocol = reader, writer, protocol" in source
    assert "self._conns[(node_id, group)].send(" in inspect.getsource(AIOKafkaClient.send)


class Broker:
    """Answers each request with the bytes of `answers`, cut into pieces of `piece` bytes."""

    def __init__(self, piece):
        self.piece, self.answers = piece, []

    async def serve(self, reader, writer):
        while True:
            try:
                size = int.from_bytes(await reader.readexactly(4))
                request = await reader.readexactly(size)
            except asyncio.IncompleteReadError:
                break
            body = self.answers.pop(0)
            if body is None:  # half an answer, then it is gone
                writer.write(struct.pack(">i", 100) + b"half")
                break
            frame = struct.pack(">i", 4 + len(body)) + request[4:8] + body
            for at in range(0, len(frame), self.piece):
                writer.write(frame[at : at + self.piece])
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()


def versions(key, highest):
    """The answer to which requests are known."""
    return struct.pack(">hihhh", 0, 1, key, 0, highest)


def fetched(records):
    """A fetch answer of version 4 for one partition: name, error, high water, records."""
    partition = struct.pack(">ihqqi", 3, 0, 1000, 1000, 0) + struct.pack(">i", len(records))
    return struct.pack(">ii", 0, 1) + b"\0\x01t" + struct.pack(">i", 1) + partition + records


async def connected(broker):
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    connection = AIOKafkaConnection("127.0.0.1", server.sockets[0].getsockname()[1])
    broker.answers.append(versions(1, 4))
    await connection.connect()
    adopt(connection)
    return server, connection


def fetch():
    return FetchRequest(50, 1, 1 << 20, 0, [("t", [(3, 0, 1 << 20)])], rack_id="")


@pytest.mark.parametrize("piece", [1, 3, 4, 7, 4096, 1 << 20])
async def test_an_answer_is_the_same_however_it_is_cut(piece):
    broker = Broker(piece)
    server, connection = await connected(broker)
    adopt(connection)  # once more: nothing
    broker.answers += [fetched(RECORDS), fetched(b""), fetched(RECORDS[:5])]
    for expected in (RECORDS, b"", RECORDS[:5]):
        answer = await connection.send(fetch())
        ((topic, ((partition, error, highwater, *_, records),)),) = answer.topics
        assert (topic, partition, error, highwater) == ("t", 3, 0, 1000)
        assert bytes(records) == expected
    connection.close()
    server.close()


async def test_record_bytes_are_views_and_short_fields_are_none():
    broker = Broker(4096)
    server, connection = await connected(broker)
    broker.answers += [fetched(RECORDS)]
    answer = await connection.send(fetch())
    ((topic, ((*_, records),)),) = answer.topics
    assert type(records) is memoryview
    assert type(topic) is str
    connection.close()
    server.close()


async def test_an_answer_keeps_its_bytes_while_they_are_viewed_and_then_its_memory_is_used(
    monkeypatch,
):
    monkeypatch.setattr(receive, "_BLOCK_BYTES", 64)
    broker = Broker(4096)
    server, connection = await connected(broker)
    sent = [bytes([number]) * (5000 - number) for number in range(4)]
    broker.answers += [fetched(records) for records in sent]

    async def answered():
        ((_, ((*_, records),)),) = (await connection.send(fetch())).topics
        return np.frombuffer(records, np.uint8)

    first, second = await answered(), (await answered())[4900:]
    assert bytes(first) == sent[0]
    place = first.ctypes.data
    del first
    third, fourth = await answered(), await answered()
    assert third.ctypes.data == place
    assert [bytes(second), bytes(third), bytes(fourth)] == [sent[1][4900:], sent[2], sent[3]]
    connection.close()
    server.close()


async def test_other_answers_come_as_ever():
    broker = Broker(2)
    server, connection = await connected(broker)
    connection._versions[3] = (0, 0)
    broker.answers += [struct.pack(">ii", 0, 0)]  # no broker, no topic
    answer = await connection.send(MetadataRequest([]))
    assert (answer.brokers, answer.topics) == ([], [])
    connection.close()
    server.close()


async def test_a_connection_that_ends_within_an_answer_fails_who_waits_for_it():
    broker = Broker(1)
    server, connection = await connected(broker)
    broker.answers += [None]
    with pytest.raises(Exception, match="closed"):
        await connection.send(fetch())
    assert not connection.connected()
    server.close()


async def test_an_answer_to_another_request_ends_the_connection():
    broker = Broker(64)
    server, connection = await connected(broker)
    connection._correlation_id = 7
    broker.answers += [fetched(RECORDS)]
    waiting = asyncio.ensure_future(connection.send(fetch()))
    await asyncio.sleep(0)
    connection._requests[0] = (5, *connection._requests[0][1:])
    with pytest.raises(Exception, match="Correlation ids do not match"):
        await waiting
    assert not connection.connected()
    server.close()


async def test_a_connection_with_a_request_under_way_is_left_as_it_is():
    broker = Broker(64)
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    connection = AIOKafkaConnection("127.0.0.1", server.sockets[0].getsockname()[1])
    broker.answers += [versions(1, 4), fetched(RECORDS)]
    await connection.connect()
    waiting = asyncio.ensure_future(connection.send(fetch()))
    await asyncio.sleep(0)
    before = connection._writer.transport.get_protocol()
    adopt(connection)
    assert connection._writer.transport.get_protocol() is before
    ((_, ((*_, records),)),) = (await waiting).topics
    assert records == RECORDS
    connection.close()
    server.close()


def test_a_fetch_is_known_by_its_request():
    assert isinstance(fetch().prepare({1: (0, 11)}), FetchRequestStruct)
    assert not isinstance(MetadataRequest([]).prepare({3: (0, 0)}), FetchRequestStruct)
