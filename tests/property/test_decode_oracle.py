"""Decode against today's path: any JSON, any damage to it, the same verdict or none."""

import json
import math
import mmap
import random
import re
import struct

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernels.decode import Decoder, Verdict, _core, reference
from tests.property.decode_oracle import FIELDS, declined_of, values

WAYS = {"scalar": lambda fields: _core.Rows(fields, False), "plain": reference.Rows}
if _core.HAS_AVX2:
    WAYS["avx2"] = lambda fields: _core.Rows(fields, True)
DAMAGE = b'"\\{}[]:,.-+eE0123456789 nulltrue\n\t\x00\x1f\x7f\x80\xc3\xa9\xed\xa0\xf4\xff'
EACH_WAY = pytest.mark.parametrize("way", list(WAYS))

texts = st.text(max_size=40)
integers = st.integers() | st.integers(0, 10**13) | st.sampled_from([2**63 - 1, 2**63, 2**64])
floats = st.floats(allow_nan=False, allow_infinity=False)
decimals = st.decimals(allow_nan=False, allow_infinity=False).map(str) | st.from_regex(
    r"[+-]?([0-9]{1,12}(\.[0-9]{0,12})?|\.[0-9]{1,9})([eE][+-]?[0-9]{1,2})?", fullmatch=True
)
anything = st.recursive(
    st.none() | st.booleans() | integers | floats | texts | decimals,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
fitting = {
    "name": texts | st.text("z", min_size=990, max_size=1_010),
    "kind": st.sampled_from(["delta", "gauge", "日", "delta "]),
    "at_ms": st.integers(0, 10**13) | integers,
    "amount": integers | floats | decimals,
    "level": integers | floats,
    "note": texts,
    "count": integers,
    "share": floats,
    "change": decimals,
}
REQUIRED = [field.name for field in FIELDS if field.required]


@st.composite
def pairs(draw):
    """Keys and values in any order: mostly those that fit, some that do not, some twice."""
    names = REQUIRED + draw(st.lists(st.sampled_from(list(fitting)) | texts, max_size=5))
    names = draw(st.permutations(names))
    if draw(st.integers(0, 9)) == 0:
        names = names[1:]
    is_wild = st.integers(0, 14).map(lambda n: n == 0)
    return [
        (name, draw(anything if name not in fitting or draw(is_wild) else fitting[name]))
        for name in names
    ]


@st.composite
def events(draw):
    """One event as a writer may lay it out: blanks, escapes, forms of numbers."""
    blank = draw(st.sampled_from(["", "", " ", "\t", " \r"]))
    ascii_only = draw(st.booleans())
    parts = []
    for name, sent in draw(pairs()):
        written = _written(draw, sent, ascii_only)
        key = json.dumps(name, ensure_ascii=ascii_only)
        parts.append(f"{key}{blank}:{blank}{written}")
    event = "{" + blank + f"{blank},{blank}".join(parts) + blank + "}"
    return event.encode("utf-8", "surrogatepass")


def _written(draw, sent, ascii_only):
    if type(sent) is float and draw(st.booleans()):
        return f"{sent:.{draw(st.integers(0, 20))}e}"
    if type(sent) is int and draw(st.integers(0, 9)) == 0:
        return f"{sent}{draw(st.sampled_from(['.0', 'e0', 'E+1', 'e-2', '.50']))}"
    return json.dumps(sent, ensure_ascii=ascii_only, separators=(",", ":"))


@settings(deadline=None, max_examples=250)
@given(st.lists(events(), min_size=1, max_size=4))
@example([b'{"name":"\\ud83d\\ude00","kind":"\\u65e5","at_ms":-0,"amount":".5","level":1E2}'])
def test_every_row_of_a_message_is_what_todays_path_makes_of_it(lines):
    message = b"\n".join(lines)
    for way in WAYS.values():
        declined_of(Decoder(FIELDS, way), message)


@settings(deadline=None, max_examples=300)
@given(st.lists(events(), min_size=1, max_size=3), st.data())
def test_a_damaged_message_is_never_read_otherwise_than_today(lines, data):
    message = bytearray(b"\n".join(lines))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(message) - 1))
        change = data.draw(st.sampled_from(["set", "cut", "drop", "put"]))
        new = data.draw(st.sampled_from(list(DAMAGE)))
        if change == "set":
            message[at] = new
        elif change == "cut" and len(message) > 1:
            del message[at:]
        elif change == "drop" and len(message) > 1:
            del message[at]
        else:
            message.insert(at, new)
        if not message:
            message = bytearray(b" ")
    for way in WAYS.values():
        declined_of(Decoder(FIELDS, way), bytes(message))


