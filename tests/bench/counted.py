"""Runs one kernel on a fixed input, so that callgrind counts the instructions of its call alone.

    valgrind --tool=callgrind --collect-atstart=no --toggle-collect=PyNumber_InPlaceMatrixMultiply \
        python -m tests.bench.counted KERNEL

The kernel is called within `@=`: nothing else uses that, and its function is one of Python's public
ones, so a stripped interpreter has it too. What is counted is the whole call from Python: the
dispatcher, the compiled loops and what they need of numpy and pyarrow. Prints the items of a run.
"""

import sys
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple, Self

import numpy as np

from kernels import match, meter, rollup
from kernels.balance import balance, balance_sites
from kernels.decode import Decoder
from kernels.ipc import Reader
from kernels.records import parse
from schemas import READINGS
from schemas.codec import encode
from tests.bench.balance_problems import network
from tests.bench.decode import FIELDS
from tests.bench.instances import network as instance
from tests.bench.metered import BATCH_ROWS, Quarters
from tests.bench.readings import Input
from tests.bench.sites_models import model_sites
from tests.bench.windowed import SECONDS
from tests.property.test_records import written

Run = Callable[[], object]


class Kernel(NamedTuple):
    """items: what a run handles, in the unit that its instructions are counted by."""

    items: int
    unit: str
    prepare: Callable[[], Run]


class Counted:
    """`counted @= run` calls run."""

    def __imatmul__(self, run: Run) -> Self:
        run()
        return self


def _decode() -> Run:
    lines = b"\n".join(reading.event for reading in islice(Input(4_000).readings(), 4_000))
    head, tail = lines[: lines.index(b"\n") + 1], lines
    decoder = Decoder(FIELDS)
    decoder.decode(head)
    return lambda: decoder.decode(tail)


def _records() -> Run:
    events = [reading.event for reading in islice(Input(4_000).readings(), 4_000)]
    fetched = written([(1_760_400_000_000, b"k", event, []) for event in events], "none")
    parse(fetched, 0)
    return lambda: parse(fetched, 0)


def _ipc_read() -> Run:
    """Messages as ingest packs them, from racks whose texts come again."""
    reader = Reader(READINGS.schema)
    values = [encode(READINGS, SECONDS.batch(number, BATCH_ROWS)) for number in range(8)]
    reader.read(values[:1])
    return lambda: reader.read(values)


def _meter() -> Run:
    """The second quarter-hour of meters that are known by then."""
    input_, slots = Quarters(BATCH_ROWS, 50), meter.Slots()
    for number in range(2):
        slots.apply(input_.batch(number))
    batches = [input_.batch(2), input_.batch(3)]
    return lambda: [slots.apply(batch) for batch in batches]


def _rollup() -> Run:
    """The second quarter-hour of racks that are known by then."""
    input_, windows = Quarters(BATCH_ROWS, 50), rollup.Windows()
    for number in range(2):
        windows.apply(input_.batch(number), 0)
    batches = [input_.batch(2), input_.batch(3)]
    return lambda: [windows.apply(batch, 0) for batch in batches]


def _rollup_seconds() -> Run:
    """A window and a half of readings every second, of racks that are known by then."""
    windows = rollup.Windows(SECONDS.window_ms)
    for number in range(2):
        windows.apply(SECONDS.batch(number, BATCH_ROWS), 0)
    batches = [SECONDS.batch(number, BATCH_ROWS) for number in (2, 3)]
    return lambda: [windows.apply(batch, 0) for batch in batches]


def _sites() -> Run:
    sites = model_sites(np.random.default_rng(1), 16, 96, 0.25)
    balance_sites(sites.take([0]))
    return lambda: balance_sites(sites)


def _network() -> Run:
    small = network(np.random.default_rng(2), 2, 4)
    large = network(np.random.default_rng(1), 8, 24)
    balance(small)
    return lambda: balance(large)


def _match() -> Run:
    small, large = instance(20, 3), instance(500, 8)
    match.match(*small)
    return lambda: match.match(*large)


KERNELS = {
    "decode": Kernel(4_000, "event", _decode),
    "records": Kernel(4_000, "record", _records),
    "ipc-read": Kernel(8 * BATCH_ROWS, "row", _ipc_read),
    "meter": Kernel(2 * BATCH_ROWS, "row", _meter),
    "rollup": Kernel(2 * BATCH_ROWS, "row", _rollup),
    "rollup-seconds": Kernel(2 * BATCH_ROWS, "row", _rollup_seconds),
    "balance-sites": Kernel(16 * 96, "site step", _sites),
    "balance-network": Kernel(8 * 24, "region step", _network),
    "match": Kernel(500, "job", _match),
}


def main() -> None:
    run = KERNELS[sys.argv[1]].prepare()
    counted = Counted()
    counted @= run


if __name__ == "__main__":
    main()
