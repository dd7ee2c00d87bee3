"""Market: what grid operators, sites and tenants offer and ask (market.in, market).

One wide table, a `kind` a row; the columns a kind needs are in MARKET_KINDS. One scheduling domain
is one partition of `market`, so that a tick sees the same rows in the same order on every replay.
"""

from schemas.telemetry import SOURCE_COLUMNS
from schemas.topic import DOMAINS_MAX, FLOAT64, INT64, SYMBOL, TEXT, Column, Topic

JOB_CLASSES = ("general", "intelligent", "super")
PRECISIONS = ("fp64", "fp32", "fp16", "int8")
RATES = tuple(f"rate_{name}_ppm" for name in PRECISIONS)
RATE_MAX_PPM = 1_000_000_000

_COMMON = (
    Column("kind", SYMBOL, "region, storage, supply, link, path, offer, outage, job or request"),
    Column("domain", SYMBOL, "scheduling domain: national, a hub or a city"),
    Column("id", TEXT, "of the thing: region, storage, unit, link, site or job"),
    Column("start_ms", INT64, "valid or released from, UTC", "ms", required=False),
    Column("end_ms", INT64, "valid until, or a job's deadline, UTC, exclusive", "ms", False),
)
_GRID = (
    Column("region", SYMBOL, "region of the grid; a link's or path's from", required=False),
    Column("to_region", SYMBOL, "a link's or path's to", required=False),
    Column("load_mw", FLOAT64, "load that is not compute jobs", "MW", False),
    Column("ren_avail_mw", FLOAT64, "wind and solar available", "MW", False),
    Column("import_max_mw", FLOAT64, "import limit", "MW", False),
    Column("export_max_mw", FLOAT64, "export limit", "MW", False),
    Column("import_price_per_mwh", FLOAT64, "import price", "currency/MWh", False),
    Column("export_price_per_mwh", FLOAT64, "export price", "currency/MWh", False),
    Column("ci_kg_per_kwh", FLOAT64, "carbon of imports, or of a supply unit", "kg/kWh", False),
    Column(
        "grid_cfe_ppm", INT64, "carbon-free share of what the grid sells; 0 unsaid", "ppm", False
    ),
    Column("cap_mw", FLOAT64, "of a supply unit or link", "MW", False),
    Column("cost_per_mwh", FLOAT64, "of a supply unit; a link's tariff", "currency/MWh", False),
    Column("loss", FLOAT64, "share of a link's flow that is lost", "1", False),
    Column("charge_max_mw", FLOAT64, "storage", "MW", False),
    Column("discharge_max_mw", FLOAT64, "storage", "MW", False),
    Column("eta_charge", FLOAT64, "storage efficiency in", "1", False),
    Column("eta_discharge", FLOAT64, "storage efficiency out", "1", False),
    Column("soc_mwh", FLOAT64, "state of charge at start_ms", "MWh", False),
    Column("soc_min_mwh", FLOAT64, "storage", "MWh", False),
    Column("soc_max_mwh", FLOAT64, "storage", "MWh", False),
    Column("wear_per_mwh", FLOAT64, "cost of discharging", "currency/MWh", False),
    Column("terminal_value_per_mwh", FLOAT64, "of what is left", "currency/MWh", False),
    Column("energy_mwh", FLOAT64, "a flexible load request's energy until end_ms", "MWh", False),
    Column("power_max_mw", FLOAT64, "a flexible load request's limit", "MW", False),
    Column("reserve_up_mw", FLOAT64, "of the import limit, kept free", "MW", False),
    Column("reserve_up_ppm", INT64, "the same, as a share of load_mw; both add up", "ppm", False),
    Column("reserve_down_mw", FLOAT64, "of the export limit, kept free", "MW", False),
    Column("reserve_down_ppm", INT64, "the same, as a share of ren_avail_mw", "ppm", False),
)
_COMPUTE = (
    Column("cores_milli", INT64, "cores offered or asked", "1/1000 core", False),
    Column("accel_milli", INT64, "accelerators offered or asked", "1/1000", False),
    Column("power_w", INT64, "facility power offered; IT power asked", "W", False),
    Column("network_mbps", INT64, "network offered or asked", "Mbit/s", False),
    Column("green_w", INT64, "green power asked by the job", "W", False),
    Column("pue_ppm", INT64, "of a site", "ppm", False),
    Column("classes", SYMBOL, "classes a site takes, joined by |", required=False),
    *(Column(name, INT64, "speed of a site; 0 = not, null = 1e6", "ppm", False) for name in RATES),
    Column("account_id", SYMBOL, "a job's tenant", required=False),
    Column("class", SYMBOL, "general, intelligent or super", required=False),
    Column("precision", SYMBOL, "fp64, fp32, fp16 or int8; null = fp32", required=False),
    Column("duration_ms", INT64, "a job's run time at rate 1", "ms", False),
    Column("max_rtt_ms", FLOAT64, "a job's latency limit from its region", "ms", False),
    Column("rtt_ms", FLOAT64, "a path's round trip", "ms", False),
    Column("price_per_gb", FLOAT64, "of data over a path; null = 0", "currency/GB", False),
    Column("data_gb", FLOAT64, "moved from data_region to where a job runs", "GB", False),
    Column("data_region", SYMBOL, "region in which a job's data are", required=False),
    Column("residency", SYMBOL, "regions that may hold a job, joined by |", required=False),
    Column("site_id", SYMBOL, "the site a job must run in", required=False),
    Column("apart", TEXT, "group of jobs: no two run at one site at once", required=False),
    Column("together", TEXT, "group of jobs that run as one, at one site", required=False),
    Column("priority", INT64, "0 to 3, lexicographic", required=False),
    Column("reject_cost", FLOAT64, "of not running a job", "currency", False),
)