@settings(deadline=None, max_examples=50)
@given(st.lists(events(), min_size=2, max_size=6))
def test_what_was_decoded_before_changes_no_result(lines):
    """Predicted keys and known texts are only faster: a used decoder says the same as a new one."""
    for way in WAYS.values():
        used = Decoder(FIELDS, way)
        for line in lines:
            fresh, again = Decoder(FIELDS, way).decode(line), used.decode(line)
            assert repr(values(again)) == repr(values(fresh))
            assert again.refused == fresh.refused


@settings(deadline=None, max_examples=300)
@given(
    st.binary(min_size=8, max_size=8).map(lambda b: struct.unpack("<d", b)[0]), st.integers(1, 21)
)
def test_a_number_is_the_float_that_orjson_reads(drawn, digits):
    if not math.isfinite(drawn):
        return
    line = f'{{"level":{drawn:.{digits}g}}}'.encode()
    try:
        expected = orjson.loads(line)["level"]
    except orjson.JSONDecodeError:
        return
    field = [field for field in FIELDS if field.name == "level"]
    for way in WAYS.values():
        decoded = Decoder(field, way).decode(line)
        if not decoded.refused:
            (found,) = decoded.array("level").to_pylist()
            assert struct.pack("<d", found) == struct.pack("<d", float(expected))
        else:
            assert decoded.refused[0].verdict == Verdict.DECLINED


@EACH_WAY
def test_random_bytes_in_good_events_never_disagree(way):
    """Ten thousand mutations of events as devices send them, many in one buffer."""
    rng = random.Random(11)
    good = (
        b'{"name":"meter-01","kind":"delta","at_ms":1760400000000,"amount":0.2983,"level":1.5,'
        b'"note":"na\xc3\xafve \\u00e9","count":3,"share":0.25,"change":"-1.50",'
        b'"more":[1,{"a":null}]}'
    )
    decoder = Decoder(FIELDS, WAYS[way])
    for _ in range(100 if way == "plain" else 300):
        lines = []
        for _ in range(33):
            line = bytearray(good)
            for _ in range(rng.randint(0, 3)):
                line[rng.randrange(len(line))] = rng.choice(DAMAGE)
            lines.append(bytes(line))
        declined_of(decoder, b"\n".join(lines))


WRITERS = [
    b'{"name":"m-1","kind":"delta","at_ms":1760400000000,"amount":0.2983,"level":1.5}',
    b'{"level": -7.25e1, "amount": "12.50", "at_ms": 17, "kind": "gauge", "name": "m\\u00e9\\n"}',
    '{"v":"1.2","name":"界-7","kind":"日","at_ms":5,"amount":7,"level":0,"note":"ok"}'.encode(),
    b'{"name":"a","kind":"delta","at_ms":5,"amount":1.0,"level":2,"count":7,"share":null}',
    b'{"name":"a","name":"b","kind":"delta","at_ms":5,"amount":1.0,"level":2,"note":"x"}',
    b' {"x":{"y":[1,"}"]},"name":"a","kind":"delta","at_ms":5,"amount":1e1,"level":2,"z":true} ',
    b'{"name":"a","kind":"delta","at_ms":5,"amount":1.0,"level":2,"z":12.5,"change":"-0.5"}',
]
FORMS = [b"7", b"70", b"-7", b"7.5", b"07", b"7e2", b"0.12345678901234567", b"12345678901234567890"]
FORMS += [
    b"999999999999999",
    b"253402300800000",
    b"1234567890123456",
    b"123456789012345.6",
    b"99999999999999.99",
    b"",
    b"null",
    b'"7"',
]


