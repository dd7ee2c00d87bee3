"""Decode: the cases of a reader of JSON, written out: what is good, what is bad and why."""

import numpy as np
import orjson
import pyarrow as pa
import pytest

from kernels.decode import (
    Decoder,
    Field,
    Kind,
    Place,
    Refused,
    Verdict,
    _core,
    fields_of,
    reference,
)
from schemas import MARKET_IN, TELEMETRY_IN
from tests.property.decode_oracle import FIELDS, declined_of, expected

WAYS = {"scalar": lambda fields: _core.Rows(fields, False), "plain": reference.Rows}
if _core.HAS_AVX2:
    WAYS["avx2"] = lambda fields: _core.Rows(fields, True)
GOOD = b'{"name":"m","kind":"delta","at_ms":5,"amount":"1.50","level":2}'
LONG = b'"' + b"x" * 70 + b'"'


@pytest.fixture(params=list(WAYS))
def way(request):
    return WAYS[request.param]


def with_more(more):
    return GOOD[:-1] + b',"more":' + more + b"}"


# JSON that orjson reads
SOUND = [
    with_more(more)
    for more in (
        b"null",
        b"true",
        b"false",
        b"[]",
        b"{}",
        b"[ ]",
        b"{ }",
        b"[1,[2,[3,{}]]]",
        b'{"a":{"b":[]}}',
        b"0",
        b"-0",
        b"1e5",
        b"1E+5",
        b"1e-5",
        b"0.5e00",
        b"123456789012345678901234567890",
        b'""',
        b'"\\"\\\\\\/\\b\\f\\n\\r\\t"',
        b'"\\u0000"',
        b'"\\ud83d\\ude00"',
        b'"\\uD83D\\uDE00"',
        b'"\x7f"',
        '"界é😀"'.encode(),
        b'"\xef\xbf\xbf"',
        b'"\xf4\x8f\xbf\xbf"',
        LONG,
        b"[" + LONG + b"]",
    )
] + [
    b"  " + GOOD + b" \r",
    GOOD.replace(b":", b" : ").replace(b",", b" , "),
    GOOD.replace(b"{", b"{\t"),
    GOOD.replace(b'"name"', b'"\\u006eame"'),
    GOOD.replace(b'"m"', b'"\\u754c\\n"'),
    GOOD.replace(b'"m"', LONG),
    b'{"name":7,"name":null,' + GOOD[1:],  # the last of a key holds
    GOOD.replace(b'"1.50"', b"1.50"),
    GOOD.replace(b'"1.50"', b"0.000012345678901234567"),  # zeros in front are no digits
    GOOD.replace(b'"1.50"', b'"+00000000000000000000.0000000000000000000012345678900"'),
    GOOD.replace(b'"1.50"', b'"' + b"0" * 300 + b'"'),
    GOOD.replace(b'"1.50"', b"0." + b"0" * 300),
    GOOD.replace(b":2}", b":0.12345678901234567890123}"),
]
# what it does not read
BROKEN = [
    with_more(more)
    for more in (
        b"", b"nul", b"nulll", b"True", b"tru e", b"01", b"-", b"-01", b"1.", b".5", b"+1", b"1e",
        b"1e+",
        b"0x1", b"1_0", b"--1", b"1..2", b"[", b"[1", b"[1,", b"[1,]", b"[,]", b"[1 2]", b"]",
        b"[}", b"{]",
        b"{,}", b'{"a"}', b'{"a":}', b'{"a":1,}', b'{"a" 1}', b"{a:1}", b"{1:1}", b"{'a':1}",
        b"'a'", b'"',
        b'"\\"', b'"\\x41"', b'"\\u12"', b'"\\u12G4"', b'"\\ud800"', b'"\\udc00"',
        b'"\\ud800\\u0041"',
        b'"\\ud800x"', b'"a\x00b"', b'"a\x1fb"', b'"tab\t"', b'"\x80"', b'"\xc0\x80"',
        b'"\xc1\xbf"', b'"\xc3"',
        b'"\xe0\x80\x80"', b'"\xed\xa0\x80"', b'"\xf0\x80\x80\x80"', b'"\xf4\x90\x80\x80"',
        b'"\xf5\x80\x80\x80"',
        b'"\xe7\x95"', b'"\xff"', b"// x", b"/* x */ 1", b"1 1", b"1,", b"{}{}", b"1e400",
        b"1" * 400,
    )
] + [
    b"\xef\xbb\xbf" + GOOD, GOOD + b"}", GOOD + GOOD, GOOD + b",", GOOD + b"\x00", b"\x0b" + GOOD,
    GOOD + b"\x0c",
    GOOD[1:], b"[" + GOOD + b"]", b"null", b"7", b'"text"', b"{", b"}", b"x", b"\x00", b"\xff",
    GOOD.replace(b":", b"", 1), GOOD.replace(b",", b";", 1), GOOD.replace(b",", b",,", 1),
    GOOD.replace(b"{", b"{,"),
    GOOD.replace(b'"name"', b'"na\x01me"'), GOOD.replace(b'"name"', b'"na\xffme"'),
    GOOD.replace(b'"m"', b'"m'),
]  # fmt: skip


