# Layout of the compiled twin: layout.SAMPLE and layout.WINDOW as structs, and what the state is of.

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t

cdef enum:
    NONE = -1     # no place
    LEVELS = 3    # rack, site, hub
    FEW = 19      # samples of a window without a sketch: below 20 the p95 is the largest
    GATHERED = 16 # samples that a cell gathers before its windows are told

cdef enum:  # layout.Outcome
    ACCEPTED = 0
    DUPLICATE = 1
    SUPERSEDED = 2
    LATE = 3
    OTHER_UNIT = 4
    OVERFLOW = 5

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

cdef struct Saved:  # layout.SAVED
    int64_t start_ms
    int64_t end_ms
    int64_t revision
    int64_t quantity
    int32_t meter
    int32_t register_
    int32_t source
    int32_t site
    int32_t rack
    int32_t hub
    int32_t kind
    int32_t unit

cdef enum:  # of Held.rest
    SAMPLED = 1   # it is the one that counts in its slot
    ENERGY = 2    # its quantity is an energy in mJ: the sample is its mean power
    APART = 4     # in place of a length: there is an Apart of it, and which
    KIND = 3      # where the place of its kind begins
    LENGTH = 5    # where the length begins, in ms; up to 37 hours
    APARTS = 1 << 27

cdef struct Held:  # a Sample in the state, in half a line of the cache; the rest is in what it names
    int64_t end_ms
    int64_t quantity  # what its sample and its energy are made of
    int32_t series
    int32_t cell
    int32_t before    # next older reading of the same cell; -1 at the end
    uint32_t rest

cdef struct Apart:  # what few readings have; the others are of their series' source and stand alone
    int64_t start_ms
    int64_t revision
    int32_t source
    int32_t link      # next older reading of the same instant (series, end); -1 at the end

cdef struct Series:  # the readings of one meter and register
    int64_t latest_ms   # the largest end
    int32_t meter
    int32_t register_
    int32_t source      # that of the first
    int32_t cell        # that of the last one accepted; -1 at first
    int32_t other       # next series of the same meter
    int32_t listed_by   # the last save that listed its meter and source

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

cdef struct Counts:  # a sketch, once its window has more than FEW samples
    int32_t low      # first bucket of the array
    int32_t room     # buckets of the array
    int32_t zeros    # count of bucket 0, which is far from all others
    int32_t[1] of    # counts of the buckets from `low` on

cdef struct Window:  # in one line of the cache: what it is of is in its first cell
    int64_t sum
    int64_t energy_mj
    int64_t min
    int64_t max
    Counts* counts      # NULL for few samples: those can be looked up
    int32_t count
    uint32_t revision   # readings of its slots, which are fewer than 2**31
    int32_t touched_by  # the last batch that touched it
    int32_t first       # its oldest cell
    int32_t cells       # its newest cell
    uint8_t level
    uint8_t unit
    uint8_t narrowed    # lost a sample that was its smallest or largest

cdef struct Cell:  # what readings of one place, register, unit and window share: where their windows are
    int64_t window_ms
    int32_t site
    int32_t rack
    int32_t hub
    int32_t register_
    uint8_t levels
    uint8_t unit
    uint8_t several         # whether it has had more than one reading
    int32_t gathered        # its samples that the windows do not have yet; -1 for none
    int32_t newest          # reading
    int32_t[LEVELS] places  # windows by level; -1 where it is in none
    int32_t[LEVELS] others  # by level: next older cell of the same window
    int32_t track           # of its site, register and rack

cdef struct Track:  # the cells of one site, register and rack
    int64_t latest_ms  # the last window that has one
    int32_t cell       # the newest of that window; -1 before there is any
    int32_t site
    int32_t register_
    int32_t rack
    int32_t listed_by   # the last save that listed these

cdef struct Recent:  # a window of a site or hub that was looked for, to be known at once
    int64_t window_ms
    int32_t place
    int32_t register_
    int32_t level  # 0 for none
    int32_t window

cdef struct Gathered:  # samples of a cell, on their way to its windows
    int32_t cell
    int32_t size
    int64_t sum
    int64_t energy_mj
    int64_t min
    int64_t max
    int16_t[GATHERED] buckets