@EACH_WAY
def test_writers_in_turn_are_read_as_each_alone(way):
    """Rows with a layout in common, whose numbers and texts change and sometimes break."""
    rng = random.Random(5)
    for _ in range(20 if way == "plain" else 60):
        decoder = Decoder(FIELDS, WAYS[way])
        writers = rng.sample(WRITERS, rng.randint(1, 6))
        for _ in range(3):
            lines = []
            for _ in range(40):
                line = rng.choice(writers)
                for _ in range(rng.choice([0, 0, 1, 2])):
                    at = rng.choice(list(re.finditer(rb"[0-9.]+|[a-z]+", line)))
                    new = rng.choice(FORMS if line[at.start()] < 97 else [b"", b"x", b"xy", b'\\"'])
                    line = line[: at.start()] + new + line[at.end() :]
                lines.append(line)
            declined_of(decoder, b"\n".join(lines))


@EACH_WAY
def test_messages_in_one_buffer_are_decoded_as_if_alone(way):
    rng = random.Random(3)
    event = b'{"name":"n%d","kind":"gauge","at_ms":%d,"amount":"1.%d","level":2}'
    messages = [
        b"\n".join(event % (rng.randrange(9), i, j) for j in range(rng.randint(0, 3)))
        + rng.choice([b"", b"\n", b" \n\n", b"}", b"\n{"])
        for i in range(200)
    ]
    gap = b'123456"}'  # what lies between messages is nobody's
    buffer, starts = b"", []
    for message in messages:
        starts.append(len(buffer))
        buffer += message + gap[: rng.randint(0, len(gap))]
    decoded = Decoder(FIELDS, WAYS[way]).decode(buffer, starts, [len(m) for m in messages])
    rows, refused = iter(values(decoded)), iter(decoded.refused)
    owners = decoded.places["message"].tolist()
    for number, message in enumerate(messages):
        alone = Decoder(FIELDS, WAYS[way]).decode(message)
        assert owners.count(number) == len(alone)
        assert [next(rows) for _ in range(len(alone))] == values(alone)
        for expected in alone.refused:
            found = next(refused)
            assert (found.verdict, found.reason, found.field) == expected[1:]
            assert (found.place.message, found.place.line) == (number, expected.place.line)
            shift = starts[number]
            assert (found.place.start - shift, found.place.end - shift) == expected.place[:2]
    assert next(rows, None) is None
    assert next(refused, None) is None


@pytest.mark.parametrize("way", [way for way in WAYS if way != "plain"])
def test_no_byte_beyond_the_buffer_is_read(way):
    """The buffer ends where a page does, and the next page may not be touched."""
    good = b'{"name":"meter-01","kind":"delta","at_ms":1760400000000,"amount":0.2983,"level":1.5}'
    page = mmap.PAGESIZE
    region = _Guarded(page)
    decoder = Decoder(FIELDS, WAYS[way])
    for cut in range(len(good) + 1):
        for message in (
            good[:cut],
            good + b"\n" + good[:cut],
            good[:cut] + b"7" * 40,
            good[:cut] + b"0" * 40,
        ):
            buffer = region.ending_with(message)
            decoded = decoder.decode(buffer)
            assert len(decoded) + len(decoded.refused) == max(1, bool(cut) + message.count(b"\n"))
            small = decoder.decode(buffer, [len(message) // 2], [len(message) - len(message) // 2])
            assert len(small) + len(small.refused) >= 1
    region.close()


class _Guarded:
    """A page of memory with a page behind it that faults when it is read."""

    def __init__(self, size):
        import ctypes

        self._libc = ctypes.CDLL(None, use_errno=True)
        self._map = mmap.mmap(-1, 2 * size)
        self._size = size
        anchor = ctypes.c_char.from_buffer(self._map)
        self._at = ctypes.addressof(anchor)
        del anchor
        protect = self._libc.mprotect
        protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        assert protect(self._at + size, size, 0) == 0, "mprotect failed"

    def ending_with(self, message):
        start = self._size - len(message)
        self._map[start : self._size] = message
        return np.frombuffer(self._map, np.uint8, len(message), start)

    def close(self):
        """Left to the interpreter: arrays may still look at it."""
