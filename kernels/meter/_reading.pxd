"""One reading as the compiled loops hold it."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t


cdef struct Reading:  # layout.READING
    int64_t start_ms
    int64_t end_ms
    int64_t revision
    int64_t quantity
    int64_t epoch
    int64_t received_ms
    int64_t rating_w
    int64_t register_modulus
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
