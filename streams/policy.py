"""A policy of the registry as terms of the match: names become columns, shares become limits.

Quotas, what they reserve and what a parent domain hands down are parts of one form. A limit of a
slot is the lowest that holds within it, and of the last slot while the longest job may run on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kernels.match import CLASSES, LIMITED, Jobs, Policy, Quotas, Rules, Sites, Terms
from kernels.match.columns import ANY, COUNT
from schemas import registry
from schemas.policy import LIMIT_MAX, Fairness, Limits, Part, Quota, Scope

I64 = npt.NDArray[np.int64]
_PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class Places:
    """What names of a policy mean in one tick."""

    sites: Sequence[str]  # [M]
    regions: Sequence[str]  # [M] where each site is
    offered: I64  # [M, T, 5] before anything is taken
    accounts: Mapping[str, int]  # number of every account with jobs
    pairings: Mapping[str, int]  # number of every region that jobs come from
    start_ms: int = 0  # of the first slot
    slot_ms: int = 3_600_000
    longest_ms: int = 0  # the longest job: it may run past the last slot
    below: frozenset[str] = frozenset()  # accounts that children have jobs of

    def by_slot(self, limits: Limits) -> I64:
        """Limits [T, 6] of the slots, ANY = none."""
        count = self.offered.shape[1]
        starts = self.start_ms + np.arange(count) * self.slot_ms
        ends = starts + self.slot_ms
        ends[-1:] += max(0, -(-self.longest_ms // self.slot_ms) - 1) * self.slot_ms
        least = [limits.least(*span) for span in zip(starts.tolist(), ends.tolist(), strict=True)]
        columns = [[ANY if one is None else one for one in some] for some in least]
        return np.array(columns, np.int64).reshape(count, len(LIMITED))


def longest_ms(jobs: Jobs, sites: Sites) -> int:
    """The longest that one of the jobs runs at a site: where it is slowest."""
    longest = 0
    for kind in set(zip(jobs.job_class.tolist(), jobs.precision.tolist(), strict=True)):
        of = (jobs.job_class == kind[0]) & (jobs.precision == kind[1])
        rates = sites.rate_ppm[:, kind[0], kind[1]]
        slowest = int(rates[rates > 0].min()) if (rates > 0).any() else _PPM
        longest = max(longest, -(-int(jobs.duration_ms[of].max()) * _PPM // slowest))
    return longest


def weighed(policy: registry.Policy, base: Policy) -> Policy:
    """The kernel's policy with the weights of the document."""
    weights = policy.weights
    carbon = weights.carbon_price_per_t
    return Policy(
        carbon_price_per_kg=base.carbon_price_per_kg if carbon is None else carbon / 1000,
        energy_weight=weights.energy_ppm / _PPM,
        latency_price_per_ms=weights.latency_price_per_ms,
        gap_target=base.gap_target,
    )


def parts_of(policy: registry.Policy, places: Places) -> list[Part]:
    """The quotas in the order of the document, what they reserve from all others, and shares."""
    quotas = [_part(quota, quota.id, quota.limits) for quota in policy.quotas]
    return (
        quotas
        + [
            _part(quota, f"{quota.id}: others", _reserve(quota, places), others=True)
            for quota in policy.quotas
            if quota.reserved
        ]
        + shares_of(policy.fairness, places)
    )


def _part(scope: Scope, part_id: str, limits: Limits, others: bool = False) -> Part:
    named = {name: getattr(scope, name) for name in Scope.__struct_fields__}
    return Part(id=part_id, limits=limits, others=others, **named)


def terms_of(policy: registry.Policy, places: Places, handed: Sequence[Part] = ()) -> Terms:
    """The parts of the policy, then what is handed from elsewhere; and rules.

    What names an account or pairing without a job in this tick binds nobody.
    """
    quotas = [_of(part, places) for part in (*parts_of(policy, places), *handed)]
    rules = [rule for rule in policy.rules if _numbers(rule, places) is not None]
    numbers = [_numbers(rule, places) or (ANY, ANY, ANY) for rule in rules]
    return Terms(
        _columns(quotas, places),
        Rules.of(
            [ANY if rule.factor_ppm is None else rule.factor_ppm for rule in rules],
            np.array([covers(r, places) for r in rules]).reshape(len(rules), len(places.sites)),
            job_class=[number[0] for number in numbers],
            tenant=[number[1] for number in numbers],
            pairing=[number[2] for number in numbers],
        ),
    )


@dataclass(frozen=True, slots=True)
class Taken:
    """What runs already: jobs, their site [N] (ANY = gone), slots left [N], use there [N, 5]."""

    jobs: Jobs
    site: I64
    slots: I64
    use: I64


def without(terms: Terms, taken: Taken, groups: set[int]) -> Terms:
    """Quotas less what runs already; `groups` are kept from the sites where one of theirs runs."""
    quotas, limit = terms.quotas, terms.quotas.limit.copy()
    use = np.column_stack([taken.use, np.ones(len(taken.site), np.int64)])
    for q, rows in enumerate(quotas.members(taken.jobs)):
        for i in rows.tolist():
            if taken.site[i] != ANY and quotas.covers[q, taken.site[i]]:
                some = limit[q, : taken.slots[i]]
                some[some != ANY] = np.maximum(some - use[i], 0)[some != ANY]
    quotas = replace(quotas, limit=limit)
    barred = [
        i
        for i, group in enumerate(taken.jobs.apart.tolist())
        if group in groups and taken.site[i] != ANY
    ]
    if barred:
        quotas = quotas.beside(_barred(taken, barred, quotas))
    return terms._replace(quotas=quotas)


