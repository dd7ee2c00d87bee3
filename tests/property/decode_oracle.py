"""What a decoder must say of a message: orjson and the checks of ingest, row by row."""

from decimal import Decimal
from fractions import Fraction

from kernels.decode import MS_MAX, Field, Kind, Verdict
from schemas import TELEMETRY_IN, FieldError
from schemas.codec import NDJSON
from streams.ingest import fields as check
from streams.ingest.events import events_of

UNDECIDED = object()  # a decimal: only its unit says what it comes to
FIELDS = (
    Field("name", Kind.TEXT),
    Field("kind", Kind.TEXT, listed=("delta", "gauge", "日")),
    Field("at_ms", Kind.INTEGER, maximum=MS_MAX),
    Field("amount", Kind.DECIMAL),
    Field("level", Kind.NUMBER),
    Field("note", Kind.TEXT, required=False),
    Field("count", Kind.INTEGER, required=False),
    Field("share", Kind.NUMBER, required=False),
    Field("change", Kind.DECIMAL, required=False),
)


def settled(field, sent):
    """The field as ingest settles it; None where it is absent. Raises FieldError."""
    name = field.name
    if field.required:
        check.required(sent, name)
    elif sent.get(name) is None:
        return None
    if field.kind == Kind.TEXT:
        return check.one_of(sent, name, field.listed) if field.listed else check.text(sent, name)
    if field.kind == Kind.INTEGER:
        if field.maximum == MS_MAX:
            return check.milliseconds(sent, name)
        return check.integer(sent, name)
    if field.kind == Kind.NUMBER:
        return check.number(sent, name)
    return _decimal(name, sent[name])


def _decimal(name, quantity):
    if type(quantity) not in (int, float, str):
        raise FieldError("wrong_type", name, "")
    written = quantity if type(quantity) is str else repr(quantity)
    try:
        return Fraction(Decimal(written))
    except ArithmeticError:
        return UNDECIDED


def expected(fields, message):
    """(line, "good", fields' values) or (line, reason, field at fault) of each row."""
    events, refused = events_of(TELEMETRY_IN, message, {"content-type": NDJSON})
    rows = [(refusal.row, refusal.reason, refusal.field) for refusal in refused]
    for event in events:
        try:
            rows.append((event.row, "good", [settled(field, event.fields) for field in fields]))
        except FieldError as error:
            rows.append((event.row, error.reason, error.field))
    return sorted(rows, key=lambda row: row[0])


def values(decoded):
    """The good rows of a decoder as lists of Python values, decimals as fractions."""
    columns = []
    for field in decoded.fields:
        numbers, valid, exponents = decoded.columns[field.name]
        if exponents is None:
            columns.append(decoded.array(field.name).to_pylist())
            continue
        known = [True] * len(numbers) if valid is None else valid.tolist()
        columns.append(
            [
                Fraction(mantissa) * Fraction(10) ** exponent if is_known else None
                for mantissa, exponent, is_known in zip(
                    numbers.tolist(), exponents.tolist(), known, strict=True
                )
            ]
        )
    return [list(row) for row in zip(*columns, strict=True)]


def declined_of(decoder, message):
    """Compare a decoder's rows with the oracle's, places too; returns how many it declined."""
    decoded = decoder.decode(message)
    lines = [line for line in message.split(b"\n") if line.strip()] or [message]
    found = {}
    for place, row in zip(decoded.places.tolist(), values(decoded), strict=True):
        found[place[3]] = (place, "good", row)
    for refused in decoded.refused:
        verdict = refused.reason if refused.verdict == Verdict.BAD else Verdict.DECLINED
        found[refused.place.line] = (tuple(refused.place), verdict, refused.field)
    rows = expected(decoder.fields, message)
    assert sorted(found) == [line for line, _, _ in rows]
    declined = 0
    for line, verdict, said in rows:
        (start, end, number, _), is_said, what = found[line]
        assert (message[start:end], number) == (lines[line], 0)
        if is_said == Verdict.DECLINED:
            declined += 1
            continue
        assert is_said == verdict, (lines[line], is_said, what, verdict, said)
        assert repr(what) == repr(said), lines[line]  # repr: -0.0 is not 0.0
    return declined
