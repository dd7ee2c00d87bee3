"""What streams/transport.py relies on in other people's code: fails when it changes."""

import ast
import inspect
from importlib.metadata import version

import faust
import pytest
from aiokafka import AIOKafkaConsumer
from faust.transport import consumer as base
from faust.transport.drivers import aiokafka as driver

from streams import transport
from streams.fetch import BatchConsumer
from streams.transport import ExactConsumer, ExactConsumerThread, ExactTransport

CONSUMER_PRIVATES = (
    "_getmany",
    "_get_active_partitions",
    "_to_message",
    "_is_changelog_tp",
    "_new_offset",
    "_new_consumer_thread",
)
CONSUMER_BOOKS = (
    "_active_partitions",
    "_read_offset",
    "_committed_offset",
    "_acked",
    "_acked_index",
)
THREAD_PRIVATES = (
    "_fetch_records",
    "_create_worker_consumer",
    "_create_client_consumer",
    "_ensure_consumer",
)


def test_the_versions_are_the_ones_that_were_proved() -> None:
    assert version("faust-streaming") == "0.15.3"
    assert version("mode-streaming") == "0.7.1"
    assert version("aiokafka").startswith("0.14.")


@pytest.mark.parametrize("name", CONSUMER_PRIVATES)
def test_a_private_method_it_calls_or_overrides_exists(name: str) -> None:
    assert callable(getattr(driver.Consumer, name))


@pytest.mark.parametrize("name", THREAD_PRIVATES)
def test_a_private_method_of_its_thread_exists(name: str) -> None:
    assert callable(getattr(driver.AIOKafkaConsumerThread, name))


@pytest.mark.parametrize("name", CONSUMER_BOOKS)
def test_a_book_it_reads_is_still_kept_by_the_consumer(name: str) -> None:
    source = inspect.getsource(base.Consumer)
    assert f"self.{name}" in source


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (driver.Consumer, "getmany"),
        (driver.Consumer, "seek"),
        (driver.Consumer, "seek_wait"),
        (driver.Consumer, "perform_seek"),
        (driver.Consumer, "stop_flow"),
        (driver.Consumer, "resume_flow"),
        (driver.Consumer, "on_partitions_revoked"),
        (driver.Consumer, "on_partitions_assigned"),
        (driver.Consumer, "_new_offset"),
        (driver.AIOKafkaConsumerThread, "_fetch_records"),
        (driver.AIOKafkaConsumerThread, "_create_worker_consumer"),
        (driver.AIOKafkaConsumerThread, "earliest_offsets"),
        (driver.AIOKafkaConsumerThread, "on_thread_stop"),
    ],
)
def test_an_override_has_the_arguments_of_what_it_overrides(owner: type, name: str) -> None:
    ours = ExactConsumer if owner is driver.Consumer else ExactConsumerThread
    assert name in vars(ours), f"{name} is no longer overridden"
    theirs = list(inspect.signature(getattr(owner, name)).parameters)
    assert list(inspect.signature(getattr(ours, name)).parameters) == theirs


def test_a_fetch_waits_as_long_as_the_consumer_says() -> None:
    source = inspect.getsource(AIOKafkaConsumer.start)
    assert "fetch_max_wait_ms=self._fetch_max_wait_ms" in source


def test_the_stock_consumer_can_be_made_one_of_whole_fetches_before_it_starts() -> None:
    assert {"__init__", "__slots__"}.isdisjoint(vars(BatchConsumer)), "it has a state of its own"
    assert BatchConsumer.__bases__ == (AIOKafkaConsumer,)
    source = inspect.getsource(driver.AIOKafkaConsumerThread._create_worker_consumer)
    assert "return aiokafka.AIOKafkaConsumer(" in source
    started = inspect.getsource(driver.AIOKafkaConsumerThread.on_start)
    assert started.index("self._create_consumer(") < started.index("self._consumer.start()")
    assert "max_records=_consumer._max_poll_records" in inspect.getsource(
        driver.AIOKafkaConsumerThread.getmany
    )
    assert faust.App("polls").conf.broker_max_poll_records is None  # an answer is one, not cut up


def test_the_drain_loop_still_treats_no_read_offset_as_deliver() -> None:
    source = inspect.getsource(base.Consumer._drain_messages)
    assert "if r_offset is None or offset >= r_offset" in source


def test_streams_are_resumed_by_seek_then_flow_as_the_books_expect() -> None:
    from faust.tables.recovery import Recovery

    source = inspect.getsource(Recovery._resume_streams)
    assert source.index("perform_seek") < source.index("consumer.resume_flow()")


def test_the_transport_makes_the_exact_consumer() -> None:
    assert ExactTransport.Consumer is ExactConsumer
    assert issubclass(ExactTransport, driver.Transport)


def test_every_private_name_it_touches_is_named_with_its_reason_and_checked_here() -> None:
    tree = ast.parse(inspect.getsource(transport))
    touched = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    touched |= {node.name for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)}
    touched |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    stock = {*dir(driver.Consumer), *dir(driver.AIOKafkaConsumerThread), *CONSUMER_BOOKS}
    private = {name for name in touched & stock if name[0] == "_" and name[:2] != "__"}

    assert private == {*CONSUMER_PRIVATES, *CONSUMER_BOOKS, *THREAD_PRIVATES}
    for name in private:
        assert name in (transport.__doc__ or ""), f"say why {name} is touched"


def test_an_acknowledgement_is_noted_in_the_index_that_a_commit_reads() -> None:
    source = inspect.getsource(base.Consumer.ack)
    assert "acked_index.add(offset)" in source
    assert "committed is None or offset >= committed" in source


def test_a_commit_still_asks_for_the_offset_that_is_decided_here() -> None:
    source = inspect.getsource(base.Consumer)
    assert source.count("self._new_offset(tp)") >= 1


def test_a_fetch_runs_on_the_thread_of_the_consumer() -> None:
    source = inspect.getsource(driver.AIOKafkaConsumerThread.getmany)
    assert source.index("self.call_thread(") < source.index("self._fetch_records,")
