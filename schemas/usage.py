"""Usage and rollups: interval energy per meter, and windows by rack, site and hub.

A usage row is known by its end: a late counter reading splits the interval [a, c) into [a, b) and
[b, c), and the row that ends at c must then replace the longer one, or [a, b) would count twice.
So start_ms is part of the row's value, not of its key.
"""

from schemas.topic import BINARY, FLOAT64, INT32, INT64, SYMBOL, Column, Topic

USAGE = Topic(
    "usage",
    "Metered intervals: the highest revision of a (meter, register, kind, end) wins.",
    (
        Column("meter_id", SYMBOL, "registered meter"),
        Column("register", SYMBOL, "what the meter counts"),
        Column("kind", SYMBOL, "delta or register: an amount; gauge: a level"),
        Column("start_ms", INT64, "interval start, UTC, inclusive", "ms"),
        Column("end_ms", INT64, "interval end, UTC, exclusive", "ms"),
        Column("quantity", INT64, "of the interval", "mJ mW mK ppm"),
        Column("unit", SYMBOL, "mJ, mW, mK or ppm"),
        Column("quality", SYMBOL, "ACTUAL, ESTIMATE, QUESTIONABLE or RESET"),
        Column("revision", INT64, "accepted readings that the row rests on so far"),
        Column("epoch", INT64, "counter generation"),
        Column("site_id", SYMBOL, "data centre"),
        Column("hub_id", SYMBOL, "hub of the national network"),
        Column("account_id", SYMBOL, "who pays"),
        Column("received_ms", INT64, "of the reading that decided", "ms"),
    ),
    key=("meter_id", "register", "kind", "end_ms"),
    partitions=4,
    partition_by="account_id",
    written_by=("meter",),
    read_by=("settle", "deliver"),
)

_WINDOW = (
    Column("level", SYMBOL, "rack, site or hub"),
    Column("id", SYMBOL, "rack, site or hub id (a rack's is site/rack)"),
    Column("hub_id", SYMBOL, "hub of the national network"),
    Column("register", SYMBOL, "what is counted; pue for the quotient"),
    Column("unit", SYMBOL, "of min, max, sum: mW for energy and power, mK, ppm"),
    Column("start_ms", INT64, "window start, UTC, inclusive", "ms"),
    Column("end_ms", INT64, "window end, UTC, exclusive", "ms"),
    Column("revision", INT64, "accepted readings in the window so far"),
    Column("count", INT64, "readings"),
    Column("sum", INT64, "of the samples"),
    Column("min", INT64, "smallest sample"),
    Column("max", INT64, "largest sample"),
    Column("energy_mj", INT64, "sum of the interval energies", "mJ"),
)

ROLLUPS_PARTIAL = Topic(
    "rollups.partial",
    "What one readings partition knows of a site or hub window; mergeable in any order.",
    (
        *_WINDOW,
        Column("partition", INT32, "readings partition that this part is of"),
        Column("sketch", BINARY, "DDSketch of the samples, relative error 1 %"),
    ),
    key=("level", "id", "register", "start_ms", "partition"),
    partitions=2,
    partition_by="hub_id",
    written_by=("rollup",),
    read_by=("rollup",),
)

ROLLUPS = Topic(
    "rollups",
    "Windows by rack, site and hub: mean, min, max, p95, energy, PUE.",
    (
        *_WINDOW,
        Column("mean", FLOAT64, "sum / count"),
        Column("p95", FLOAT64, "95th percentile, relative error 1 %"),
        Column("pue_ppm", INT64, "facility energy / IT energy; on register pue", "ppm", False),
    ),
    key=("level", "id", "register", "start_ms"),
    partitions=2,
    partition_by="hub_id",
    written_by=("rollup",),
    read_by=("deliver",),
)
