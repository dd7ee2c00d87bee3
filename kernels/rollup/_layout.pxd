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
    uint8_t fault

cdef struct Held:  # a Sample in the state, in one line of the cache: the rest is in its cell
    int64_t start_ms
    int64_t end_ms
    int64_t revision
    int64_t sample
    int64_t energy_mj
    int32_t meter
    int32_t source
    int32_t bucket
    int32_t cell
    int32_t link      # next older reading of the same instant (meter, register, end); -1 at the end
    uint8_t kind
    uint8_t unit
    uint8_t sampled   # whether it is the one that counts in its slot
    uint8_t spare

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
    int32_t count

cdef struct Sketch:  # few buckets as a list, many as an array
    Bucket* listed      # ascending, none empty; NULL once it is an array
    int32_t* counts     # of the buckets from `low` on, but for bucket 0
    int32_t used        # buckets of the list
    int32_t room        # of the list or the array
    int32_t low
    int32_t zeros       # count of bucket 0, which is far from all others

cdef struct Window:
    Row row
    Sketch sketch
    int32_t touched_by  # the last batch that touched it
    bint narrowed       # lost a sample that was its smallest or largest

cdef struct Cell:  # what readings of one place, register and window share: where their windows are
    int64_t window_ms
    int32_t site
    int32_t rack
    int32_t hub
    int32_t register_
    int32_t[3] places   # by level; -1 where it is in none
    uint8_t levels
