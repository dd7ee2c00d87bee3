"""Checks: what is admitted to the match, and what is wrong with the rows that are not.

A bad job is left out alone; a bad site is down and empty. Limits keep every integer product below
2^63: demand x PUE <= 2^39 x 1e7, and the use of a million jobs at once.
"""

from collections.abc import Iterable, Iterator
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
    Texts,
)
from kernels.match.ids import order_of
from kernels.match.terms import Quotas, Rules, Terms

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


class _Fault(NamedTuple):
    """A column in which some rows hold what cannot be used."""

    column: str
    bad: Bool  # [rows]
    shown: npt.NDArray[Any]  # [rows] the values
    wanted: str


_Range = tuple[str, npt.NDArray[Any], float, float]  # column, values [rows, ...], least, most


def admit(jobs: Jobs, sites: Sites, series: Series, network: Network) -> Admitted:
    """Sort out bad rows; whatever they held, no other row's result changes."""
    order, twice = order_of(jobs.job_id)
    row = np.arange(len(jobs.job_id)) if order is None else order
    job_faults, same = _faults(_job_ranges(jobs, sites, network))
    if twice:
        job_faults.insert(0, _repeated(jobs.job_id, row))
    site_faults, _ = _faults(_site_ranges(sites, series, network))
    errors = (*_errors("jobs", job_faults), *_errors("sites", site_faults))
    if job_faults:
        row = row[_good(job_faults, len(row))[row]]
    if job_faults or order is not None:
        jobs = jobs.take(row, same)
    if site_faults:
        sites, series = _usable(sites, series, _good(site_faults, len(sites.site_id)))
    return Admitted(row, jobs, sites, series, errors)


def admit_terms(terms: Terms) -> tuple[Terms, tuple[BadInput, ...]]:
    """A bad quota limits nothing and a bad rule says nothing: others hold, and both are named."""
    if terms.is_empty:
        return terms, ()
    quotas, rules = terms
    bad_quotas, _ = _faults(
        [*_named(quotas), *_by_kind(LIMITED, quotas.limit, ANY, CAPACITY_MAX)],
    )
    bad_rules, _ = _faults([*_named(rules), ("factor_ppm", rules.factor_ppm, ANY, FACTOR_MAX_PPM)])
    good = _good(bad_quotas, len(quotas.quota_id))
    limit = np.where(good[:, None, None], quotas.limit, ANY)
    stands = np.flatnonzero(_good(bad_rules, len(rules.factor_ppm)))
    errors = (*_errors("quotas", bad_quotas), *_errors("rules", bad_rules))
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


def _job_ranges(jobs: Jobs, sites: Sites, network: Network) -> Iterator[_Range]:
    places, count = len(network.rtt_ms), len(sites.site_id)
    yield "job_class", jobs.job_class, 0, len(CLASSES) - 1
    yield "precision", jobs.precision, 0, len(PRECISIONS) - 1
    yield from _by_kind(RESOURCES, jobs.demand, 0, DEMAND_MAX)
    yield "duration_ms", jobs.duration_ms, 1, DURATION_MAX_MS
    yield "release_slot", jobs.release_slot, -SLOT_MAX, SLOT_MAX
    yield "deadline_slot", jobs.deadline_slot, -SLOT_MAX, SLOT_MAX
    yield "origin_hub", jobs.origin_hub, ANY, places - 1
    yield "max_rtt_ms", jobs.max_rtt_ms, 0, np.inf
    yield "data_gb", jobs.data_gb, 0, DATA_MAX_GB
    yield "data_site", jobs.data_site, ANY, count - 1
    yield "data_hub", jobs.data_hub, ANY, places - 1
    yield "current_site", jobs.current_site, ANY, count - 1
    yield "migration_cost", jobs.migration_cost, 0, MONEY_MAX
    yield "reject_cost", jobs.reject_cost, 0, MONEY_MAX
    yield "priority", jobs.priority, 0, 3
    for name in ("tenant", "pairing", "apart", "together"):
        yield name, getattr(jobs, name), ANY, SLOT_MAX


def _site_ranges(sites: Sites, series: Series, network: Network) -> Iterator[_Range]:
    yield "hub", sites.hub, 0, network.rtt_ms.shape[1] - 1
    yield from _by_kind(RESOURCES, sites.capacity, 0, CAPACITY_MAX)
    yield "pue_ppm", sites.pue_ppm, PPM, PUE_MAX_PPM
    yield "classes", sites.classes, 0, 2 ** len(CLASSES) - 1
    yield "rate_ppm", sites.rate_ppm, 0, RATE_MAX_PPM
    yield "price_per_mwh", series.price_per_mwh, -MONEY_MAX, MONEY_MAX
    yield "ci_kg_per_kwh", series.ci_kg_per_kwh, -MONEY_MAX, MONEY_MAX


def _named(terms: Quotas | Rules) -> Iterator[_Range]:
    """Whom quotas or rules name."""
    for name in ("tenant", "pairing"):
        yield name, getattr(terms, name), ANY, SLOT_MAX
    yield "job_class", terms.job_class, ANY, len(CLASSES) - 1


def _by_kind(names: tuple[str, ...], table: I64, low: int, high: int) -> Iterator[_Range]:
    """A column for each name, the last axis of the table; none where all of it is in range."""
    if table.size and not (low <= table.min() and table.max() <= high):
        for k, name in enumerate(names):
            yield name, table[..., k], low, high


def _faults(ranges: Iterable[_Range]) -> tuple[list[_Fault], set[str]]:
    """Columns that are not in their range, NaN is in none; those of whole numbers all the same."""
    faults, same = [], set()
    for column, values, low, high in ranges:
        if not values.size:
            continue
        least, most = values.min(), values.max()
        if not (low <= least and most <= high):
            faults.append(_fault(column, values, low, high))
        elif least == most and values.dtype == np.int64:  # of floats, 0.0 and -0.0 are not the same
            same.add(column)
    return faults, same


def _fault(column: str, values: npt.NDArray[Any], low: float, high: float) -> _Fault:
    flat = values.reshape(len(values), -1)
    spoilt = ~((flat >= low) & (flat <= high))  # NaN is outside
    first = flat[np.arange(len(flat)), spoilt.argmax(axis=1)]
    return _Fault(column, np.logical_or.reduce(spoilt, axis=1), first, f"{low} to {high}")


def _repeated(ids: Texts, row: I64) -> _Fault:
    """Ids that a row before has; row: in order of their id, equal ones as they came."""
    repeated, ascending = np.zeros(len(ids), np.bool_), ids[row]
    repeated[row[1:][ascending[1:] == ascending[:-1]]] = True
    return _Fault("job_id", repeated, ids, "an id that no row before it has")


def _errors(table: str, faults: list[_Fault]) -> list[BadInput]:
    found = [
        BadInput(table, at, fault.column, str(fault.shown[at]), f"send {fault.wanted}")
        for fault in faults
        for at in np.flatnonzero(fault.bad).tolist()
    ]
    return sorted(found, key=lambda error: error.row)


def _good(faults: list[_Fault], rows: int) -> Bool:
    good = np.ones(rows, np.bool_)
    for fault in faults:
        good &= ~fault.bad
    return good