MARKET_IN = Topic(
    "market.in",
    "What operators, sites and tenants send: JSON, NDJSON, CloudEvents or Arrow.",
    (*_COMMON, *_GRID, *_COMPUTE),
    key=("domain", "kind", "id", "start_ms"),
    partitions=2,
    form="json",
    written_by=("operators", "sites", "tenants"),
    read_by=("ingest",),
)

# The kinds and the columns each of them must fill. `tick` is written by ingest alone; `handed`,
# `held`, `offered`, `returned` and the jobs that a parent hands down by dispatch, with
# source_partition -1.
MARKET_KINDS: dict[str, tuple[str, ...]] = {
    "region": (
        "region",
        "start_ms",
        "end_ms",
        "load_mw",
        "ren_avail_mw",
        "import_max_mw",
        "import_price_per_mwh",
    ),
    "storage": ("region", "charge_max_mw", "discharge_max_mw", "soc_mwh", "soc_max_mwh"),
    "supply": ("region", "cap_mw", "cost_per_mwh"),
    "link": ("region", "to_region", "cap_mw"),
    "path": ("region", "to_region", "rtt_ms"),
    "offer": ("region", "cores_milli", "accel_milli", "power_w"),
    "outage": ("start_ms", "end_ms"),
    "job": ("region", "account_id", "class", "duration_ms", "cores_milli", "power_w"),
    "request": ("region", "start_ms", "end_ms", "energy_mwh", "power_max_mw"),
}
TICK = "tick"
HANDED = "handed"  # a deal of a parent: its id, start_ms its tick, end_ms the end of its horizon
HELD = "held"  # a child's answer to its parent: its id, the most it may use from now on
OFFERED = "offered"  # what a child has for its parent's jobs: its id, start_ms its tick
RETURNED = "returned"  # a job that a child has no place for: the name by which it was handed down

MARKET = Topic(
    "market",
    "Admitted market rows of one scheduling domain a partition, ticks included.",
    (
        *_COMMON,
        *_GRID,
        *_COMPUTE,
        Column(
            "deal",
            TEXT,
            "JSON: schemas.policy.Deal of handed and held, schemas.offer.Offer of offered, "
            "Returned of returned",
            required=False,
        ),
        *SOURCE_COLUMNS,
    ),
    key=("source", "source_partition", "source_offset", "source_row"),
    partitions=DOMAINS_MAX,
    partition_by="domain",
    written_by=("ingest", "dispatch"),
    read_by=("dispatch",),
)
