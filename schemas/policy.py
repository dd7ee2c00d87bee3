"""Policy of a scheduling domain: what the match weighs, prefers, limits and shares out.

Names are those of the domain's rows: regions (in files: hubs), sites, accounts, classes; a pairing
is the region that a job comes from. What is not named is meant in all its values. Quantities are
integers in the unit of their name, factors and shares in ppm.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

SHARE_MAX_PPM = 1_000_000
FACTOR_MAX_PPM = 1_000_000_000
WEIGHT_MAX = 1_000_000

Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Ppm = Annotated[int, msgspec.Meta(ge=0, le=SHARE_MAX_PPM)]
FactorPpm = Annotated[int, msgspec.Meta(ge=0, le=FACTOR_MAX_PPM)]
Weight = Annotated[int, msgspec.Meta(ge=0, le=WEIGHT_MAX)]
Money = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
JobClass = Literal["general", "intelligent", "super"]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the document; a field that it does not know is refused."""


class Weights(_Part, frozen=True, kw_only=True):
    """What the cost of an option is made of, beside data and migration."""

    energy_ppm: FactorPpm = 1_000_000  # of the price of energy
    carbon_price_per_t: Money | None = None  # none = the domain's
    latency_price_per_ms: Money = 0.0  # a job pays for each ms of round trip


class Limits(_Part, frozen=True, kw_only=True):
    """At most so much at once, as the sites see it; none = no limit."""

    cores_milli: Count | None = None
    accel_milli: Count | None = None
    power_w: Count | None = None
    network_mbps: Count | None = None
    green_w: Count | None = None
    jobs: Count | None = None


class Scope(_Part, frozen=True, kw_only=True):
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


class Fairness(_Part, frozen=True, kw_only=True):
    """Weighted maximum share: no account uses more of anything that the sites offer in a slot

    than max_share_ppm x its weight, capped at all of it. It is a cap: what an account may not use
    and no other asks for stays idle.
    """

    max_share_ppm: Ppm
    weights: dict[str, Weight] = {}  # account -> weight; others 1


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
        named = (quota.job_class, quota.account_id, quota.pairing)
        if quota.reserved and named == (None, None, None):
            yield (
                f"quotas[{at}].reserved",
                "true for every job",
                "name the class, account or pairing that it is reserved for",
            )
