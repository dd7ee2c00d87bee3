"""Policy of a scheduling domain: what the match weighs, prefers, limits and shares out.

Names are those of the domain's rows: regions (in files: hubs), sites, accounts, classes; a pairing
is the region that a job comes from. What is not named is meant in all its values. Quantities are
integers in the unit of their name, factors and shares in ppm.
"""

from bisect import bisect_right
from collections.abc import Iterator
from typing import Annotated, Literal, Self

import msgspec

SHARE_MAX_PPM = 1_000_000
FACTOR_MAX_PPM = 1_000_000_000
WEIGHT_MAX = 1_000_000
LIMIT_MAX = 2**62

Ms = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_800_000)]  # UTC, until the year 10000
Count = Annotated[int, msgspec.Meta(ge=0, le=LIMIT_MAX)]
# One limit for all times, or [[from_ms, limit], ...]: from then until the next; null = no limit.
Limit = Count | tuple[tuple[Ms, Count | None], ...]
Ppm = Annotated[int, msgspec.Meta(ge=0, le=SHARE_MAX_PPM)]
FactorPpm = Annotated[int, msgspec.Meta(ge=0, le=FACTOR_MAX_PPM)]
Weight = Annotated[int, msgspec.Meta(ge=0, le=WEIGHT_MAX)]
Money = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
JobClass = Literal["general", "intelligent", "super"]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of a document; a field that it does not know is refused."""


class Document(Strict, frozen=True, kw_only=True):
    """What one domain says to another, as JSON in a row of `market`."""

    def text(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises msgspec.DecodeError that names the field."""
        return msgspec.json.decode(text, type=cls)


class Weights(Strict, frozen=True, kw_only=True):
    """What the cost of an option is made of, beside data and migration."""

    energy_ppm: FactorPpm = 1_000_000  # of the price of energy
    carbon_price_per_t: Money | None = None  # none = the domain's
    latency_price_per_ms: Money = 0.0  # a job pays for each ms of round trip


class Limits(Strict, frozen=True, kw_only=True):
    """At most so much at once, as the sites see it; none = no limit, as before a from_ms."""

    cores_milli: Limit | None = None
    accel_milli: Limit | None = None
    power_w: Limit | None = None
    network_mbps: Limit | None = None
    green_w: Limit | None = None
    jobs: Limit | None = None

    def starts(self) -> set[int]:
        """Every moment from which a limit is another."""
        return {from_ms for limit in self._listed() for from_ms, _ in limit}

    def at(self, moment_ms: int) -> list[int | None]:
        """The limits that hold at a moment, in the order of the fields."""
        return [_at(getattr(self, name), moment_ms) for name in self.__struct_fields__]

    def least(self, from_ms: int, to_ms: int) -> list[int | None]:
        """The lowest limits that hold at any moment of [from_ms, to_ms)."""
        moments = [from_ms, *(start for start in self.starts() if from_ms < start < to_ms)]
        columns = zip(*map(self.at, moments), strict=True)
        return [min((one for one in some if one is not None), default=None) for some in columns]

    def _listed(self) -> list[tuple[tuple[int, int | None], ...]]:
        fields = (getattr(self, name) for name in self.__struct_fields__)
        return [limit for limit in fields if isinstance(limit, tuple)]


def _at(limit: Limit | None, moment_ms: int) -> int | None:
    if not isinstance(limit, tuple):
        return limit
    place = bisect_right(limit, moment_ms, key=lambda step: step[0])
    return limit[place - 1][1] if place else None


class Scope(Strict, frozen=True, kw_only=True):
    """Of which jobs, and at which sites, something holds."""

    job_class: JobClass | None = None
    account_id: str | None = None
    pairing: str | None = None
    regions: tuple[str, ...] = ()  # sites in any of these,
    sites: tuple[str, ...] = ()  # and these; both empty = all


class Rule(Scope, frozen=True, kw_only=True):
    """Prefers or forbids sites: the first rule that names a job and a site holds for both."""

    factor_ppm: FactorPpm | None = None  # of the cost of energy and carbon there
    forbid: bool = False


class Quota(Scope, frozen=True, kw_only=True):
    """The jobs named use no more than `limits` of the sites named, together and in every slot.

    reserved: nobody else uses more than what this leaves of what the sites offer.
    """

    id: str
    limits: Limits
    reserved: bool = False


class Part(Scope, frozen=True, kw_only=True):
    """What a parent domain lets a child use of a quota, or what a child may use at most of it."""

    id: str  # of the quota: the domain that has it / its id there
    limits: Limits
    others: bool = False  # holds for all jobs but those named: what is reserved for these


class Fairness(Strict, frozen=True, kw_only=True):
    """Weighted maximum share: no account uses more of anything that the sites offer in a slot

    than max_share_ppm x its weight, capped at all of it. It is a cap: what an account may not use
    and no other asks for stays idle.
    """

    max_share_ppm: Ppm
    weights: dict[str, Weight] = {}  # account -> weight; others 1


class Deal(Document, frozen=True, kw_only=True):
    """The parts of one child. A parent numbers its deals; a child answers with the number,

    the most that it may use of each part, and what its jobs ask for, waiting ones too. `shares`:
    domain -> its fairness, which holds of the child's own sites for accounts without a part.
    """

    number: int
    parts: tuple[Part, ...]
    asked: tuple[Part, ...] = ()
    shares: dict[str, Fairness] = {}


def wrong_in(rules: tuple[Rule, ...], quotas: tuple[Quota, ...]) -> Iterator[tuple[str, str, str]]:
    """(field, what is wrong with it, what to do) of what types alone do not catch."""
    for at, rule in enumerate(rules):
        if rule.forbid == (rule.factor_ppm is not None):
            yield (
                f"rules[{at}]",
                f"factor_ppm {rule.factor_ppm}, forbid {str(rule.forbid).lower()}",
                "give a rule either a factor_ppm or forbid true",
            )
    ids: set[str] = set()
    for at, quota in enumerate(quotas):
        if quota.id in ids or not quota.id:
            yield f"quotas[{at}].id", repr(quota.id), "give every quota an id of its own"
        ids.add(quota.id)
        if all(getattr(quota.limits, name) is None for name in quota.limits.__struct_fields__):
            yield f"quotas[{at}].limits", "nothing", "limit at least one of cores_milli ... jobs"
        for name in quota.limits.__struct_fields__:
            limit = getattr(quota.limits, name)
            starts = [step[0] for step in limit] if isinstance(limit, tuple) else [0]
            if not starts or starts != sorted(set(starts)):
                yield (
                    f"quotas[{at}].limits.{name}",
                    f"a list from {starts}",
                    "give at least one [from_ms, limit], each later than the one before",
                )
        named = (quota.job_class, quota.account_id, quota.pairing)
        if quota.reserved and named == (None, None, None):
            yield (
                f"quotas[{at}].reserved",
                "true for every job",
                "name the class, account or pairing that it is reserved for",
            )
