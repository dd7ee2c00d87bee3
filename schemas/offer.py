"""Offer: what a domain has for the jobs of its parent, as of its newest tick.

Sites that a parent's job cannot tell apart are one pool: the same region, classes, speeds and ways.
Tables have a row for each slot and a number for each resource, in the order of `RESOURCES`; power
counts on the facility side.
"""

from typing import Annotated

import msgspec

from schemas.market import RATE_MAX_PPM
from schemas.policy import Count, Document, Money, Ms, Strict

RESOURCES = ("cores_milli", "accel_milli", "power_w", "network_mbps", "green_w")

Amounts = tuple[Count, Count, Count, Count, Count]
Rate = Annotated[int, msgspec.Meta(ge=0, le=RATE_MAX_PPM)]
Price = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]


class Pool(Strict, frozen=True, kw_only=True):
    """Sites of one domain put together: what they have, and what is taken of it already."""

    region: str
    classes: str  # that they take, joined by |
    rate_ppm: tuple[Rate, Rate, Rate, Rate] = (1_000_000,) * 4  # in each of PRECISIONS; 0 = not
    pue_ppm: Annotated[int, msgspec.Meta(ge=1)]  # the highest of them
    sites: tuple[str, ...]  # all of them, those of domains below too
    rtt_ms: dict[str, Money]  # from each region that is known there, at most
    price_per_gb: dict[str, Money] = msgspec.field(
        default_factory=dict
    )  # of data, where it is not 0
    largest: Amounts  # the most that is free at any one of them, in any slot
    capacity: Annotated[tuple[Amounts, ...], msgspec.Meta(min_length=1)]  # [T]
    taken: Annotated[tuple[Amounts, ...], msgspec.Meta(min_length=1)]  # [T]
    price_per_mwh: Annotated[tuple[Price, ...], msgspec.Meta(min_length=1)]  # [T] marginal
    ci_kg_per_kwh: Annotated[tuple[Price, ...], msgspec.Meta(min_length=1)]  # [T] marginal


class Offer(Document, frozen=True, kw_only=True):
    """A child's pools; `deal` is the newest that it knows: what was handed to it later is not

    among what is taken yet. `waiting` are the parent's jobs that it knows and may still return.
    """

    deal: int
    slot_ms: Annotated[int, msgspec.Meta(ge=1)]
    pools: tuple[Pool, ...]
    waiting: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()  # whose jobs run or wait there
    start_ms: Ms = 0  # of the first slot


class Returned(Document, frozen=True, kw_only=True):
    """Why a child gives a job back: the reason code of its match, and the detail."""

    reason: str
    detail: str = ""