def _barred(taken: Taken, rows: list[int], quotas: Quotas) -> Quotas:
    count, slots = quotas.covers.shape[1], quotas.limit.shape[1]
    limit = np.full((len(rows), slots, len(LIMITED)), ANY, np.int64)
    for at, i in enumerate(rows):
        limit[at, : taken.slots[i], COUNT] = 0
    covers = taken.site[rows][:, None] == np.arange(count)
    barred = Quotas.of([f"apart {taken.jobs.job_id[i]}" for i in rows], limit, covers, slots)
    return replace(barred, apart=taken.jobs.apart[rows])


def unknown_names(policy: registry.Policy, places: Places) -> list[tuple[str, str]]:
    """(field, name) of sites and regions that the policy names and the tick does not have."""
    return [
        (f"{table}[{at}].{field}", name)
        for table, parts in (("rules", policy.rules), ("quotas", policy.quotas))
        for at, part in enumerate(parts)
        for field, known in (("regions", places.regions), ("sites", places.sites))
        for name in getattr(part, field)
        if name not in known
    ]


@dataclass(frozen=True, slots=True)
class _Row:
    quota_id: str
    limit: I64  # [T, 6]
    covers: list[bool]
    numbers: tuple[int, int, int]  # class, account, pairing
    others: bool = False


def _of(part: Part, places: Places) -> _Row:
    numbers, held = _numbers(part, places), covers(part, places)
    limit = places.by_slot(part.limits)
    if numbers is not None:
        return _Row(part.id, limit, held, numbers, part.others)
    if part.others:  # it is reserved for jobs that are not there now, from all that are
        return _Row(part.id, limit, held, (ANY,) * 3)
    return _Row(part.id, np.full_like(limit, ANY), held, (ANY,) * 3)  # nobody it could bind


def _reserve(scope: Quota, places: Places) -> Limits:
    """What the quota leaves of what the sites offer, slot by slot."""
    offered = places.offered[np.array(covers(scope, places), np.bool_)].sum(axis=0)  # [T, 5]
    kept = places.by_slot(scope.limits)
    limit = np.full(kept.shape, ANY, np.int64)
    limited = kept[:, :COUNT] != ANY
    limit[:, :COUNT][limited] = np.maximum(offered - kept[:, :COUNT], 0)[limited]
    return limits_of(limit, [places.start_ms + t * places.slot_ms for t in range(len(limit))])


def limits_of(table: I64, times: Sequence[int]) -> Limits:
    """Limits from a table [K, 6], each row holding from its time on; none before the first."""
    columns: dict[str, int | tuple[tuple[int, int | None], ...] | None] = {}
    for name, column in zip(LIMITED, table.T.tolist(), strict=True):
        steps: list[tuple[int, int | None]] = []
        for time, one in zip(times, column, strict=True):
            limit = None if one == ANY else min(one, LIMIT_MAX)
            if not steps or steps[-1][1] != limit:
                steps.append((time, limit))
        columns[name] = None if steps == [(times[0], None)] else tuple(steps)
    return Limits(**columns)


def shares_of(fairness: Fairness | None, places: Places) -> list[Part]:
    """What each account may use at most: each with jobs, here or below, or with a weight."""
    if fairness is None:
        return []
    offered = places.offered.sum(axis=0)
    times = [places.start_ms + t * places.slot_ms for t in range(len(offered))]
    parts = []
    for account in sorted(places.accounts.keys() | places.below | fairness.weights.keys()):
        share = min(fairness.max_share_ppm * fairness.weights.get(account, 1), _PPM)
        limit = np.full((len(offered), len(LIMITED)), ANY, np.int64)
        # in two parts, so that no product passes 2^63
        limit[:, :COUNT] = offered // _PPM * share + offered % _PPM * share // _PPM
        name = f"share of {account}"
        parts.append(Part(id=name, account_id=account, limits=limits_of(limit, times)))
    return parts


def _columns(rows: list[_Row], places: Places) -> Quotas:
    slots = places.offered.shape[1]
    return Quotas.of(
        [row.quota_id for row in rows],
        np.array([row.limit for row in rows], np.int64).reshape(len(rows), slots, len(LIMITED)),
        np.array([row.covers for row in rows], np.bool_).reshape(len(rows), len(places.sites)),
        slots,
        job_class=[row.numbers[0] for row in rows],
        tenant=[row.numbers[1] for row in rows],
        pairing=[row.numbers[2] for row in rows],
        others=[row.others for row in rows],
    )


def covers(scope: Scope, places: Places) -> list[bool]:
    """Whether each site is one that the scope names."""
    everywhere = not scope.regions and not scope.sites
    return [
        everywhere or region in scope.regions or site in scope.sites
        for site, region in zip(places.sites, places.regions, strict=True)
    ]


def _numbers(scope: Scope, places: Places) -> tuple[int, int, int] | None:
    """Numbers of the class, account and pairing named, ANY = all; None = nobody is meant."""
    numbers = [ANY if scope.job_class is None else CLASSES.index(scope.job_class)]
    for named, known in (
        (scope.account_id, places.accounts),
        (scope.pairing, places.pairings),
    ):
        if named is not None and named not in known:
            return None
        numbers.append(ANY if named is None else known[named])
    return numbers[0], numbers[1], numbers[2]
