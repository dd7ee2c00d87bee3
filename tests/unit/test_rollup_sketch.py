"""The quantile sketch: integer bounds, 1 % at most, one byte form."""

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernels.rollup import _sketches, sketch
from schemas.units import INT64_MAX

samples = st.lists(
    st.one_of(st.integers(0, 3_000), st.integers(0, INT64_MAX)), min_size=1, max_size=60
)


def counts_of(values):
    buckets, counts = np.unique(sketch.buckets(np.array(values, np.int64)), return_counts=True)
    return dict(zip(buckets.tolist(), counts.tolist(), strict=True))


def test_bounds_are_the_exact_powers_of_gamma_and_reach_all_of_64_bits():
    gamma = Fraction(101, 99)
    assert sketch.BOUNDS[0] == 0
    assert [int(bound) for bound in sketch.BOUNDS[1:300]] == [
        int(gamma**power) for power in range(299)
    ]
    assert sketch.BOUNDS[-1] == INT64_MAX


@given(st.integers(1, INT64_MAX))
@settings(max_examples=300)
def test_every_sample_is_within_one_percent_of_its_bucket_s_value(sample):
    (bucket,) = sketch.buckets(np.array([sample]))
    value = Fraction(float(sketch.CENTRES[bucket]))
    # a float keeps 53 bits of the value
    assert abs(value - sample) <= Fraction(sample, 100) * (1 + Fraction(1, 10**12))


def test_zero_is_exact():
    assert sketch.buckets(np.array([0])).tolist() == [0]
    assert sketch.CENTRES[0] == 0


@given(samples)
def test_p95_is_within_one_percent_of_the_exact_nearest_rank(values):
    exact = sorted(values)[ceil(Fraction(95, 100) * len(values)) - 1]
    bucket = np.array([sketch.bucket_p95(counts_of(values))], np.int32)
    (estimate,) = sketch.p95(bucket, np.array([min(values)]), np.array([max(values)]))
    assert abs(Fraction(float(estimate)) - exact) <= Fraction(exact, 100) * (1 + Fraction(1, 10**9))


def test_p95_of_one_sample_is_that_sample():
    bucket = np.array([sketch.bucket_p95(counts_of([777]))], np.int32)
    assert sketch.p95(bucket, np.array([777]), np.array([777])).tolist() == [777.0]


@given(samples)
def test_the_bytes_read_back_and_are_those_of_the_counts_alone(values):
    counts = counts_of(values)
    backwards = dict(reversed(counts.items())) | {5_000: 0}
    assert sketch.decode(sketch.encode(counts)) == counts
    assert sketch.encode(backwards) == sketch.encode(counts)


def test_the_bytes_are_those_of_the_documented_form():
    # bucket 0 twice; bucket 300 once: distance 300 = 0b10_0101100
    assert sketch.encode({300: 1, 0: 2}) == bytes([0, 2, 0b1010_1100, 0b10, 1])


TWINS = pytest.mark.parametrize("twin", [sketch, _sketches], ids=["plain", "core"])


@TWINS
@given(st.lists(samples, max_size=4))
def test_sketches_together_have_the_p95_of_all_their_samples(twin, parts):
    counted, bucket = twin.counted([sketch.encode(counts_of(part)) for part in parts])
    ordered = sorted(value for part in parts for value in part)
    assert counted == len(ordered)
    exact = ordered[ceil(Fraction(95, 100) * len(ordered)) - 1] if ordered else 0
    assert bucket == sketch.buckets(np.array([exact]))[0]


@TWINS
@pytest.mark.parametrize(
    ("faulty", "reason"),
    [
        (b"\x80", "cut short"),
        (b"\x05", "cut short"),
        (b"\x01\x01\x02", "cut short"),
        (b"\xff\xff\x7f\x01", "no"),  # a bucket beyond the last
        (b"\x07\x01\x00\x01", "no"),  # the same bucket twice
        (b"\x01" + b"\xff" * 9 + b"\x01", "too large"),
        (b"\x01" + b"\xff" * 8 + b"\x7f", "too large"),
    ],
)
def test_bytes_that_are_no_sketch_are_refused(twin, faulty, reason):
    with pytest.raises(ValueError, match=reason):
        twin.counted([faulty])


@given(st.binary(max_size=12), st.binary(max_size=12))
@example(b"", b"\x01\x00")  # a bucket of no sample
@settings(max_examples=500)
def test_both_twins_say_the_same_of_any_bytes(one, other):
    said = []
    for twin in (sketch, _sketches):
        try:
            said.append(twin.counted([one, other]))
        except ValueError as error:
            said.append(str(error))
    assert said[0] == said[1]
