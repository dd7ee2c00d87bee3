"""Decisions of one tick of one domain: dispatch, placements, prices, signals and alerts."""

from schemas.topic import BOOL, DOMAINS_MAX, FLOAT64, INT64, SYMBOL, TEXT, Column, Topic

_TICK = (
    Column("tick_ms", INT64, "the tick, UTC", "ms"),
    Column("domain", SYMBOL, "scheduling domain"),
)
_REVISION = Column("revision", INT64, "0 = the tick's own; above it, late input planned it again")
_STEP = (
    _REVISION,
    Column("start_ms", INT64, "step start, UTC, inclusive", "ms"),
    Column("end_ms", INT64, "step end, UTC, exclusive", "ms"),
)
_PROOF = (
    Column("objective", FLOAT64, "cost of the tick's plan", "currency"),
    Column("lower_bound", FLOAT64, "no plan can cost less: from prices alone", "currency"),
    Column("gap_rel", FLOAT64, "(objective - lower bound) / scale", "1"),
)


def _decision(name: str, doc: str, columns: tuple[Column, ...], key: tuple[str, ...]) -> Topic:
    return Topic(
        name,
        doc,
        (*_TICK, *columns),
        key=("domain", *key),
        partitions=DOMAINS_MAX,
        partition_by="domain",
        written_by=("dispatch",),
        read_by=("deliver",),
    )


_ENERGIES = (
    ("load_mj", "load that is not compute jobs"),
    ("compute_mj", "matched compute jobs, facility side"),
    ("ren_avail_mj", "wind and solar available; = used + curtailed"),
    ("ren_used_mj", "wind and solar used"),
    ("curtailed_mj", "wind and solar not used"),
    ("supply_mj", "local generators"),
    ("import_mj", "bought from the grid"),
    ("export_mj", "sold to the grid"),
    ("charge_mj", "into storage"),
    ("discharge_mj", "out of storage"),
    ("soc_mj", "in storage at the step's end"),
    ("flex_mj", "deferrable load served"),
    ("shed_mj", "load not served"),
    ("link_in_mj", "arrived over links"),
    ("link_out_mj", "sent over links"),
)

DISPATCH = _decision(
    "dispatch",
    "Source-grid-load-storage plan: a row a region and step; step_index 0 is what is carried out.",
    (
        Column("region", SYMBOL, "region of the grid"),
        Column("step_index", INT64, "0 = now"),
        *_STEP,
        *(Column(name, INT64, doc, "mJ") for name, doc in _ENERGIES),
        Column("emissions_g", INT64, "of imports and supply", "g CO2"),
        *_PROOF,
        Column("method", SYMBOL, "how it was solved"),
        Column("status", SYMBOL, "OK or what is special, joined by |"),
    ),
    key=("tick_ms", "region", "step_index"),
)

PLACEMENTS = _decision(
    "placements",
    "Which job runs where and when, or why not; the latest tick of a job wins.",
    (
        Column("job_id", TEXT, "the job"),
        Column("account_id", SYMBOL, "tenant"),
        Column("state", SYMBOL, "placed (starts now), planned (starts later) or rejected"),
        Column("site_id", SYMBOL, "where", required=False),
        Column("start_ms", INT64, "when it starts, UTC", "ms", required=False),
        Column("end_ms", INT64, "when it ends, UTC", "ms", required=False),
        Column("reason", SYMBOL, "reason code of the match"),
        Column("detail", TEXT, "the binding constraint, or field and value of a bad row"),
        Column("cost_micro", INT64, "energy, carbon, transfer and migration", "1e-6 currency"),
        *_PROOF,
        _REVISION,
    ),
    key=("job_id",),
)

PRICES = _decision(
    "prices",
    "Marginal prices of the tick, rounded once.",
    (
        Column(
            "product",
            SYMBOL,
            "energy; a site's cores, accel, power, network or green; a quota's: quota_cores ... "
            "quota_jobs",
        ),
        Column("id", SYMBOL, "region, site or quota"),
        *_STEP,
        Column(
            "price_micro",
            INT64,
            "per MWh; per 1000 units of a site or quota; per job",
            "1e-6 currency",
        ),
    ),
    key=("tick_ms", "product", "id", "start_ms"),
)

SIGNALS = _decision(
    "signals",
    "Green signal of a region's step: what energy operators act on.",
    (
        Column("region", SYMBOL, "region of the grid"),
        *_STEP,
        Column("green_surplus_mj", INT64, "wind and solar beyond the load", "mJ"),
        Column("curtailed_mj", INT64, "wind and solar not used", "mJ"),
        Column(
            "curtailment_avoided_mj", INT64, "taken by storage, flexible load, jobs, links", "mJ"
        ),
        Column("ren_share_ppm", INT64, "renewable used / load", "ppm"),
        Column("cfe_hourly_ppm", INT64, "carbon-free share of the load of the step's hour", "ppm"),
        Column("price_micro", INT64, "energy price", "1e-6 currency/MWh"),
        Column("ci_average_mg_per_kwh", INT64, "average carbon of the load", "mg/kWh"),
        Column("ci_marginal_mg_per_kwh", INT64, "carbon of one more kWh", "mg/kWh"),
        Column("flex_min_mj", INT64, "deferrable load asked at least", "mJ"),
        Column("flex_max_mj", INT64, "deferrable load welcome at most", "mJ"),
        Column("flex_deadline_ms", INT64, "until when, UTC", "ms", required=False),
        Column("gap_rel", FLOAT64, "of the tick's balance", "1"),
        Column("status", SYMBOL, "of the tick's balance"),
        Column("stale_inputs", BOOL, "the region's newest state is older than the tick"),
    ),
    key=("tick_ms", "region", "start_ms"),
)

ALERTS = _decision(
    "alerts",
    "Raised once, cleared once: the row with cleared_ms replaces the one without.",
    (
        _REVISION,
        Column(
            "kind", SYMBOL, "SHED, FLEX_UNMET, STALE_INPUTS, OUTAGE, BAD_INPUT or another status"
        ),
        Column("id", SYMBOL, "region or site"),
        Column("raised_ms", INT64, "UTC", "ms"),
        Column("cleared_ms", INT64, "UTC", "ms", required=False),
        Column("detail", TEXT, "what and how much"),
    ),
    key=("kind", "id", "raised_ms"),
)
