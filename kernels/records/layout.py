"""Places in a Kafka record batch of format v2, and the columns that the walks fill.

    BaseOffset i64 | Length i32 | LeaderEpoch i32 | Magic i8 | CRC u32 | Attributes i16
    | LastOffsetDelta i32 | FirstTimestamp i64 | MaxTimestamp i64 | ProducerId i64
    | ProducerEpoch i16 | BaseSequence i32 | Count i32 | Records

Big-endian. The CRC-32C covers everything from Attributes on. With a compression the records are
one compressed block; without they follow as they are. Attributes: bits 0-2 compression, 3 the
broker's time stands for all records, 4 transactional, 5 control.
"""

from enum import IntEnum

LOG_OVERHEAD = 12  # BaseOffset and Length: what Length does not count
LENGTH_AT = 8
MAGIC_AT = 16
CRC_AT = 17
ATTRIBUTES_AT = 21
RECORDS_AT = 61
MAGIC = 2
RECORD_MIN_BYTES = 7  # length, attributes, two deltas, key, value, header count: a byte each

CODEC = 0x07
APPEND_TIME = 0x08
TRANSACTIONAL = 0x10
CONTROL = 0x20


class Batch(IntEnum):
    """Columns of the walk over batches; *_at are places in the bytes walked."""

    FIRST_AT = 0
    RECORDS_AT = 1
    END_AT = 2
    BASE_OFFSET = 3
    NEXT_OFFSET = 4
    CRC = 5
    ATTRIBUTES = 6
    FIRST_MS = 7
    MAX_MS = 8
    PRODUCER = 9
    COUNT = 10


class Row(IntEnum):
    """Columns of the walk over records; *_AT and *_SIZE are ranges of one buffer, size -1 = null.

    The headers' range begins behind their count.
    """

    OFFSET = 0
    TIMESTAMP_MS = 1
    KEY_AT = 2
    KEY_SIZE = 3
    VALUE_AT = 4
    VALUE_SIZE = 5
    HEADERS_AT = 6
    HEADERS_SIZE = 7


class Fault(IntEnum):
    """What stopped a walk."""

    NONE = 0
    MAGIC = 1
    LENGTH = 2
    COUNT = 3
    RECORD = 4
