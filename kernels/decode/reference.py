"""The plain twin of _core.Rows: orjson a line, one field after another; the same rows and reasons.

It declines what _core must decline for want of 64 bits; the rest that _core declines, it decides.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import orjson

from kernels.decode.layout import (
    ADJUSTED_MAX,
    CHARACTERS_MAX,
    DIGITS_MAX,
    DTYPES,
    PLACE,
    REASONS,
    REFUSED,
    Column,
    Field,
    Kind,
    Numbers,
    Verdict,
)

_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,9})?", re.ASCII)


class BadError(Exception):
    """A field's reason, and its name."""


class DeclinedError(Exception):
    """A row that only the caller's own path can decide."""


class Rows:
    """Decodes buffers for one tuple of fields."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = tuple(fields)
        self._names = [field.name for field in self.fields]

    def __len__(self) -> int:
        """Texts held: the plain twin keeps none."""
        return 0

    def decode(
        self, buffer: Any, starts: Numbers, sizes: Numbers
    ) -> tuple[dict[str, Column], Numbers, Numbers]:
        """Columns by name, places of the good rows, and the refused rows."""
        data = memoryview(buffer).cast("B").tobytes()
        rows: list[list[Any]] = []
        places: list[tuple[int, int, int, int]] = []
        refused: list[tuple[Any, ...]] = []
        for message, (start, size) in enumerate(zip(starts.tolist(), sizes.tolist(), strict=True)):
            for line, (first, end) in enumerate(_lines(data, start, start + size)):
                place = (first, end, message, line)
                try:
                    rows.append(self._row(data[first:end]))
                    places.append(place)
                except BadError as bad:
                    reason, name = bad.args
                    field = self._names.index(name) if name else -1
                    refused.append((place, Verdict.BAD, REASONS.index(reason), field, 0))
                except DeclinedError:
                    refused.append((place, Verdict.DECLINED, 0, -1, 0))
        return self._columns(rows), np.array(places, PLACE), np.array(refused, REFUSED)

    def _row(self, line: bytes) -> list[Any]:
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            event = None
        if not isinstance(event, dict):
            if b"N" in line or b"I" in line:  # NaN and Infinity have a reason of their own
                raise DeclinedError
            raise BadError("not_json", "")
        settled = [self._settled(field, event.get(field.name)) for field in self.fields]
        if any(decided is DeclinedError for decided in settled):
            raise DeclinedError
        for field, decided in zip(self.fields, settled, strict=True):
            if isinstance(decided, _Fault):
                raise BadError(decided.reason, field.name)
        return settled

    def _settled(self, field: Field, sent: Any) -> Any:
        """What goes into the column; None, a _Fault, or DeclinedError."""
        if sent is None:
            return _Fault("missing_field") if field.required else None
        if field.kind == Kind.TEXT:
            return _text(field, sent)
        if field.kind == Kind.INTEGER:
            return _integer(field, sent)
        if field.kind == Kind.NUMBER:
            return float(sent) if type(sent) in (int, float) else _Fault("wrong_type")
        return _decimal(sent)

    def _columns(self, rows: list[list[Any]]) -> dict[str, Column]:
        columns: dict[str, Column] = {}
        for at, field in enumerate(self.fields):
            sent = [row[at] for row in rows]
            known = [settled for settled in sent if settled is not None]
            if not known and not field.required:
                columns[field.name] = Column(None, None, None, None)
                continue
            valid = exponents = dictionary = None
            if len(known) < len(sent):
                valid = np.array([settled is not None for settled in sent], np.uint8)
            if field.kind == Kind.DECIMAL:
                pairs = [settled or (0, 0) for settled in sent]
                sent = [mantissa for mantissa, _ in pairs]
                exponents = np.array([exponent for _, exponent in pairs], np.int8)
            if field.kind == Kind.TEXT:
                places = {text: place for place, text in enumerate(dict.fromkeys(known))}
                sent = [places.get(text, 0) for text in sent]
                dictionary = _dictionary(list(places))
            numbers = np.array([settled or 0 for settled in sent], DTYPES[field.kind])
            columns[field.name] = Column(numbers, valid, exponents, dictionary)
        return columns


def _dictionary(texts: list[str]) -> tuple[Numbers, Numbers]:
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return offsets, np.frombuffer(b"".join(encoded), np.uint8)


class _Fault:
    """A field that is refused; of several the first in the order of the fields counts."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def _text(field: Field, sent: Any) -> Any:
    if type(sent) is not str:
        return _Fault("wrong_type")
    if not sent:
        return _Fault("missing_field")
    if len(sent) > CHARACTERS_MAX:
        return _Fault("overflow")
    return _Fault("unknown_value") if field.listed and sent not in field.listed else sent


def _integer(field: Field, sent: Any) -> Any:
    if type(sent) is not int:
        return _Fault("wrong_type")
    if sent < 0:
        return _Fault("negative")
    return sent if sent <= field.maximum else _Fault("overflow")


def _decimal(sent: Any) -> Any:
    """Mantissa and exponent; digits as written, of a float those of its repr."""
    if type(sent) not in (int, float, str):
        return _Fault("wrong_type")
    written = sent if isinstance(sent, str) else repr(sent)
    if not _DECIMAL.fullmatch(written):
        return DeclinedError
    sign, digits, exponent = Decimal(written).as_tuple()
    assert isinstance(exponent, int)
    mantissa = int("".join(map(str, digits)))
    if not mantissa:
        return 0, 0
    if len(digits) > DIGITS_MAX or abs(Decimal(written).adjusted()) > ADJUSTED_MAX:
        return DeclinedError
    return -mantissa if sign else mantissa, exponent


def _lines(data: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """Where the lines are; a message without one is one line."""
    lines = []
    first = start
    for line in data[start:end].split(b"\n"):
        if line.strip():
            lines.append((first, first + len(line)))
        first += len(line) + 1
    return lines or [(start, end)]
