# Layout of the compiled twin: layout.SAMPLE and layout.WINDOW as structs, and a window's sketch.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t

cdef struct Sample:  # layout.SAMPLE
    int64_t start_ms
    int64_t end_ms
    int64_t window_ms
    int64_t revision
    int64_t sample
    int64_t energy_mj
    int32_t meter
    int32_t register_
    int32_t source
    int32_t site
    int32_t rack
    int32_t hub
    int32_t bucket
    uint8_t kind
    uint8_t unit
    uint8_t levels
    uint8_t fault  # in a batch: why it cannot be a sample; in the state: whether it is sampled

cdef struct Row:  # layout.WINDOW
    int64_t start_ms
    int64_t revision
    int64_t count
    int64_t sum
    int64_t min
    int64_t max
    int64_t energy_mj
    int32_t site
    int32_t rack
    int32_t hub
    int32_t register_
    int32_t p95_bucket
    uint8_t level
    uint8_t unit
    uint16_t spare

cdef struct Bucket:
    int32_t bucket
    int64_t count

cdef struct Window:
    Row row
    Bucket* buckets
    int32_t used
    int32_t room
    int32_t touched_by  # the last batch that touched it
    bint narrowed       # lost a sample that was its smallest or largest
