"""Registry: who may send, what a meter belongs to, what energy costs, who may read.

One JSON entry a record of the compacted topic `registry`, its key kind/id/valid_from_ms. Every
entry is dated: it holds from valid_from_ms until a later entry of the same kind and id.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

import msgspec
import pyarrow as pa

from schemas.errors import RegistryError, shown
from schemas.policy import Fairness, Ms, Quota, Rule, Weights, wrong_in
from schemas.topic import DOMAINS_MAX, FLOAT64, INT32, INT64, SYMBOL, TEXT, Column, Topic

HOUR_MS = 3_600_000
PRICE_MAX_MICRO_PER_KWH = 10**11  # 100,000 a kWh: keeps a line's amount in 64 bits (settle)

# Bounds keep every sum and product of the steps in 64 bits, or in the kernels' 128.
Int64 = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
PriceMicroPerKwh = Annotated[int, msgspec.Meta(ge=0, le=PRICE_MAX_MICRO_PER_KWH)]
Hour = Annotated[int, msgspec.Meta(ge=0, le=24)]
UtcOffsetMs = Annotated[int, msgspec.Meta(ge=-14 * HOUR_MS, le=14 * HOUR_MS)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]

_ID_MAX = 200  # characters; a contract's id is part of a topic's name, at most 249
_TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]+")
_TICK_MAX_MS = 31 * 24 * HOUR_MS
_STEPS_MAX = 10_000


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every entry has: an id, and from when it holds (UTC ms)."""

    id: str
    valid_from_ms: Ms = 0

    @property
    def kind(self) -> str:
        return str(self.__struct_config__.tag)

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.id}/{self.valid_from_ms}"


class Provider(Entry, frozen=True, tag_field="kind", tag="provider"):
    """Who publishes; public_key is Ed25519, base64 (signed sources)."""

    name: str = ""
    public_key: str = ""


class Site(Entry, frozen=True, tag_field="kind", tag="site"):
    """A data centre in a hub."""

    hub_id: str
    name: str = ""


class Meter(Entry, frozen=True, tag_field="kind", tag="meter"):
    """A meter: where it is, who pays, and what of its readings is plausible.

    rating_w bounds register differences (0 = unbounded); register_modulus is the counter's size in
    base units (0 = never rolls over). max_age_ms and max_ahead_ms bound end_ms against receipt.
    """

    site_id: str
    account_id: str
    rack_id: str = ""
    rating_w: Int64 = 0
    register_modulus: Int64 = 0
    max_age_ms: Ms = 48 * HOUR_MS
    max_ahead_ms: Ms = 300_000


class Account(Entry, frozen=True, tag_field="kind", tag="account"):
    """Who pays, by which tariff."""

    tariff_id: str
    name: str = ""


