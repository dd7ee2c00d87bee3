"""Columns of the match: what goes in (jobs, sites, series, network, policy) and what comes out.

N jobs, M sites, T slots of `slot_ms`, H hubs, P places, K resources in the order of RESOURCES.
Places are the hubs, in their order, and behind them where only users and data are. Counted
quantities are int64 in the unit of their name; money is float64 in the currency of the prices and
becomes int64 micro-currency once, in Plan.cost_micro.
"""

from collections.abc import Set
from dataclasses import dataclass, field
from enum import Flag, IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.errors import FieldError

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Texts = npt.NDArray[np.str_]

# power and green are asked on the IT side and drawn on the facility side, PUE times as much
RESOURCES = ("cores_milli", "accel_milli", "power_w", "network_mbps", "green_w")
ONE_MORE = (1_000, 1_000, 1_000_000, 1_000, 1_000_000)  # units of a core, an accelerator, a MW ...
CORES, ACCEL, POWER, NETWORK, GREEN = range(5)
LIMITED = (*RESOURCES, "jobs")  # what a quota may limit: resources, and jobs at once
COUNT = len(RESOURCES)
FACILITY_SIDE = (POWER, GREEN)
CLASSES = ("general", "intelligent", "super")
PRECISIONS = ("fp64", "fp32", "fp16", "int8")
PPM = 1_000_000
ANY = -1


@dataclass(frozen=True, slots=True)
class Jobs:
    """N pending jobs. `Jobs.of` fills the columns that a caller has no need of."""

    job_id: Texts  # [N], unique; ties go to the lower one
    job_class: I64  # [N] index in CLASSES
    precision: I64  # [N] index in PRECISIONS
    demand: I64  # [N, K] while it runs, IT side
    duration_ms: I64  # [N] run time at rate 1
    release_slot: I64  # [N] first slot it may start in
    deadline_slot: I64  # [N] slot before which it has ended; ANY = none
    origin_hub: I64  # [N] place where its users are; ANY = anywhere
    max_rtt_ms: F64  # [N] round trip from origin_hub at most; inf = any
    residency: I64  # [N] bit h set = hub h may hold it (bit 63: all above 62); ANY = all
    affinity: I64  # [N] the site it must run at; ANY = none
    data_gb: F64  # [N] moved from data_site when it runs elsewhere
    data_site: I64  # [N] site; ANY = at none
    data_hub: I64  # [N] place of data that are at no site; ANY = nothing to move
    current_site: I64  # [N] where it is now; ANY = nowhere
    migration_cost: F64  # [N] currency, of leaving current_site
    reject_cost: F64  # [N] currency, of not running it
    priority: I64  # [N] 0 to 3, highest 3, lexicographic
    tenant: I64  # [N] number of who asks; ANY = nobody
    pairing: I64  # [N] number of the agreement it comes under; ANY = none
    apart: I64  # [N] group of which no two run at one site at once; ANY = none
    together: I64  # [N] group that runs as one, at one site and from one start; ANY = none

    @classmethod
    def of(cls, job_id: npt.ArrayLike, demand: npt.ArrayLike, **columns: npt.ArrayLike) -> "Jobs":
        """Columns given as arrays, lists or one number for all; raises FieldError on a shape."""
        ids = np.asarray(job_id, np.str_).reshape(-1)
        given = {**_JOB_DEFAULTS, **columns}
        made = {name: _column(name, given.pop(name), len(ids)) for name in _JOB_DEFAULTS}
        if given:
            raise FieldError("unknown_column", next(iter(given)), "Jobs has no such column")
        asked = shaped("demand", demand, np.int64, (len(ids), len(RESOURCES)))
        return cls(job_id=ids, demand=asked, **made)

    def take(self, rows: I64, same: Set[str] = frozenset()) -> "Jobs":
        """The jobs of these rows, each once at most; columns `same` have one value in all rows."""
        taken = {
            name: getattr(self, name)[: len(rows)]
            if name in same
            else getattr(self, name).take(rows, axis=0)
            for name in Jobs.__dataclass_fields__
        }
        return Jobs(**taken)


_JOB_DEFAULTS: dict[str, Any] = {
    "job_class": 0,
    "precision": 1,
    "duration_ms": 1,
    "release_slot": 0,
    "deadline_slot": ANY,
    "origin_hub": ANY,
    "max_rtt_ms": np.inf,
    "residency": ANY,
    "affinity": ANY,
    "data_gb": 0.0,
    "data_site": ANY,
    "data_hub": ANY,
    "current_site": ANY,
    "migration_cost": 0.0,
    "reject_cost": 0.0,
    "priority": 0,
    "tenant": ANY,
    "pairing": ANY,
    "apart": ANY,
    "together": ANY,
}


