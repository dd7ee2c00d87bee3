"""Admission of many messages of telemetry.in at once: columns instead of an object an event. Pure.

A row whose fields are all in order is admitted here, by arrays. Every other row, and every message
that is no plain JSON, goes through `admission.admit`, which alone says why a row is refused: the
reasons are the same whichever way it came, and so are the admitted rows, bit by bit.

An event costs no Python: values are decoded where they lie in the fetched bytes, quantities are
settled in base units by exact integers, and the registry is asked once a meter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernels.columns import numbers
from kernels.decode import Decoded, Decoder, fields_of, to_base_units
from kernels.records import Records, read_headers
from kernels.symbols import Symbols
from schemas import TELEMETRY_IN
from schemas.codec import JSON, NDJSON, header_map
from schemas.telemetry import KINDS, QUALITIES
from schemas.units import BASE_UNITS, UNITS
from streams.counts import Counts
from streams.ingest.admission import Admitted, Source, admit, admit_line
from streams.ingest.events import media_type
from streams.ingest.fields import TEXT_MAX
from streams.ingest.places import PLACE_COLUMNS, Places
from streams.ingest.readings import READING, ReadingRows, Rows, where
from streams.ingest.telemetry import DEFAULT_SOURCE
from streams.registry import RegistryView

HEADERS = ("content-type", "ce_source")  # all that admission reads of a message's headers
TEXTS_MAX = 1 << 20  # distinct ones; more are forgotten, so that no sender can fill the memory

_DOCUMENT, _LINES, _OTHER = range(3)  # one JSON document; an event a line; anything else
_FORMS = {"": _DOCUMENT, JSON: _DOCUMENT, "text/plain": _DOCUMENT, NDJSON: _LINES}
_PICKLE = 0x80  # the first byte of a pickle, and of no JSON
# orjson makes a float of a number with a point; up to so many digits its shortest text is the same
_FLOAT_EXACT = 10**15
_TEXTS = ("meter_id", "register", "kind", "unit")

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int32]


@dataclass
class Bulk:
    """What messages came to: admitted rows in the order of the log, each for its partition of
    READINGS, and `others` between them."""

    rows: Rows
    partition: Codes
    registry_offset: int
    others: list["Other"] = field(default_factory=list)

    @property
    def counts(self) -> Counts:
        """Of the rows and the others together."""
        counts = Counts(consumed=len(self.rows), accepted=len(self.rows))
        for other in self.others:
            counts.add(other.admitted.counts)
        return counts

    @property
    def unregistered(self) -> int | None:
        """The first message in which a newer registry might admit more."""
        return next((o.message for o in self.others if o.admitted.unregistered), None)


@dataclass(frozen=True, slots=True)
class Other:
    """A message, or a line of one, that was read by itself; `before`: rows that stand before it."""

    message: int
    before: int
    source: Source
    admitted: Admitted


class BulkAdmission:
    """Admits fetched records of telemetry.in; holds texts and places, which no result needs."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin with no texts. Rows that were made before need the `readings` of that time."""
        self.readings = ReadingRows()
        fields = fields_of(
            TELEMETRY_IN, {"kind": KINDS, "quality": QUALITIES}, decimals=("quantity",)
        )
        self._decoder = Decoder(fields)
        self._places: Places | None = None

    @property
    def is_full(self) -> bool:
        """Whether it holds more texts than it should."""
        return max(len(self._decoder), len(self.readings.symbols.names)) > TEXTS_MAX

    def admit(self, records: Records, partition: int, registry: RegistryView) -> Bulk:
        """Admit the messages of a partition of telemetry.in."""
        messages = _Messages(records, partition)
        fast = np.flatnonzero(messages.form != _OTHER)
        decoded = self._decoder.decode(
            records.buffer, messages.value_at[fast], messages.value_size[fast]
        )
        message = fast[decoded.places["message"]]
        rows, partitions, admitted = self._rows(decoded, messages, message, registry)
        refused = decoded.refused_rows["place"]
        if admitted.all() and not len(refused) and messages.are_one_row_each(message):
            return Bulk(rows, partitions, registry.offset)
        single = np.concatenate([decoded.places[~admitted], refused])
        single["message"] = fast[single["message"]]
        whole = messages.read_whole(message, single)
        admitted &= ~whole[message]
        rows, partitions = where(rows, admitted), partitions[admitted]
        order = _order(message[admitted], rows["source_row"])
        lines = single[~whole[single["message"]]]
        others = [(number, -1, 0) for number in np.flatnonzero(whole).tolist()]
        others += lines[["message", "line", "start"]].tolist()
        return Bulk(
            rows,
            partitions,
            registry.offset,
            [
                Other(
                    number,
                    int(np.searchsorted(order, _order(number, line))),
                    messages.source(number),
                    messages.admitted(number, line, start, registry),
                )
                for number, line, start in sorted(others)
            ],
        )

    def _rows(
        self, decoded: Decoded, messages: "_Messages", message: Int64s, registry: RegistryView
    ) -> tuple[Rows, Codes, Bools]:
        """Every decoded row as a reading, its partition, and whether it is admitted."""
        if self._places is None or self._places.registry.offset != registry.offset:
            self._places = Places(registry, self.readings.symbols)
        rows = np.zeros(len(decoded), READING)
        texts = {name: decoded.array(name) for name in _TEXTS}
        for name in ("start_ms", "end_ms"):
            rows[name] = decoded.columns[name][0]
        for name in ("revision", "epoch"):
            rows[name] = decoded.columns[name][0]  # 0 where absent
        mantissas, _, exponents = decoded.columns["quantity"]
        assert exponents is not None, "a decimal has exponents"
        rows["quantity"], settled = to_base_units(mantissas, exponents, texts["unit"])
        settled &= abs(mantissas) < _FLOAT_EXACT
        meter = texts["meter_id"]
        span = self._places.find(
            meter.dictionary.to_pylist(), numbers(meter.indices), rows["start_ms"]
        )
        spans = self._places.spans.take(span)  # of an unregistered one the last: not admitted below
        received_ms = messages.received_ms[message]
        age_ms = received_ms - rows["end_ms"]
        admitted = settled & (span >= 0) & (rows["end_ms"] > rows["start_ms"])
        admitted &= (age_ms <= spans["max_age_ms"]) & (-age_ms <= spans["max_ahead_ms"])
        is_energy, base = _unit_tables(texts["unit"].dictionary.to_pylist())
        unit = numbers(texts["unit"].indices)
        gauge = _is(texts["kind"], "gauge")
        admitted &= gauge | is_energy[unit]
        symbols = self.readings.symbols
        base_codes = np.array([symbols.code(name) for name in BASE_UNITS], np.int32)
        rows["unit"] = base_codes[base[unit]]
        for name in ("meter_id", "register", "kind"):
            rows[name] = symbols.encode(texts[name])
        rows["quality"] = self._or(decoded, "quality", np.full(len(rows), symbols.code("ACTUAL")))
        rows["source"] = self._or(decoded, "source", messages.sources(symbols)[message])
        for name in PLACE_COLUMNS:
            rows[name] = spans[name]
        rows["source_partition"] = messages.partition
        rows["source_offset"] = messages.offset[message]
        rows["source_row"] = decoded.places["line"]
        rows["received_ms"] = received_ms
        rows["registry_offset"] = registry.offset
        return rows, spans["partition"], admitted

    def _or(self, decoded: Decoded, name: str, default: Codes) -> Codes:
        """Codes of an optional text, the default where it is absent."""
        valid = decoded.columns[name][1]
        if valid is None or not valid.any():
            return default
        column = decoded.array(name)
        codes = [self.readings.symbols.code(text) for text in column.dictionary.to_pylist()]
        places = numbers(column.indices.fill_null(0))
        return np.where(valid.astype(np.bool_), np.array(codes, np.int32)[places], default)


