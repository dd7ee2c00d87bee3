"""Telemetry: what devices send (telemetry.in) and what the pipeline makes of it (readings)."""

from schemas.topic import INT32, INT64, SYMBOL, TEXT, Column, Topic

# Registers with a meaning of their own: PUE = facility energy / IT energy of the same window.
IT_ENERGY = "it.energy"
FACILITY_ENERGY = "facility.energy"
PUE = "pue"  # of the rollups' rows of that quotient; no device may send it

KINDS = ("delta", "register", "gauge")
QUALITIES = ("ACTUAL", "ESTIMATE", "QUESTIONABLE")

TELEMETRY_IN = Topic(
    "telemetry.in",
    "Device events as received: a JSON object, NDJSON, a CloudEvent, or an Arrow batch.",
    (
        Column("meter_id", SYMBOL, "registered meter"),
        Column("register", SYMBOL, "what the meter counts, e.g. it.energy"),
        Column("kind", SYMBOL, "delta, register (counter at the interval's end) or gauge"),
        Column("start_ms", INT64, "interval start, UTC, inclusive", "ms"),
        Column("end_ms", INT64, "interval end, UTC, exclusive", "ms"),
        Column("quantity", TEXT, "number or decimal string, in `unit`; not negative"),
        Column("unit", SYMBOL, "mJ J Wh kWh MWh, mW W kW MW, mK K Cel, ppm % 1"),
        Column("revision", INT64, "0 first, higher replaces lower", required=False),
        Column("quality", SYMBOL, "ACTUAL, ESTIMATE or QUESTIONABLE", required=False),
        Column("epoch", INT64, "counter generation, a reset begins a new one", required=False),
        Column("source", SYMBOL, "who measured; the CloudEvents source if absent", required=False),
    ),
    key=("source", "meter_id", "register", "start_ms", "end_ms", "revision"),
    partitions=4,
    form="json",
    written_by=("devices",),
    read_by=("ingest",),
)

# Where a row came from: its identity through every crash, replay and re-batching.
SOURCE_COLUMNS = (
    Column("source", SYMBOL, "who measured"),
    Column("source_partition", INT32, "partition of the input topic"),
    Column("source_offset", INT64, "offset of the input message"),
    Column("source_row", INT32, "row within that message"),
    Column("received_ms", INT64, "Kafka timestamp of the input message, UTC", "ms"),
    Column("registry_offset", INT64, "the registry as known when it was admitted"),
)

READINGS = Topic(
    "readings",
    "Validated readings in base units, with site, rack, hub and account resolved.",
    (
        Column("meter_id", SYMBOL, "registered meter"),
        Column("register", SYMBOL, "what the meter counts"),
        Column("kind", SYMBOL, "delta, register or gauge"),
        Column("start_ms", INT64, "interval start, UTC, inclusive", "ms"),
        Column("end_ms", INT64, "interval end, UTC, exclusive", "ms"),
        Column("quantity", INT64, "of the interval, or the register at its end", "mJ mW mK ppm"),
        Column("unit", SYMBOL, "mJ, mW, mK or ppm"),
        Column("revision", INT64, "higher replaces lower"),
        Column("quality", SYMBOL, "ACTUAL, ESTIMATE or QUESTIONABLE"),
        Column("epoch", INT64, "counter generation"),
        Column("site_id", SYMBOL, "data centre"),
        Column("rack_id", SYMBOL, "rack; empty for a meter of the whole site"),
        Column("hub_id", SYMBOL, "hub of the national network"),
        Column("account_id", SYMBOL, "who pays"),
        *SOURCE_COLUMNS,
    ),
    key=("source", "meter_id", "register", "start_ms", "end_ms", "revision"),
    partitions=4,
    partition_by="site_id",
    written_by=("ingest",),
    read_by=("meter", "rollup"),
)
