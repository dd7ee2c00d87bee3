"""Settlement lines and the signed tree heads that they will be proved by."""

from schemas.topic import BINARY, INT64, SYMBOL, TEXT, Column, Topic

SETTLEMENT = Topic(
    "settlement",
    "Priced usage of one meter and period; the highest revision of a line wins.",
    (
        Column("line_id", TEXT, "run/account/meter/register/start_ms"),
        Column("run", SYMBOL, "P (preliminary), S1, S2 or F (final)"),
        Column("account_id", SYMBOL, "who pays"),
        Column("meter_id", SYMBOL, "registered meter"),
        Column("register", SYMBOL, "what the meter counts"),
        Column("start_ms", INT64, "period start, UTC, inclusive", "ms"),
        Column("end_ms", INT64, "period end, UTC, exclusive", "ms"),
        Column("revision", INT64, "accepted readings and tariff changes in the period so far"),
        Column("quantity_mj", INT64, "energy of the period", "mJ"),
        Column("estimated_mj", INT64, "of it, estimated", "mJ"),
        Column("slots_expected", INT64, "intervals the period should have"),
        Column("slots_present", INT64, "intervals it has"),
        Column("price_micro_per_kwh", INT64, "of the tariff", "1e-6 currency/kWh"),
        Column("amount_micro", INT64, "quantity x price, rounded once", "1e-6 currency"),
        Column("currency", SYMBOL, "ISO 4217"),
        Column("tariff_id", SYMBOL, "the tariff entry applied"),
        Column("share_ppm", INT64, "of the amount that is this account's", "ppm"),
        Column("charge_class", SYMBOL, "usage; correction once a reading or price was replaced"),
        Column("corrects_line", TEXT, "the line whose lower revisions it replaces", required=False),
        Column("input_root", BINARY, "Merkle root of the readings", required=False),
    ),
    key=("line_id",),
    partitions=2,
    partition_by="account_id",
    written_by=("settle",),
    read_by=("deliver",),
)

CHECKPOINTS = Topic(
    "checkpoints",
    "Signed tree heads over telemetry.in as received (RFC 9162).",
    (
        Column("topic", SYMBOL, "source topic"),
        Column("partition", INT64, "source partition"),
        Column("tree_size", INT64, "entries"),
        Column("root_hash", BINARY, "SHA-256 Merkle root"),
        Column("event_ms", INT64, "event time of the last entry, UTC", "ms"),
        Column("key_id", SYMBOL, "registered signing key"),
        Column("signature", BINARY, "Ed25519"),
    ),
    key=("topic", "partition", "tree_size"),
    partitions=1,
    written_by=("audit",),
    read_by=("verify",),
)