@dataclass(frozen=True, slots=True)
class Sites:
    """M sites and what each has free in every slot."""

    site_id: Texts  # [M]
    hub: I64  # [M]
    capacity: I64  # [M, T, K] free; power: headroom that the balance grants, facility side
    pue_ppm: I64  # [M] facility power / IT power
    classes: I64  # [M] bit c set = takes CLASSES[c]
    rate_ppm: I64  # [M, class, precision] speed, 1e6 = rate 1, 0 = cannot
    up: Bool  # [M]

    @classmethod
    def of(
        cls,
        site_id: npt.ArrayLike,
        capacity: npt.ArrayLike,
        slots: int,
        *,
        hub: npt.ArrayLike = 0,
        pue_ppm: npt.ArrayLike = PPM,
        classes: npt.ArrayLike = 7,
        rate_ppm: npt.ArrayLike = PPM,
        up: npt.ArrayLike = True,
    ) -> "Sites":
        """Capacity [M, K] holds in every slot, [M, T, K] by slot; raises FieldError on a shape."""
        ids = np.asarray(site_id, np.str_).reshape(-1)
        free = np.asarray(capacity)
        if free.ndim == 2:
            free = np.repeat(free[:, None, :], slots, axis=1)
        count = len(ids)
        return cls(
            site_id=ids,
            hub=shaped("hub", hub, np.int64, (count,)),
            capacity=shaped("capacity", free, np.int64, (count, slots, len(RESOURCES))),
            pue_ppm=shaped("pue_ppm", pue_ppm, np.int64, (count,)),
            classes=shaped("classes", classes, np.int64, (count,)),
            rate_ppm=shaped("rate_ppm", rate_ppm, np.int64, (count, len(CLASSES), len(PRECISIONS))),
            up=shaped("up", up, np.bool_, (count,)),
        )


@dataclass(frozen=True, slots=True)
class Series:
    """Prices and carbon of every site and slot; beyond the last slot, the last one's hold."""

    slot_ms: int
    price_per_mwh: F64  # [M, T] currency/MWh, may be negative
    ci_kg_per_kwh: F64  # [M, T]

    @classmethod
    def of(
        cls, slot_ms: int, price_per_mwh: npt.ArrayLike, ci_kg_per_kwh: npt.ArrayLike
    ) -> "Series":
        """ci: [M, T] or one number for all; raises FieldError on a shape."""
        price = np.ascontiguousarray(price_per_mwh, np.float64)
        if price.ndim != 2 or price.shape[1] < 1 or slot_ms < 1:
            raise FieldError(
                "shape",
                "price_per_mwh",
                f"price_per_mwh of shape {price.shape} for slots of {slot_ms} ms",
                "send [M, T] and slots longer than nothing",
            )
        return cls(slot_ms, price, shaped("ci_kg_per_kwh", ci_kg_per_kwh, np.float64, price.shape))


@dataclass(frozen=True, slots=True)
class Network:
    """Round trips and transfer prices from places to hubs; inf = no path."""

    rtt_ms: F64  # [P, H]
    price_per_gb: F64  # [P, H] currency/GB

    @classmethod
    def of(cls, rtt_ms: npt.ArrayLike = ((0.0,),), price_per_gb: npt.ArrayLike = 0.0) -> "Network":
        """Price: [P, H] or one number for all; raises FieldError on a shape."""
        rtt = np.ascontiguousarray(rtt_ms, np.float64)
        if rtt.ndim != 2 or rtt.shape[0] < rtt.shape[1]:
            raise FieldError(
                "shape",
                "rtt_ms",
                f"rtt_ms of shape {rtt.shape} has fewer places than hubs",
                "send [P, H], the hubs first",
            )
        return cls(rtt, shaped("price_per_gb", price_per_gb, np.float64, rtt.shape))


@dataclass(frozen=True, slots=True)
class Policy:
    """What a tick may spend, and what carbon costs. Budgets are counts of work, never seconds."""

    carbon_price_per_kg: float = 0.0
    energy_weight: float = 1.0  # of the price of energy
    latency_price_per_ms: float = 0.0  # currency a job pays for each ms of round trip
    gap_target: float = 1e-3  # stop when (primal - dual) / scale is below
    iterations: int = 320  # of the dual ascent
    candidates: int = 16  # options of a job that local search looks at
    passes: int = 4  # of local search over all jobs
    scan: int = 64  # jobs of a site looked at to make room for one
    work: int = 2_000_000  # of ruin and recreate: jobs and options looked at
    max_moves: int = ANY  # jobs that may leave a site that is up; ANY = as many as pay


