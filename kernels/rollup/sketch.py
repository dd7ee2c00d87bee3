"""Quantile sketch: DDSketch with integer buckets, exact in every step but the last.

Masson, Rim, Lee, "DDSketch: a fast and fully-mergeable quantile sketch" (VLDB 2019). With relative
error a = 1 % and gamma = (1 + a) / (1 - a) = 101/99:

    bucket 0      samples that are 0
    bucket j > 0  samples in (gamma^(j-2), gamma^(j-1)]; its value is 99/100 x gamma^(j-1), which no
                  sample of the bucket is further than 1 % away from

Samples are integers, so x <= gamma^k is x <= floor(gamma^k): bounds are exact integers, no
logarithm is taken, and every machine finds the same bucket. Counts are integers: merging is
addition, in any order. The p95 is the sample of rank ceil(0.95 n) (nearest rank), by its bucket's
value.

As bytes: for each bucket that is not empty, ascending, its distance from the one before (the first
from 0) and its count, each as an unsigned LEB128 varint. Equal counts give equal bytes.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.units import INT64_MAX

_ABOVE, _BELOW = 101, 99  # gamma = 101/99


def _table() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Largest sample and value of each bucket, up to the one that holds INT64_MAX."""
    bounds, centres = [0], [0.0]
    above = below = 1
    while bounds[-1] < INT64_MAX:
        bounds.append(min(above // below, INT64_MAX))
        centres.append(99 * above / (100 * below))  # int / int rounds once, correctly
        above *= _ABOVE
        below *= _BELOW
    return np.array(bounds, np.int64), np.array(centres)


BOUNDS, CENTRES = _table()

# Where _bucket.pxd begins to look: the bucket of the smallest sample of each of the 64 ranges
# between two powers of two.
GUESS = np.searchsorted(
    BOUNDS, [(64 + n % 64 << n // 64) // 64 for n in range(64 * 63)] + [INT64_MAX]
).astype(np.int16)


def buckets(samples: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """The bucket of each sample (not negative)."""
    return np.searchsorted(BOUNDS, samples, "left").astype(np.int32)


def rank_p95(count: int) -> int:
    """Which of the sorted samples, from 1, is the 95th percentile: ceil(0.95 count)."""
    return (95 * count + 99) // 100


def bucket_p95(counts: Mapping[int, int]) -> int:
    """The bucket that holds the 95th percentile; 0 where there is no sample."""
    rank = rank_p95(sum(counts.values()))
    for bucket in sorted(counts):
        rank -= counts[bucket]
        if rank <= 0 and counts[bucket]:
            return bucket
    return 0


def p95(
    bucket: npt.NDArray[np.int32], smallest: npt.NDArray[Any], largest: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """Value of each bucket, not outside the samples it stands for."""
    return np.clip(CENTRES[bucket], smallest.astype(np.float64), largest.astype(np.float64))


def encode(counts: Mapping[int, int]) -> bytes:
    """Bucket counts as bytes; empty buckets are left out."""
    out = bytearray()
    before = 0
    for bucket in sorted(bucket for bucket, count in counts.items() if count):
        for number in (bucket - before, counts[bucket]):
            rest = number
            while rest > 127:
                out.append(rest & 127 | 128)
                rest >>= 7
            out.append(rest)
        before = bucket
    return bytes(out)


def decode(encoded: bytes) -> dict[int, int]:
    """Bucket counts of `encode`'s bytes. ValueError where `encode` cannot have written them."""
    return dict(_pairs(encoded))


def counted(encoded: Sequence[bytes]) -> tuple[int, int]:
    """(samples, bucket of their p95) of several sketches together. ValueError as `decode`."""
    counts: Counter[int] = Counter()
    samples = 0
    for one in encoded:
        for bucket, count in _pairs(one):
            counts[bucket] += count
            samples += count
            if samples > SAMPLES_MAX:
                raise ValueError(_TOO_LARGE)
    return samples, bucket_p95(counts)


def _pairs(encoded: bytes) -> Iterator[tuple[int, int]]:
    numbers = _numbers(encoded)
    bucket = -1
    for distance in numbers:
        if bucket >= 0 and not distance:
            raise ValueError(_NO_BUCKET)
        bucket = max(bucket, 0) + distance
        if bucket >= len(BOUNDS):
            raise ValueError(_NO_BUCKET)
        count = next(numbers, None)
        if count is None:
            raise ValueError(_CUT_SHORT)
        yield bucket, count


def _numbers(encoded: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in encoded:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            yield number
            number = shift = 0
        elif shift > 56:
            raise ValueError(_TOO_LARGE)
    if shift:
        raise ValueError(_CUT_SHORT)


SAMPLES_MAX = INT64_MAX // 95 - 99  # of which 95 % can still be told in 64 bits
_CUT_SHORT = "the sketch is cut short; replay rollups.partial from its start"
_NO_BUCKET = "the sketch names a bucket that there is not; replay rollups.partial from its start"
_TOO_LARGE = "a number of the sketch is too large; replay rollups.partial from its start"
FAULTS = (_CUT_SHORT, _NO_BUCKET, _TOO_LARGE)
