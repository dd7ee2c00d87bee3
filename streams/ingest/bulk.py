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
from kernels.ipc.lines import Column, Filling
from kernels.records import Records, read_headers
from kernels.symbols import Symbols
from schemas import READINGS, TELEMETRY_IN
from schemas.codec import JSON, NDJSON, header_map
from schemas.telemetry import KINDS, PUE, QUALITIES
from schemas.units import BASE_UNITS, UNITS
from streams.counts import Counts
from streams.ingest.admission import Admitted, Source, admit, admit_line
from streams.ingest.events import media_type
from streams.ingest.fields import TEXT_MAX
from streams.ingest.places import PLACE_COLUMNS, Found, Places
from streams.ingest.readings import READING, ReadingRows, Rows
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
    """What messages came to: admitted rows in the order of the log, and `others` between them.

    rows: as they were decoded; admitted: which of them are, None: all.
    """

    rows: Filling
    admitted: Int64s | None
    registry_offset: int
    others: list["Other"] = field(default_factory=list)

    def __len__(self) -> int:
        """Admitted rows."""
        return len(self.rows) if self.admitted is None else len(self.admitted)

    def lines(self, first: int, last: int) -> list[tuple[int, Rows]]:
        """Admitted rows [first, last) of each partition of READINGS that has some."""
        if self.admitted is not None:
            return self.rows.lines(self.admitted[first:last])
        all_of = (first, last) == (0, len(self.rows))
        return self.rows.lines(None if all_of else np.arange(first, last))

    @property
    def counts(self) -> Counts:
        """Of the rows and the others together."""
        counts = Counts(consumed=len(self), accepted=len(self))
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
        all_fast = len(fast) == len(messages.form)
        places = [messages.value_at, messages.value_size]
        decoded = self._decoder.decode(
            records.buffer, *(places if all_fast else [of_all[fast] for of_all in places])
        )
        message = decoded.places["message"].astype(np.int64)
        message = message if all_fast else fast[message]
        in_order = messages.are_one_row_each(message)
        rows, admitted = self._rows(decoded, messages, message, in_order, registry)
        refused = decoded.refused_rows["place"]
        if admitted.all() and not len(refused) and (in_order or messages.are_lines):
            return Bulk(rows, None, registry.offset)
        single = np.concatenate([decoded.places[~admitted], refused])
        single["message"] = fast[single["message"]]
        whole = messages.read_whole(message, single)
        admitted &= ~whole[message]
        order = _order(message[admitted], decoded.places["line"][admitted])
        lines = single[~whole[single["message"]]]
        others = [(number, -1, 0) for number in np.flatnonzero(whole).tolist()]
        others += lines[["message", "line", "start"]].tolist()
        return Bulk(
            rows,
            np.flatnonzero(admitted),
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
        self,
        decoded: Decoded,
        messages: "_Messages",
        message: Int64s,
        in_order: bool,
        registry: RegistryView,
    ) -> tuple[Filling, Bools]:
        """Every decoded row as a reading, and whether it is admitted.

        in_order: message is 0, 1, 2, ... What one text decides is looked up once a text, and what
        holds of the outermost rows is not asked of each. The lines themselves come later (Bulk).
        """
        symbols = self.readings.symbols
        if self._places is None or self._places.registry.offset != registry.offset:
            self._places = Places(registry, symbols)
        texts = {name: decoded.array(name) for name in _TEXTS}
        start_ms, end_ms = decoded.columns["start_ms"][0], decoded.columns["end_ms"][0]
        mantissas, _, exponents = decoded.columns["quantity"]
        assert exponents is not None, "a decimal has exponents"
        quantity, admitted = to_base_units(mantissas, exponents, texts["unit"])
        if max(mantissas.max(initial=0), -mantissas.min(initial=0)) >= _FLOAT_EXACT:
            admitted &= abs(mantissas) < _FLOAT_EXACT
        admitted &= end_ms > start_ms
        if PUE in texts["register"].dictionary.to_pylist():
            admitted &= ~_is(texts["register"], PUE)
        place, meters = symbols.indexed(texts["meter_id"])
        found = self._places.find(meters, place, start_ms)
        if found.known is not None:
            admitted &= found.known
        received_ms = messages.received_ms if in_order else messages.received_ms[message]
        _admit_age(admitted, received_ms - end_ms, found)
        unit = numbers(texts["unit"].indices)
        is_energy, base = _unit_tables(texts["unit"].dictionary.to_pylist())
        if not is_energy.all():
            admitted &= _is(texts["kind"], "gauge") | is_energy[unit]
        base_codes = np.array([symbols.code(name) for name in BASE_UNITS], np.int32)
        columns: dict[str, Column] = {
            "start_ms": start_ms,
            "end_ms": end_ms,
            "quantity": quantity,
            "unit": (base_codes[base], unit),
            "revision": self._optional(decoded, "revision"),
            "epoch": self._optional(decoded, "epoch"),
            "quality": self._or(decoded, "quality", symbols.code("ACTUAL")),
            "source": self._or(decoded, "source", messages.sources(symbols, message)),
            "source_partition": messages.partition,
            "source_offset": messages.offset if in_order else messages.offset[message],
            "source_row": decoded.places["line"],
            "received_ms": received_ms,
            "registry_offset": registry.offset,
        }
        for name in ("meter_id", "register", "kind"):
            index, codes = symbols.indexed(texts[name])
            columns[name] = codes, index
        for name in PLACE_COLUMNS:
            columns[name] = found.spans[name], found.place
        part = found.spans["partition"], found.place
        return Filling(READING, len(decoded), columns, part, READINGS.partitions), admitted

    @staticmethod
    def _optional(decoded: Decoded, name: str) -> Int64s | int:
        """Numbers of an optional column, 0 where absent."""
        return 0 if decoded.parts[name][0] is None else decoded.columns[name][0]

    def _or(self, decoded: Decoded, name: str, default: Codes | int) -> Codes | int:
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
        forms = np.array([_form(headers) for headers in self._headers] or [_OTHER], np.int8)
        self.form = forms.take(self._codes) if len(forms) > 1 else np.repeat(forms, len(records))
        bytes_, first_at = np.frombuffer(records.buffer or b"\0", np.uint8), self.value_at
        has_value = self.value_size > 0
        if not has_value.all():
            self.form[~has_value] = _OTHER
            first_at = first_at * has_value
        is_pickle = bytes_.take(first_at) == _PICKLE
        if is_pickle.any():
            self.form[is_pickle] = _OTHER
        self._read = -1, b""

    def sources(self, symbols: Symbols, message: Int64s) -> Codes | int:
        """The code of the CloudEvents source of these messages, or of the default."""
        named = [headers.get("ce_source") or DEFAULT_SOURCE for headers in self._headers]
        codes = np.array([symbols.code(name) for name in named], np.int32)
        return int(codes[0]) if len(codes) == 1 else codes[self._codes[message]]

    def source(self, message: int) -> Source:
        return Source(
            TELEMETRY_IN,
            self.partition,
            int(self.offset[message]),
            int(self.received_ms[message]),
        )

    @property
    def are_lines(self) -> bool:
        """Whether every message is lines of which each stands for itself."""
        return bool((self.form == _LINES).all())

    def are_one_row_each(self, good: Int64s) -> bool:
        """Whether the good rows are those of message 0, 1, 2, ... to the last."""
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
        if self._read[0] != message:  # once a message, however many of its lines are asked for
            self._read = message, self.records.value(message) or b""
        text, at = self._read[1], start - int(self.value_at[message])
        first, last = text.rfind(b"\n", 0, at) + 1, text.find(b"\n", at)
        return text[first : None if last < 0 else last]


def _form(headers: Mapping[str, str]) -> int:
    """How a message with these headers is read."""
    content_type = headers.get("content-type", "")
    if "pickle" in content_type or len(headers.get("ce_source", "")) > TEXT_MAX:
        return _OTHER
    return _FORMS.get(media_type(content_type), _OTHER)


def _admit_age(admitted: Bools, age_ms: Int64s, found: Found) -> None:
    """Take back the rows that are older, or further ahead, than their meters may be."""
    spans = found.spans
    if found.known is None and len(age_ms):
        bounds = -spans["max_ahead_ms"].min(), spans["max_age_ms"].min()
        if bounds[0] <= age_ms.min() and age_ms.max() <= bounds[1]:
            return
    admitted &= age_ms <= spans["max_age_ms"][found.place]
    admitted &= -age_ms <= spans["max_ahead_ms"][found.place]


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