class Reason(IntEnum):
    """Why a job is where it is. A rejected job: the first filter that left it no option."""

    PLACED = 0
    REJECTED_AFFINITY = 1  # the required site is not among the sites
    REJECTED_SITE_DOWN = 2
    REJECTED_RESIDENCY = 3
    REJECTED_CLASS = 4
    REJECTED_PRECISION = 5
    REJECTED_LATENCY = 6
    REJECTED_RELEASE = 7  # not before the horizon ends
    REJECTED_DEADLINE = 8
    REJECTED_TOO_LARGE = 9  # for every site left, even if empty
    REJECTED_COST = 10  # its cheapest option costs more than rejecting it
    REJECTED_CAPACITY = 11  # an option would pay, but none has room
    BAD_INPUT = 12
    REJECTED_RULE = 13  # a rule of the policy forbids every site left
    REJECTED_QUOTA = 14  # larger than a quota, or an option would pay but the quota is used up
    REJECTED_APART = 15  # another job of its group is at every site that would pay


class Status(Flag):
    """GAP_MET or BUDGET, and what is special beside it."""

    GAP_MET = 1  # primal - dual <= gap_target x scale
    BUDGET = 2  # stopped by its budget of work; the gap is still certified
    INFEASIBLE_PINNED = 4  # a job bound to one site found no room there
    BAD_INPUT = 8  # rows were left out: errors


class BadInput(NamedTuple):
    """One field of one row that cannot be used; a site's row counts as down."""

    table: str
    row: int
    column: str
    value: str
    message: str


@dataclass(frozen=True, slots=True)
class Warm:
    """Where to start: the last tick's plan in the slots of this one, and its prices."""

    job_id: Texts
    site: I32  # [.] ANY = not placed
    slot: I32
    prices: F64 | None = None  # [M, T, K]
    quota_prices: F64 | None = None  # [Q, T, 6]


@dataclass(frozen=True, slots=True)
class Plan:
    """Placements in the order of the jobs given, with prices and proof."""

    job_id: Texts
    site: I32  # [N] index in Sites, ANY = rejected
    slot: I32  # [N] first slot, ANY = rejected
    slots: I32  # [N] slots it runs, past the horizon too; 0 = rejected
    cost_micro: I64  # [N] micro-currency: energy, carbon, transfer, migration, as the policy
    # weighs them; 0 = rejected; that of a group that runs as one is at its first job
    reason: npt.NDArray[np.int8]  # [N] Reason
    reason_site: I32  # [N] site of the binding constraint, ANY = none
    reason_resource: npt.NDArray[np.int8]  # [N] its index in LIMITED, ANY = none
    reason_quota: I32  # [N] the quota that binds, ANY = none
    second_cost: F64  # [N] currency: its cheapest answer at another site, or its rejection
    relax: F64  # [N] how much less strict the reason must be to place it, 0 = no such amount:
    # ms (latency), slots (release, deadline), units (too large, capacity, quota), currency (cost)
    prices: F64  # [M, T, K] currency per unit and slot: worth of one more unit
    used: I64  # [M, T, K]
    quota_prices: F64  # [Q, T, 6] the same of quotas, in the order of LIMITED
    quota_used: I64  # [Q, T, 6]
    primal: float  # currency, rejections counted at their lifted cost
    dual: float  # no plan costs less
    gap_rel: float  # (primal - dual) / scale, scale = sum |cost|
    rejects: int
    moves: int  # jobs that leave their current site for another
    status: Status
    iterations: int
    errors: tuple[BadInput, ...] = field(default=())

    def worth(self) -> F64:
        """Currency [M, K] that one more core, accelerator, MW, Gbit/s or green MW would save."""
        saved: F64 = self.prices.sum(axis=1) * np.array(ONE_MORE, np.float64)
        return saved

    def warm(self, elapsed_slots: int = 0) -> Warm:
        """This plan as the start of a tick `elapsed_slots` later; what has begun starts at 0."""
        slot = np.where(self.site >= 0, np.maximum(self.slot - elapsed_slots, 0), ANY)
        prices, quotas = self.prices, self.quota_prices
        if elapsed_slots > 0 and prices.shape[1]:
            later = np.minimum(np.arange(prices.shape[1]) + elapsed_slots, prices.shape[1] - 1)
            prices, quotas = prices[:, later], quotas[:, later]
        return Warm(self.job_id, self.site, slot.astype(np.int32), prices, quotas)


def _column(name: str, given: npt.ArrayLike, rows: int) -> Any:
    kind = np.float64 if isinstance(_JOB_DEFAULTS[name], float) else np.int64
    return shaped(name, given, kind, (rows,))


def shaped(name: str, given: npt.ArrayLike, kind: Any, shape: tuple[int, ...]) -> Any:
    try:
        column = np.asarray(given)
        if kind is np.int64 and column.dtype.kind == "f" and (column != np.floor(column)).any():
            raise FieldError("wrong_type", name, f"{name} holds fractions", "send whole numbers")
        if not column.size and 0 in shape:
            return np.zeros(shape, kind)
        return np.array(np.broadcast_to(column.astype(kind), shape))
    except ValueError:
        raise FieldError(
            "shape",
            name,
            f"{name} of shape {np.shape(given)} does not fit {shape}",
            "send a row for each, or one number",
        ) from None
