"""One reading as the compiled loops hold it, and as layout.READING has it."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:  # a place in layout.KINDS
    REGISTER = 1


cdef struct Reading:  # layout.READING without the rates, which only a counter's has
    int64_t start_ms
    int64_t end_ms
    int64_t revision
    int64_t quantity
    int64_t epoch
    int64_t received_ms
    int32_t meter
    int32_t register_
    int32_t source
    int32_t site
    int32_t hub
    int32_t account
    int32_t slot
    uint8_t kind
    uint8_t unit
    uint8_t quality
    uint8_t spare


cdef struct Rates:  # 0 for what is no counter
    int64_t rating_w
    int64_t register_modulus


cdef struct Row:  # layout.READING: the numbers, the rates, the codes
    int64_t[6] numbers
    Rates rates
    int32_t[8] codes


cdef inline void to_row(const Reading* reading, Rates rates, Row* row) noexcept nogil:
    memcpy(row.numbers, reading, sizeof(row.numbers))
    row.rates = rates
    memcpy(row.codes, &reading.meter, sizeof(row.codes))


cdef inline void of_row(const Row* row, Reading* reading) noexcept nogil:
    memcpy(reading, row.numbers, sizeof(row.numbers))
    memcpy(&reading.meter, row.codes, sizeof(row.codes))


cdef enum:
    NEIGHBOURS = 8  # meters whose tags are side by side: their entries are one line of the cache


cdef inline uint32_t tag_of(const Reading* reading) noexcept nogil:
    """A hash of the reading's instant: meter, register and end.

    Its low bits are the meter's own, for a batch mostly brings meters in the order of their codes.
    """
    cdef uint64_t h = <uint64_t>reading.end_ms * <uint64_t>0x9E3779B97F4A7C15
    cdef uint32_t meter = <uint32_t>reading.meter
    h ^= (<uint64_t>(meter // NEIGHBOURS) << 32) | <uint64_t><uint32_t>reading.register_
    h ^= h >> 32
    h *= <uint64_t>0xD6E8FEB86659FD93
    return (<uint32_t>(h >> 32) & ~<uint32_t>(NEIGHBOURS - 1)) | (meter & (NEIGHBOURS - 1))
