"""Decode: CPU ns an event from JSON lines to Arrow columns, beside four other readers.

Telemetry events of 150 bytes in buffers of 1,000, 10,000 and 100,000; one thread each; contestants
take turns, and each figure is the median of five. CPU time, so that others on the machine count
less.

Ours does more: every field of every row is checked as ingest does it, texts are dictionary-coded,
and the quantity becomes exact mJ. The peers are given the schema and stop at strings and floats.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from itertools import islice

import numpy as np
import orjson
import pyarrow as pa

from kernels.decode import Decoder, _core, fields_of, to_base_units
from schemas.errors import GridloomError
from schemas.telemetry import KINDS, QUALITIES, TELEMETRY_IN
from tests.bench.case import Case, say, suite
from tests.bench.readings import MJ_PER_QUANTUM, Input, Reading

_SIZES, _SIZES_QUICK = (1_000, 10_000, 100_000), (1_000, 10_000)
_ROUNDS = 5
_ROUND_S = 0.1  # of CPU: a contestant's turn is repeated until then
FIELDS = fields_of(TELEMETRY_IN, {"kind": KINDS, "quality": QUALITIES}, decimals=("quantity",))
_COLUMNS = ("meter_id", "register", "kind", "start_ms", "end_ms", "quantity", "unit")
_NOTE = (
    "ours: all fields checked, texts dictionary-coded, exact mJ; peers: schema given, strings and "
    "floats, nothing checked"
)

Run = Callable[[], object]


@suite("decode", "CPU ns an event from JSON to Arrow columns, beside polars, pyarrow and others")
def decode(quick: bool) -> Iterator[Case]:
    """Three sizes, the path without AVX2, events of three writers in turn, and memcpy."""
    for size in _SIZES_QUICK if quick else _SIZES:
        readings = list(islice(Input(size).readings(), size))
        lines = [reading.event for reading in readings]
        buffer = b"\n".join(lines) + b"\n"
        named = f"{size // 1000}k"
        runs = {"ours": _ours(None), "scalar": _ours(False), **_peers()}
        _check(_ours(None)(buffer), readings)
        _check(_ours(False)(buffer), readings)
        ns = _turns({name: partial(run, buffer) for name, run in runs.items()}, size)
        copy_ns = _turns({"memcpy": _memcpy(buffer)}, size)["memcpy"]
        peers = {name: ns[name] for name in runs if name not in ("ours", "scalar")}
        yield _case(f"lines-{named}", ns["ours"], peers, size)
        yield _case(f"lines-{named}-without-avx2", ns["scalar"], peers, size)
        yield Case(
            suite="decode",
            case=f"bytes-{named}",
            metric="throughput",
            value=len(buffer) / size / ns["ours"],
            unit="GB/s",
            peers={"memcpy": len(buffer) / size / copy_ns},
            n=size,
            note="memcpy of the same buffer is the bound of any reader, not a peer",
        )
    size = 10_000
    readings = list(islice(Input(size).readings(), size))
    yield _messages(readings, size)
    yield _mixed(readings, size)


def _case(case: str, ours: float, peers: dict[str, float], size: int, note: str = "") -> Case:
    return Case(
        suite="decode",
        case=case,
        metric="CPU time",
        value=ours,
        unit="ns/event",
        peers=peers,
        better="lower",
        n=size,
        note=note or _NOTE,
    )


def _messages(readings: list[Reading], size: int) -> Case:
    """An event a message, inside one buffer, as they come from Kafka; the peers join them first."""
    lines = [reading.event for reading in readings]
    buffer = b"".join(lines)
    sizes = np.array([len(line) for line in lines])
    starts = np.cumsum(sizes) - sizes
    peers = {name: lambda run=run: run(b"\n".join(lines)) for name, run in _peers().items()}
    ns = _turns({"ours": lambda: _columns(Decoder(FIELDS), buffer, starts, sizes), **peers}, size)
    return _case("messages-10k", ns.pop("ours"), ns, size)


def _mixed(readings: list[Reading], size: int) -> Case:
    """Three writers in turn: other orders of keys, blanks, an unknown key, a text quantity."""
    lines = []
    for number, reading in enumerate(readings):
        event = orjson.loads(reading.event)
        if number % 3 == 1:
            event = dict(reversed(event.items())) | {"firmware": f"1.{number % 7}"}
        line = orjson.dumps(event)
        lines.append(line.replace(b":", b": ").replace(b",", b", ") if number % 3 == 2 else line)
    buffer = b"\n".join(lines)
    _check(_ours(None)(buffer), readings)
    runs = {"ours": _ours(None), **_peers()}
    ns = _turns({name: partial(run, buffer) for name, run in runs.items()}, size)
    return _case("mixed-writers-10k", ns.pop("ours"), ns, size)


def _ours(use_avx2: bool | None) -> Callable[[bytes], pa.RecordBatch]:
    return lambda buffer: _columns(
        Decoder(FIELDS, lambda fields: _core.Rows(fields, use_avx2)), buffer
    )


def _columns(decoder: Decoder, buffer: bytes, *messages: object) -> dict[str, pa.Array]:
    """All columns of a new decoder, the quantity in mJ."""
    decoded = decoder.decode(buffer, *messages)
    if decoded.refused:
        raise GridloomError(f"{len(decoded.refused)} good events were refused")
    columns = {field.name: None for field in FIELDS}
    for name in columns:
        if name != "quantity":
            columns[name] = decoded.array(name)
    mantissas, _, exponents, _ = decoded.parts["quantity"]
    quantities, settled = to_base_units(mantissas, exponents, columns["unit"])
    if not settled.all():
        raise GridloomError("a good quantity was refused")
    columns["quantity"] = pa.array(quantities)
    return columns


def _check(columns: dict[str, pa.Array], readings: list[Reading]) -> None:
    """What is measured must be right."""
    right = (
        columns["meter_id"].to_pylist() == [reading.rack for reading in readings]
        and columns["start_ms"].to_pylist() == [reading.start_ms for reading in readings]
        and columns["end_ms"].to_pylist() == [reading.end_ms for reading in readings]
        and columns["quantity"].to_pylist()
        == [reading.quanta * MJ_PER_QUANTUM for reading in readings]
    )
    if not right:
        raise GridloomError("the decoded columns are not those of the input")


def _peers() -> dict[str, Callable[[bytes], object]]:
    os.environ["POLARS_MAX_THREADS"] = "1"
    peers = {"orjson": _orjson, "msgspec": _msgspec(), "pyarrow": _pyarrow()}
    try:
        peers["polars"] = _polars()
    except ImportError:
        say("polars is not run: not installed. next: pip install 'gridloom[bench]'")
    return peers


def _polars() -> Callable[[bytes], object]:
    import polars as pl

    assert pl.thread_pool_size() == 1, "polars was imported before with more threads"
    types = {"start_ms": pl.Int64, "end_ms": pl.Int64, "quantity": pl.Float64}
    schema = {name: types.get(name, pl.String) for name in _COLUMNS}
    return lambda buffer: pl.read_ndjson(buffer, schema=schema)


def _pyarrow() -> Callable[[bytes], object]:
    from pyarrow import json

    types = {"start_ms": pa.int64(), "end_ms": pa.int64(), "quantity": pa.float64()}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in _COLUMNS])
    parse = json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    return lambda buffer: json.read_json(
        BytesIO(buffer),
        json.ReadOptions(use_threads=False, block_size=max(1 << 20, len(buffer) + 1)),
        parse,
    )


def _msgspec() -> Callable[[bytes], object]:
    import msgspec

    types = {"start_ms": int, "end_ms": int, "quantity": float}
    event = msgspec.defstruct("Event", [(name, types.get(name, str)) for name in _COLUMNS])
    decoder = msgspec.json.Decoder(event)

    def run(buffer: bytes) -> pa.RecordBatch:
        events = decoder.decode_lines(buffer)
        return pa.record_batch(
            {name: pa.array([getattr(e, name) for e in events]) for name in _COLUMNS}
        )

    return run


def _orjson(buffer: bytes) -> pa.RecordBatch:
    """The lines joined into one array: quicker than line by line."""
    events = orjson.loads(b"[" + buffer.strip().replace(b"\n", b",") + b"]")
    return pa.record_batch({name: pa.array([e[name] for e in events]) for name in _COLUMNS})


def _memcpy(buffer: bytes) -> Run:
    given = np.frombuffer(buffer, np.uint8)
    return given.copy


def _turns(runs: dict[str, Run], size: int) -> dict[str, float]:
    """CPU ns an event of each: the median of rounds in which all take their turn."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(_ROUNDS):
        for name, run in runs.items():
            started, times = time.process_time(), 0
            while (spent := time.process_time() - started) < _ROUND_S:
                run()
                times += 1
            found[name].append(spent / times / size * 1e9)
    return {name: statistics.median(rounds) for name, rounds in found.items()}
