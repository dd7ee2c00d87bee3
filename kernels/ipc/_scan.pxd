"""A message's metadata against its template, and where its buffers are: nothing is unpacked here.

A message is as laid out where the template with the message's own numbers in it is the message.
Then they are checked: a row count a node, nothing null, buffers one behind the other in the body.
"""

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcmp, memcpy

from kernels.ipc._unlz4 cimport MOST

cdef enum:
    ENTRY = 16  # of a node: length, null count; of a buffer: offset, length
    SIZE = 8  # before a buffer: what it is uncompressed
    SPARE = 64  # bytes of padding that a column may bring along
    INT32_MAX = 0x7FFFFFFF


cdef struct Laid:  # a layout.Message, and its counts of nodes and of buffers
    const char* bytes
    Py_ssize_t size, body_bytes, rows, nodes, buffers
    Py_ssize_t node_count, buffer_count


cdef struct Part:  # a buffer of one value
    const uint8_t* data
    int64_t size  # bytes there
    int64_t plain  # bytes that they stand for
    bint raw
    int64_t rows  # of its message


cdef struct Scan:
    const char* at
    const char* end
    char* filled  # room for the longest template
    int64_t rows
    const char* entry  # of the next buffer
    const char* body
    int64_t body_bytes, used


cdef inline int64_t number_at(const char* at) noexcept nogil:
    cdef int64_t number
    memcpy(&number, at, 8)
    return number


cdef inline bint opened(const Laid* laid, Scan* scan) noexcept nogil:
    """Whether the next message is as laid out, has rows and no null; the scan is in it then."""
    cdef const char* at = scan.at
    cdef Py_ssize_t node
    if scan.end - at < laid.size:
        return False
    memcpy(scan.filled, laid.bytes, laid.size)
    memcpy(scan.filled + laid.body_bytes, at + laid.body_bytes, 8)
    memcpy(scan.filled + laid.rows, at + laid.rows, 8)
    memcpy(scan.filled + laid.nodes, at + laid.nodes, ENTRY * laid.node_count)
    memcpy(scan.filled + laid.buffers, at + laid.buffers, ENTRY * laid.buffer_count)
    if memcmp(scan.filled, at, laid.size):
        return False
    scan.rows = number_at(at + laid.rows)
    scan.body_bytes = number_at(at + laid.body_bytes)
    if not 0 < scan.rows < INT32_MAX:
        return False
    for node in range(laid.node_count):
        if number_at(at + laid.nodes + ENTRY * node) != scan.rows:
            return False
        if number_at(at + laid.nodes + ENTRY * node + 8) != 0:
            return False
    scan.entry = at + laid.buffers
    scan.body = at + laid.size
    scan.used = 0
    if not 0 <= scan.body_bytes <= scan.end - scan.body:
        return False
    scan.at = scan.body + scan.body_bytes
    return True


cdef inline bint ended(const Scan* scan) noexcept nogil:
    """Whether the message's buffers are all of its body."""
    return scan.used == scan.body_bytes


cdef inline bint no_buffer(Scan* scan) noexcept nogil:
    """Whether the next buffer is none: the bits of a column without a null."""
    cdef const char* entry = scan.entry
    scan.entry += ENTRY
    return number_at(entry) == scan.used and number_at(entry + 8) == 0


cdef inline bint buffer(Scan* scan, Part* part, int64_t least, int64_t most) noexcept nogil:
    """Whether the next buffer is in the body and stands for so many bytes."""
    cdef int64_t size = number_at(scan.entry + 8)
    if number_at(scan.entry) != scan.used or not 0 <= size <= scan.body_bytes - scan.used:
        return False
    part.rows = scan.rows
    part.data = <const uint8_t*>scan.body + scan.used + SIZE
    part.size = size - SIZE
    part.raw = True
    part.plain = 0
    if size > 0:
        if size < SIZE:
            return False
        part.plain = number_at(scan.body + scan.used)
        if part.plain == -1:
            part.plain = part.size
        elif not 0 < part.plain <= MOST * part.size:
            return False
        else:
            part.raw = False
    scan.entry += ENTRY
    scan.used += (size + 7) & ~<int64_t>7
    return least <= part.plain <= most and scan.used <= scan.body_bytes


cdef inline bint same(const Part* one, const Part* other) noexcept nogil:
    """Whether two buffers are byte for byte; they are unpacked to the same then."""
    return (
        one.rows == other.rows
        and one.size == other.size
        and one.plain == other.plain
        and one.raw == other.raw
        and (one.plain == 0 or memcmp(one.data, other.data, one.size) == 0)
    )
