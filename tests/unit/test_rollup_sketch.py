"""The quantile sketch: integer bounds, 1 % at most, one byte form."""

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.rollup import sketch
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


@pytest.mark.parametrize("cut", [b"\x80", b"\x05", b"\x01\x01\x02"])
def test_bytes_that_are_cut_short_are_refused(cut):
    with pytest.raises(ValueError, match="cut short"):
        sketch.decode(cut)