@pytest.mark.parametrize("line", SOUND)
def test_what_orjson_reads_is_read(way, line):
    assert isinstance(orjson.loads(line), dict)
    assert declined_of(Decoder(FIELDS, way), line) == 0
    assert len(Decoder(FIELDS, way).decode(line)) == 1


@pytest.mark.parametrize("line", BROKEN)
def test_what_orjson_does_not_read_is_not_json(way, line):
    (refused,) = Decoder(FIELDS, way).decode(line).refused
    assert (refused.reason, refused.field) == (
        "not_json",
        "",
    ) or refused.verdict == Verdict.DECLINED
    declined_of(Decoder(FIELDS, way), line)


@pytest.mark.parametrize("line", [GOOD, SOUND[4], SOUND[19], '{"name":"界\\u00e9"}'.encode()])
def test_a_line_cut_at_any_byte_is_not_json(way, line):
    decoder = Decoder(FIELDS, way)
    for cut in range(1, len(line)):
        (refused,) = decoder.decode(line[:cut]).refused
        assert (refused.verdict, refused.reason) == (Verdict.BAD, "not_json")
        assert refused.place == Place(0, cut, 0, 0)


@pytest.mark.parametrize("word", [b"NaN", b"Infinity", b"-Infinity"])
def test_a_line_with_nan_is_left_to_the_path_that_names_it(way, word):
    (refused,) = Decoder(FIELDS, way).decode(GOOD.replace(b"2}", word + b"}")).refused
    assert refused.verdict == Verdict.DECLINED


def test_values_nested_as_deep_as_orjson_reads_are_read_or_declined(way):
    for depth in (60, 70, 1_000, 1_020, 1_030, 100_000):
        declined_of(Decoder(FIELDS, way), with_more(b"[" * depth + b"]" * depth))
        declined_of(Decoder(FIELDS, way), with_more(b'{"a":' * depth + b"1" + b"}" * depth))


# what a line has instead: the reason and the field
FAULTS = [
    (b'"name":"m"', b'"nome":"m"', "missing_field", "name"),
    (b'"name":"m"', b'"name":null', "missing_field", "name"),
    (b'"name":"m"', b'"name":""', "missing_field", "name"),
    (b'"name":"m"', b'"name":7', "wrong_type", "name"),
    (b'"name":"m"', b'"name":{"a":"}"}', "wrong_type", "name"),
    (b'"name":"m"', b'"name":"' + b"x" * 1_001 + b'"', "overflow", "name"),
    (b'"delta"', b'"Delta"', "unknown_value", "kind"),
    (b'"at_ms":5', b'"at_ms":-5', "negative", "at_ms"),
    (b'"at_ms":5', b'"at_ms":5.0', "wrong_type", "at_ms"),
    (b'"at_ms":5', b'"at_ms":true', "wrong_type", "at_ms"),
    (b'"at_ms":5', b'"at_ms":"5"', "wrong_type", "at_ms"),
    (b'"at_ms":5', b'"at_ms":253402300800001', "overflow", "at_ms"),
    (b'"level":2', b'"level":"2"', "wrong_type", "level"),
    (b'"amount":"1.50"', b'"amount":[1]', "wrong_type", "amount"),
    (b'"amount":"1.50",', b"", "missing_field", "amount"),
    (b'"level":2', b'"level":2,"note":""', "missing_field", "note"),
    (b'"level":2', b'"level":2,"count":-1', "negative", "count"),
    (b'"level":2', b'"level":2,"level":null', "missing_field", "level"),
]


