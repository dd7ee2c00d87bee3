"""Checks: what is admitted to the match, and what is wrong with the rows that are not.

A bad job is left out alone; a bad site is down and empty. Limits keep every integer product below
2^63: demand x PUE <= 2^39 x 1e7, and the use of a million jobs at once.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.match.columns import (
    ANY,
    CLASSES,
    I64,
    LIMITED,
    PPM,
    PRECISIONS,
    RESOURCES,
    BadInput,
    Bool,
    Jobs,
    Network,
    Series,
    Sites,
)
from kernels.match.terms import Terms

DEMAND_MAX = 2**39
CAPACITY_MAX = 2**62
DURATION_MAX_MS = 2**42
SLOT_MAX = 2**31
PUE_MAX_PPM = 10 * PPM
RATE_MAX_PPM = 1000 * PPM
FACTOR_MAX_PPM = 1000 * PPM
MONEY_MAX = 1e15
DATA_MAX_GB = 1e12


class Admitted(NamedTuple):
    """Columns without a bad field, jobs in order of their id, and the fields that were bad."""

    row: I64  # [n] row of the jobs given
    jobs: Jobs  # [n]
    sites: Sites  # [M]
    series: Series
    errors: tuple[BadInput, ...]  # in order of table, row and column


class _Check(NamedTuple):
    column: str
    bad: Bool  # [rows]
    shown: npt.NDArray[Any]  # [rows, ...] the values
    wanted: str


def admit(jobs: Jobs, sites: Sites, series: Series, network: Network) -> Admitted:
    """Sort out bad rows; whatever they held, no other row's result changes."""
    job_rules = list(_job_rules(jobs, sites, network))
    site_rules = list(_site_rules(sites, series, network))
    errors = [*_errors("jobs", job_rules), *_errors("sites", site_rules)]
    row = np.flatnonzero(_good(job_rules, len(jobs.job_id)))
    ascending = _ascending(jobs.job_id)
    if not ascending:
        row = row[np.argsort(jobs.job_id[row], kind="stable")]
    admitted = jobs if ascending and len(row) == len(jobs.job_id) else jobs.take(row)
    usable = _good(site_rules, len(sites.site_id))
    return Admitted(row, admitted, *_usable(sites, series, usable), tuple(errors))


def admit_terms(terms: Terms) -> tuple[Terms, tuple[BadInput, ...]]:
    """A bad quota limits nothing and a bad rule says nothing: others hold, and both are named."""
    quotas, rules = terms
    quota_checks = [
        *(_within(name, getattr(quotas, name), ANY, SLOT_MAX) for name in ("tenant", "pairing")),
        _within("job_class", quotas.job_class, ANY, len(CLASSES) - 1),
        *(
            _within(name, quotas.limit[:, :, k], ANY, CAPACITY_MAX)
            for k, name in enumerate(LIMITED)
        ),
    ]
    rule_checks = [
        *(_within(name, getattr(rules, name), ANY, SLOT_MAX) for name in ("tenant", "pairing")),
        _within("job_class", rules.job_class, ANY, len(CLASSES) - 1),
        _within("factor_ppm", rules.factor_ppm, ANY, FACTOR_MAX_PPM),
    ]
    good = _good(quota_checks, len(quotas.quota_id))
    limit = np.where(good[:, None, None], quotas.limit, ANY)
    stands = np.flatnonzero(_good(rule_checks, len(rules.factor_ppm)))
    errors = (*_errors("quotas", quota_checks), *_errors("rules", rule_checks))
    return Terms(replace(quotas, limit=limit), rules.take(stands)), errors


def _usable(sites: Sites, series: Series, good: Bool) -> tuple[Sites, Series]:
    """Sites and series with neutral values where a site is bad."""
    by_slot = good[:, None]
    clean = replace(
        sites,
        hub=np.where(good, sites.hub, 0),
        capacity=np.where(good[:, None, None], sites.capacity, 0),
        pue_ppm=np.where(good, sites.pue_ppm, PPM),
        classes=np.where(good, sites.classes, 0),
        rate_ppm=np.where(good[:, None, None], sites.rate_ppm, 0),
        up=sites.up & good,
    )
    price = np.where(by_slot, series.price_per_mwh, 0.0)
    carbon = np.where(by_slot, series.ci_kg_per_kwh, 0.0)
    return clean, Series(series.slot_ms, price, carbon)