class _Messages:
    """How each message is to be read, and its coordinates."""

    def __init__(self, records: Records, partition: int) -> None:
        self.records, self.partition = records, partition
        self.offset, self.received_ms = records.offset, records.timestamp_ms
        self.value_at, self.value_size = records.value_at, records.value_size
        self._codes, named = records.header_codes(HEADERS)
        self._headers = [header_map(read_headers(entries)) for entries in named]
        forms = np.array([_form(headers) for headers in self._headers] or [_OTHER])
        has_value = self.value_size > 0
        self.form = np.where(has_value, forms[self._codes], _OTHER)
        bytes_ = np.frombuffer(records.buffer or b"\0", np.uint8)
        self.form[bytes_[self.value_at * has_value] == _PICKLE] = _OTHER

    def sources(self, symbols: Symbols) -> Codes:
        """The code of each message's CloudEvents source, or of the default."""
        named = [headers.get("ce_source") or DEFAULT_SOURCE for headers in self._headers]
        return np.array([symbols.code(name) for name in named], np.int32)[self._codes]

    def source(self, message: int) -> Source:
        return Source(
            TELEMETRY_IN,
            self.partition,
            int(self.offset[message]),
            int(self.received_ms[message]),
        )

    def are_one_row_each(self, good: Int64s) -> bool:
        """Whether all is well without a look at single rows: every message is lines, or one row."""
        if (self.form == _LINES).all():
            return True
        return len(good) == len(self.form) and bool((good == np.arange(len(good))).all())

    def read_whole(self, good: Int64s, single: npt.NDArray[Any]) -> Bools:
        """The messages that go to `admit` as they are: those that are no lines of JSON, documents
        that are not one row in order, and blank ones."""
        size = len(self.form)
        alone = np.bincount(single["message"], minlength=size)
        rows = np.bincount(good, minlength=size)
        whole: Bools = self.form == _OTHER
        whole |= (self.form == _DOCUMENT) & ((rows != 1) | (alone > 0))
        for message, start in single[["message", "start"]].tolist():
            if not whole[message] and not self._line(message, start).strip():
                whole[message] = True
        return whole

    def admitted(self, message: int, line: int, start: int, registry: RegistryView) -> Admitted:
        """A message (line -1), or a line of one, read by itself."""
        headers = self._headers[self._codes[message]]
        source = self.source(message)
        if line < 0:
            return admit(source, self.records.value(message), headers, registry)
        named = headers.get("ce_source", "")
        return admit_line(source, self._line(message, start), line, named, registry)

    def _line(self, message: int, start: int) -> bytes:
        """The line in which a place of the buffer lies, without its end."""
        begin = int(self.value_at[message])
        end = begin + int(self.value_size[message])
        buffer = self.records.buffer
        first = buffer.rfind(b"\n", begin, start) + 1 or begin
        last = buffer.find(b"\n", start, end)
        return buffer[first : end if last < 0 else last]


def _form(headers: Mapping[str, str]) -> int:
    """How a message with these headers is read."""
    content_type = headers.get("content-type", "")
    if "pickle" in content_type or len(headers.get("ce_source", "")) > TEXT_MAX:
        return _OTHER
    return _FORMS.get(media_type(content_type), _OTHER)


def _order(message: Any, line: Any) -> Any:
    """One number for the place of a line in the log; the whole message stands before its lines."""
    return message * 2**31 + line + 1


def _unit_tables(names: Sequence[str]) -> tuple[Bools, Codes]:
    """Of each unit: whether it is one of energy, and the place of its base unit."""
    bases = [UNITS[name].base if name in UNITS else BASE_UNITS[0] for name in names]
    places = np.array([BASE_UNITS.index(base) for base in bases], np.int32)
    return places == 0, places


def _is(column: pa.DictionaryArray, text: str) -> Bools:
    """Where a column has this text."""
    equal = np.array([name == text for name in column.dictionary.to_pylist()], np.bool_)
    found: Bools = equal[numbers(column.indices)]
    return found
