"""A policy of the registry as terms of the match: names become columns, shares become limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kernels.match import CLASSES, LIMITED, Jobs, Policy, Quotas, Rules, Terms
from kernels.match.columns import ANY, COUNT
from schemas import registry
from schemas.policy import Limits, Quota, Scope

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


def terms_of(policy: registry.Policy, places: Places) -> Terms:
    """Quotas in the order of the document, then what they reserve, then the shares; and rules.

    What names an account or pairing without a job in this tick binds nobody.
    """
    quotas = [_of(q, f"{q.id}", places) for q in policy.quotas]
    quotas += [_reserve(q, places) for q in policy.quotas if q.reserved]
    quotas += _shares(policy, places)
    rules = [rule for rule in policy.rules if _numbers(rule, places) is not None]
    numbers = [_numbers(rule, places) or (ANY, ANY, ANY) for rule in rules]
    return Terms(
        _columns(quotas, places),
        Rules.of(
            [ANY if rule.factor_ppm is None else rule.factor_ppm for rule in rules],
            np.array([_covers(r, places) for r in rules]).reshape(len(rules), len(places.sites)),
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


def _of(quota: Quota, quota_id: str, places: Places) -> _Row:
    numbers = _numbers(quota, places)
    limit = np.tile(_limits(quota.limits), (places.offered.shape[1], 1))
    if numbers is None:  # nobody there whom it could bind
        return _Row(quota_id, np.full_like(limit, ANY), _covers(quota, places), (ANY,) * 3)
    return _Row(quota_id, limit, _covers(quota, places), numbers)


def _reserve(quota: Quota, places: Places) -> _Row:
    """All others get what the quota leaves of what the sites offer."""
    covers = _covers(quota, places)
    offered = places.offered[np.array(covers, np.bool_)].sum(axis=0)  # [T, 5]
    kept = _limits(quota.limits)
    limit = np.full((len(offered), len(LIMITED)), ANY, np.int64)
    for k in np.flatnonzero(kept[:COUNT] != ANY).tolist():
        limit[:, k] = np.maximum(offered[:, k] - kept[k], 0)
    numbers = _numbers(quota, places)
    quota_id = f"{quota.id}: others"
    if numbers is None:  # it is reserved for jobs that are not there now, from all that are
        return _Row(quota_id, limit, covers, (ANY, ANY, ANY))
    return _Row(quota_id, limit, covers, numbers, others=True)


def _shares(policy: registry.Policy, places: Places) -> list[_Row]:
    fairness = policy.fairness
    if fairness is None:
        return []
    offered = places.offered.sum(axis=0)
    rows = []
    for account, number in sorted(places.accounts.items()):
        share = min(fairness.max_share_ppm * fairness.weights.get(account, 1), _PPM)
        limit = np.full((len(offered), len(LIMITED)), ANY, np.int64)
        # in two parts, so that no product passes 2^63
        limit[:, :COUNT] = offered // _PPM * share + offered % _PPM * share // _PPM
        everywhere = [True] * len(places.sites)
        rows.append(_Row(f"share of {account}", limit, everywhere, (ANY, number, ANY)))
    return rows


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


def _limits(limits: Limits) -> I64:
    given = [getattr(limits, name) for name in LIMITED]
    return np.array([ANY if one is None else one for one in given], np.int64)


def _covers(scope: Scope, places: Places) -> list[bool]:
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