def _job_rules(jobs: Jobs, sites: Sites, network: Network) -> Iterator[_Check]:
    places, count = len(network.rtt_ms), len(sites.site_id)
    yield _Check("job_id", _repeated(jobs.job_id), jobs.job_id, "an id that no row before it has")
    yield _within("job_class", jobs.job_class, 0, len(CLASSES) - 1)
    yield _within("precision", jobs.precision, 0, len(PRECISIONS) - 1)
    for k, name in enumerate(RESOURCES):
        yield _within(name, jobs.demand[:, k], 0, DEMAND_MAX)
    yield _within("duration_ms", jobs.duration_ms, 1, DURATION_MAX_MS)
    yield _within("release_slot", jobs.release_slot, -SLOT_MAX, SLOT_MAX)
    yield _within("deadline_slot", jobs.deadline_slot, -SLOT_MAX, SLOT_MAX)
    yield _within("origin_hub", jobs.origin_hub, ANY, places - 1)
    yield _within("max_rtt_ms", jobs.max_rtt_ms, 0, np.inf)
    yield _within("data_gb", jobs.data_gb, 0, DATA_MAX_GB)
    yield _within("data_site", jobs.data_site, ANY, count - 1)
    yield _within("data_hub", jobs.data_hub, ANY, places - 1)
    yield _within("current_site", jobs.current_site, ANY, count - 1)
    yield _within("migration_cost", jobs.migration_cost, 0, MONEY_MAX)
    yield _within("reject_cost", jobs.reject_cost, 0, MONEY_MAX)
    yield _within("priority", jobs.priority, 0, 3)
    for name in ("tenant", "pairing", "apart", "together"):
        yield _within(name, getattr(jobs, name), ANY, SLOT_MAX)


def _site_rules(sites: Sites, series: Series, network: Network) -> Iterator[_Check]:
    yield _within("hub", sites.hub, 0, network.rtt_ms.shape[1] - 1)
    for k, name in enumerate(RESOURCES):
        yield _within(name, sites.capacity[:, :, k], 0, CAPACITY_MAX)
    yield _within("pue_ppm", sites.pue_ppm, PPM, PUE_MAX_PPM)
    yield _within("classes", sites.classes, 0, 2 ** len(CLASSES) - 1)
    yield _within("rate_ppm", sites.rate_ppm, 0, RATE_MAX_PPM)
    yield _within("price_per_mwh", series.price_per_mwh, -MONEY_MAX, MONEY_MAX)
    yield _within("ci_kg_per_kwh", series.ci_kg_per_kwh, -MONEY_MAX, MONEY_MAX)


def _within(column: str, values: npt.NDArray[Any], low: float, high: float) -> _Check:
    if not values.size:
        return _Check(column, np.zeros(len(values), np.bool_), np.zeros(len(values)), "")
    if low <= values.min() and values.max() <= high:  # nearly always; NaN is in no range
        return _Check(column, np.zeros(len(values), np.bool_), np.zeros(len(values)), "")
    flat = values.reshape(len(values), -1)
    spoilt = ~((flat >= low) & (flat <= high))  # NaN is outside
    first = flat[np.arange(len(flat)), spoilt.argmax(axis=1)]
    return _Check(column, np.logical_or.reduce(spoilt, axis=1), first, f"{low} to {high}")


def _ascending(ids: npt.NDArray[np.str_]) -> bool:
    """Each above the one before it: the common case, in which nothing needs sorting."""
    return bool((ids[1:] > ids[:-1]).all())


def _repeated(ids: npt.NDArray[np.str_]) -> Bool:
    if _ascending(ids):
        return np.zeros(len(ids), np.bool_)
    order = np.argsort(ids, kind="stable")
    ascending = ids[order]
    repeated = np.zeros(len(ids), np.bool_)
    repeated[order[1:][ascending[1:] == ascending[:-1]]] = True
    return repeated


def _errors(table: str, rules: list[_Check]) -> list[BadInput]:
    found = [
        BadInput(table, row, rule.column, str(rule.shown[row]), f"send {rule.wanted}")
        for rule in rules
        for row in np.flatnonzero(rule.bad).tolist()
    ]
    return sorted(found, key=lambda error: error.row)


def _good(rules: list[_Check], rows: int) -> Bool:
    good = np.ones(rows, np.bool_)
    for rule in rules:
        good &= ~rule.bad
    return good