class Band(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Price from an hour of the local day until another (24 = midnight)."""

    from_hour: Hour
    to_hour: Hour
    price_micro_per_kwh: PriceMicroPerKwh


class Tariff(Entry, frozen=True, tag_field="kind", tag="tariff"):
    """Time-of-use tariff: bands cover the 24 hours of the local day without overlap."""

    bands: tuple[Band, ...]
    currency: str = "CNY"
    utc_offset_ms: UtcOffsetMs = 0

    def price_micro_per_kwh(self, at_ms: int) -> int:
        """Price of the band that the moment lies in."""
        hour = (at_ms + self.utc_offset_ms) // HOUR_MS % 24
        return next(b.price_micro_per_kwh for b in self.bands if b.from_hour <= hour < b.to_hour)


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One condition of a row filter; all of a contract's must hold."""

    column: str
    op: Literal["eq", "ne", "lt", "le", "gt", "ge", "in"]
    value: str | int | float | list[str | int]


class Contract(Entry, frozen=True, tag_field="kind", tag="contract"):
    """What a subscriber may read: columns and rows of one topic, until valid_to_ms."""

    subscriber: str
    topic: str
    columns: tuple[str, ...]
    where: tuple[Condition, ...] = ()
    purpose: str = ""
    format: Literal["json", "arrow"] = "json"
    valid_to_ms: Ms | None = None


class Domain(Entry, frozen=True, tag_field="kind", tag="domain"):
    """A scheduling domain: its tick, horizon and weights (money in `currency`, carbon per t).

    parent: the domain that hands it quotas and jobs, and where a site (offer) has its id.
    """

    partition: int
    tick_ms: Ms = HOUR_MS
    steps: int = 24
    voll_per_mwh: NotNegative = 20_000.0
    carbon_price_per_t: NotNegative = 0.0
    currency: str = "CNY"
    parent: str | None = None


class Policy(Entry, frozen=True, tag_field="kind", tag="policy"):
    """What the match of the domain of the same id weighs, prefers, limits and shares out."""

    weights: Weights = Weights()
    rules: tuple[Rule, ...] = ()
    quotas: tuple[Quota, ...] = ()
    fairness: Fairness | None = None


AnyEntry = Provider | Site | Meter | Account | Tariff | Contract | Domain | Policy
KINDS = ("provider", "site", "meter", "account", "tariff", "contract", "domain", "policy")

REGISTRY = Topic(
    "registry",
    "Registered providers, sites, meters, accounts, tariffs, contracts, domains, policies; dated.",
    (
        Column(
            "kind", SYMBOL, "provider, site, meter, account, tariff, contract, domain or policy"
        ),
        Column("id", TEXT, "of the thing"),
        Column("valid_from_ms", INT64, "from when the entry holds, UTC", "ms"),
    ),
    key=("kind", "id", "valid_from_ms"),
    partitions=1,
    form="json",
    compacted=True,
    written_by=("admin",),
    read_by=("ingest", "agents"),
)

# Column type -> what a contract's condition may compare it with.
_COMPARABLE: dict[pa.DataType, tuple[type, ...]] = {
    INT64: (int,),
    INT32: (int,),
    FLOAT64: (int, float),
    SYMBOL: (str,),
    TEXT: (str,),
}

_DECODER: msgspec.json.Decoder[AnyEntry] = msgspec.json.Decoder(AnyEntry)


def parse_entry(value: bytes) -> AnyEntry:
    """One JSON entry, checked. Raises RegistryError that names the field."""
    try:
        entry: AnyEntry = _DECODER.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RegistryError(
            f"registry entry refused: {error}", f"entry was {value[:200]!r}; correct the field"
        ) from None
    if not 0 < len(entry.id) <= _ID_MAX:
        raise RegistryError(
            f"registry entry refused: id {shown(entry.id)}",
            f"use an id of 1 to {_ID_MAX} characters",
        )
    if isinstance(entry, Tariff):
        _check_bands(entry)
    if isinstance(entry, Contract):
        _check_contract(entry)
    if isinstance(entry, Domain):
        _check_domain(entry)
    if isinstance(entry, Policy):
        _check_policy(entry)
    return entry


def format_entry(entry: AnyEntry) -> bytes:
    """The entry as JSON, keys in the order of the class."""
    return msgspec.json.encode(entry)


def _check_bands(tariff: Tariff) -> None:
    hours: list[int] = []
    for band in sorted(tariff.bands, key=lambda b: b.from_hour):
        hours += range(band.from_hour, band.to_hour) or [-1]  # an empty band covers no hour
    if hours != list(range(24)):
        raise RegistryError(
            f"tariff {tariff.id}: bands do not cover hours 0 to 24 once",
            "give bands with from_hour and to_hour that join",
        )


def _check_domain(domain: Domain) -> None:
    if not 0 < domain.tick_ms <= _TICK_MAX_MS or not 0 < domain.steps <= _STEPS_MAX:
        raise RegistryError(
            f"domain {domain.id}: {domain.steps} steps of {domain.tick_ms} ms",
            f"give 1 to {_STEPS_MAX} steps of at most {_TICK_MAX_MS} ms",
        )
    if not 0 <= domain.partition < DOMAINS_MAX:
        raise RegistryError(
            f"domain {domain.id}: partition {domain.partition} is not below {DOMAINS_MAX}",
            "give each domain a partition of its own",
        )
    if domain.parent is not None and (domain.parent == domain.id or not domain.parent):
        raise RegistryError(
            f"domain {domain.id}: parent is {shown(domain.parent)}",
            "name another domain, or none",
        )
    if domain.parent is not None and "/" in domain.id + domain.parent:
        raise RegistryError(
            f"domain {domain.id}: its id or its parent's has a slash",
            "a domain's name is the first part of what it hands on: use no slash in it",
        )


def newest_domains(entries: Iterable[AnyEntry]) -> dict[str, Domain]:
    """The domains among the entries, of each the latest date; of two for one date the later."""
    newest: dict[str, Domain] = {}
    for entry in entries:
        if isinstance(entry, Domain):
            known = newest.get(entry.id, entry)
            newest[entry.id] = entry if entry.valid_from_ms >= known.valid_from_ms else known
    return newest


def check_tree(domains: Mapping[str, Domain]) -> None:
    """Raises RegistryError for a parent that is not among the domains (by id), or a cycle."""
    for domain in domains.values():
        above, line = domain, [domain.id]
        while above.parent is not None:
            line.append(above.parent)
            if above.parent not in domains:
                raise RegistryError(
                    f"domain {above.id}: parent {shown(above.parent)} is not registered",
                    "register the parent with it, or before it",
                )
            if above.parent == domain.id:
                raise RegistryError(
                    f"domain {domain.id}: its parents go round: {' > '.join(line)}",
                    "let one of them have no parent",
                )
            above = domains[above.parent]
            if len(line) > len(domains):
                break  # a cycle above it: its own members say so


def _check_policy(policy: Policy) -> None:
    for field, given, remedy in wrong_in(policy.rules, policy.quotas):
        raise RegistryError(f"policy {policy.id}: {field} is {given}", remedy)


def _check_contract(contract: Contract) -> None:
    from schemas import TOPICS  # the catalogue holds this module's topic too

    topic = TOPICS.get(contract.topic)
    if topic is None or "deliver" not in topic.read_by:
        served = sorted(name for name, t in TOPICS.items() if "deliver" in t.read_by)
        raise RegistryError(
            f"contract {contract.id}: topic {contract.topic!r} is not delivered",
            f"choose one of {', '.join(served)}",
        )
    named = (*contract.columns, *(c.column for c in contract.where))
    unknown = [name for name in named if name not in topic.by_name]
    if unknown or not contract.columns:
        raise RegistryError(
            f"contract {contract.id}: {topic.name} has no column {unknown or '(none given)'}",
            f"choose from {', '.join(topic.by_name)}",
        )
    if len(set(contract.columns)) < len(contract.columns):
        raise RegistryError(f"contract {contract.id}: a column is named twice", "name it once")
    if not _TOPIC_NAME.fullmatch(contract.id):
        raise RegistryError(
            f"contract {contract.id}: its id names a topic",
            "use letters, digits, dot, dash and underscore",
        )
    for condition in contract.where:
        _check_condition(contract, condition, topic.by_name[condition.column].type)


def _check_condition(contract: Contract, condition: Condition, type_: pa.DataType) -> None:
    """A filter that cannot be applied to its column would stop the topic's delivery to all."""
    listed = isinstance(condition.value, list)
    values = condition.value if isinstance(condition.value, list) else [condition.value]
    fits = _COMPARABLE.get(type_, ())
    sound = listed == (condition.op == "in") and all(isinstance(v, fits) for v in values)
    if sound:
        try:
            pa.array(values, TEXT if type_ == SYMBOL else type_)
        except (pa.ArrowInvalid, OverflowError):
            sound = False
    if not sound:
        raise RegistryError(
            f"contract {contract.id}: {condition.column} {condition.op} "
            f"{shown(condition.value)} is no condition on a column of {type_}",
            "compare text with text and numbers with numbers; `in` takes a list, the others do not",
        )