@pytest.mark.parametrize(("good", "bad", "reason", "field"), FAULTS)
def test_a_field_at_fault_is_named_and_no_other_row_is_touched(way, good, bad, reason, field):
    first, last = GOOD.replace(b'"m"', b'"first"'), GOOD.replace(b'"m"', b'"last"')
    line = GOOD.replace(good, bad)
    buffer = b"\n".join([first, b"", line, last])
    decoded = Decoder(FIELDS, way).decode(buffer)
    start = len(first) + 2
    assert decoded.refused == [
        Refused(Place(start, start + len(line), 0, 1), Verdict.BAD, reason, field)
    ]
    assert decoded.array("name").to_pylist() == ["first", "last"]
    assert decoded.places["line"].tolist() == [0, 2]


def test_of_two_faults_the_first_in_the_order_of_the_fields_counts(way):
    line = b'{"level":"x","at_ms":-1,"kind":"delta","name":"m","amount":1}'
    (refused,) = Decoder(FIELDS, way).decode(line).refused
    assert (refused.reason, refused.field) == ("negative", "at_ms")
    (refused,) = Decoder(FIELDS, way).decode(line[:-1]).refused
    assert refused.reason == "not_json"


def test_columns_are_arrow_and_equal_rows_give_equal_dictionaries(way):
    decoder = Decoder(FIELDS, way)
    decoder.decode(b"\n".join(GOOD.replace(b'"m"', b'"%d"' % i) for i in range(2_000)))
    lines = [GOOD.replace(b'"m"', b'"%s"' % name) for name in (b"b", b"7", b"b", b"a")]
    lines.insert(2, lines[1].replace(b"delta", b"none"))  # refused: its texts are in no column
    decoded = decoder.decode(b"\n".join(lines))
    names = decoded.array("name")
    names.validate(full=True)
    assert names.type == pa.dictionary(pa.int32(), pa.string())
    assert names.dictionary.to_pylist() == ["b", "7", "a"]
    assert names.indices.to_pylist() == [0, 1, 0, 2]
    assert decoded.array("at_ms").equals(pa.array([5] * 4))
    assert decoded.array("level").equals(pa.array([2.0] * 4))
    assert decoded.array("note").null_count == 4
    assert decoded.array("count").to_pylist() == [None] * 4


def test_thousands_of_distinct_texts_keep_their_own_codes(way):
    names = [f"{'long ' * (i % 9)}meter-{i}" for i in range(5_000)]
    lines = [GOOD.replace(b'"m"', b'"%s"' % name.encode()) for name in names + names[::-1]]
    decoded = Decoder(FIELDS, way).decode(b"\n".join(lines))
    assert decoded.array("name").to_pylist() == names + names[::-1]


def test_a_blank_message_is_one_bad_row_and_no_message_none(way):
    for blank in (b"", b"\n\n", b" \t\r\x0b\x0c\n"):
        (refused,) = Decoder(FIELDS, way).decode(blank).refused
        assert refused == Refused(Place(0, len(blank), 0, 0), Verdict.BAD, "not_json", "")
        assert [row[1] for row in expected(FIELDS, blank)] == ["not_json"]
    decoded = Decoder(FIELDS, way).decode(b"", [], [])
    assert len(decoded) == len(decoded.refused) == 0
    assert decoded.array("name").to_pylist() == []


@pytest.mark.parametrize(
    ("starts", "sizes"), [([0], [6]), ([-1], [2]), ([2], [-1]), ([3], [3]), ([2**62], [2**62])]
)
def test_a_message_outside_the_buffer_is_refused(way, starts, sizes):
    with pytest.raises(ValueError, match="outside the buffer"):
        Decoder(FIELDS, way).decode(b"{} {}", starts, sizes)


def test_any_buffer_of_bytes_is_read(way):
    for buffer in (GOOD, bytearray(GOOD), memoryview(GOOD), np.frombuffer(GOOD, np.uint8)):
        assert len(Decoder(FIELDS, way).decode(buffer)) == 1


def test_the_fields_of_a_topic_are_its_columns(way):
    telemetry = fields_of(TELEMETRY_IN, {"kind": ("delta",)}, decimals=("quantity",))
    assert Field("quantity", Kind.DECIMAL) in telemetry
    assert Field("kind", Kind.TEXT, listed=("delta",)) in telemetry
    line = b'{"id":"l","domain":"d","kind":"link","region":"a","to_region":"b","cap_mw":1.25}'
    decoded = Decoder(fields_of(MARKET_IN), way).decode(line)
    assert decoded.array("cap_mw").to_pylist() == [1.25]
    assert decoded.array("load_mw").to_pylist() == [None]
