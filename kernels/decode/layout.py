"""Layout: what a decoder is asked for, and what it says of each row; the structs of _decoder.h."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.deadletter import REASONS as _KNOWN
from schemas.topic import FLOAT64, INT64, SYMBOL, TEXT, Topic

Numbers = npt.NDArray[Any]

INT64_MAX = 2**63 - 1
MS_MAX = 253_402_300_800_000  # year 10000: a time beyond is a unit error (ns or us for ms)
FIELDS_MAX = 64
LISTED_MAX = 64  # texts of all lists together: each is a bit of a word
CHARACTERS_MAX = 1_000  # of a text

# A decimal is mantissa x 10^exponent: its mantissa has at most so many digits, and its first digit
# stands at 10^-30 to 10^30, as in schemas.units. Others are declined.
DIGITS_MAX = 18
ADJUSTED_MAX = 30


class Kind(IntEnum):
    """What a field holds."""

    TEXT = 0  # not empty, at most CHARACTERS_MAX; dictionary-coded
    INTEGER = 1  # 0 to the field's maximum
    NUMBER = 2  # a finite float, the nearest to what is written
    DECIMAL = 3  # a number or decimal text, exact


DTYPES = {Kind.TEXT: "<i4", Kind.INTEGER: "<i8", Kind.NUMBER: "<f8", Kind.DECIMAL: "<i8"}


class Verdict(IntEnum):
    """What became of a row; a declined one is to be read by orjson."""

    GOOD = 0
    BAD = 1
    DECLINED = 2


# Reasons of schemas.deadletter by their place; the first stands for none.
REASONS = (
    "",
    "not_json",
    "missing_field",
    "wrong_type",
    "unknown_value",
    "negative",
    "overflow",
)
assert set(REASONS[1:]) <= _KNOWN.keys()


@dataclass(frozen=True, slots=True)
class Field:
    """A key that is wanted; `listed`: the only texts it may have; `maximum` of an INTEGER."""

    name: str
    kind: Kind
    required: bool = True
    listed: tuple[str, ...] = ()
    maximum: int = INT64_MAX


class Column(NamedTuple):
    """A field of the good rows; all None where no row has it.

    numbers: int64, float64, a decimal's mantissas, or places in the dictionary of a text.
    valid: 1 where the row has it; None = every row. exponents: of a decimal.
    dictionary: a text's distinct values in order of first use, as offsets and bytes.
    """

    numbers: Numbers | None
    valid: Numbers | None
    exponents: Numbers | None
    dictionary: tuple[Numbers, Numbers] | None


class Place(NamedTuple):
    """Where a row was: bytes [start, end) of the buffer, line of a message (blank ones apart)."""

    start: int
    end: int
    message: int
    line: int


class Refused(NamedTuple):
    """A row that is in no column: BAD by this reason and field ("" = the whole row), or DECLINED
    (no reason is given: orjson's twin decides)."""

    place: Place
    verdict: Verdict
    reason: str
    field: str


PLACE = np.dtype([("start", "<i8"), ("end", "<i8"), ("message", "<i4"), ("line", "<i4")])
REFUSED = np.dtype(
    [("place", PLACE), ("verdict", "u1"), ("reason", "u1"), ("field", "<i2"), ("spare", "<i4")]
)


def fields_of(
    topic: Topic, listed: dict[str, tuple[str, ...]] | None = None, decimals: tuple[str, ...] = ()
) -> tuple[Field, ...]:
    """The fields of a topic's columns; `decimals` are the text columns that hold quantities."""
    return tuple(
        Field(
            column.name,
            _kind(column.type, column.name in decimals),
            column.required,
            (listed or {}).get(column.name, ()),
            MS_MAX if column.unit == "ms" else INT64_MAX,
        )
        for column in topic.columns
    )


def _kind(of: object, is_decimal: bool) -> Kind:
    if is_decimal:
        return Kind.DECIMAL
    return {SYMBOL: Kind.TEXT, TEXT: Kind.TEXT, INT64: Kind.INTEGER, FLOAT64: Kind.NUMBER}[of]
