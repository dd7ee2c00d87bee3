"""Terms: what a policy says of whom. Quotas limit use beyond the sites; rules steer costs.

A quota is one more capacity: its members' use at the sites that it covers, summed in every slot,
stays within its limit. Use is what the site sees, so power counts on the facility side. Both name
their jobs by class, tenant and pairing agreement; what is ANY asks for nothing.
"""

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from kernels.match.columns import (
    ANY,
    COUNT,
    F64,
    I64,
    LIMITED,
    PPM,
    Bool,
    Jobs,
    Network,
    Policy,
    Sites,
    Texts,
    shaped,
)
from schemas.errors import FieldError


@dataclass(frozen=True, slots=True)
class Quotas:
    """Q quotas."""

    quota_id: Texts  # [Q]
    limit: I64  # [Q, T, 6] in the order of LIMITED; ANY = not limited
    covers: Bool  # [Q, M] sites whose use counts
    tenant: I64  # [Q] ANY = of every tenant
    pairing: I64  # [Q]
    job_class: I64  # [Q]
    others: Bool  # [Q] holds for all jobs but those named: what is reserved for these
    apart: I64  # [Q] the group that may not share the site; ANY = no such quota

    @classmethod
    def of(
        cls,
        quota_id: npt.ArrayLike,
        limit: npt.ArrayLike,
        covers: npt.ArrayLike,
        slots: int,
        *,
        tenant: npt.ArrayLike = ANY,
        pairing: npt.ArrayLike = ANY,
        job_class: npt.ArrayLike = ANY,
        others: npt.ArrayLike = False,
    ) -> "Quotas":
        """Limit [Q, 6] holds in every slot, [Q, T, 6] by slot; raises FieldError on a shape."""
        ids = np.asarray(quota_id, np.str_).reshape(-1)
        held = np.asarray(limit)
        if held.ndim == 2:
            held = np.repeat(held[:, None, :], slots, axis=1)
        count, sites = len(ids), np.asarray(covers).shape[-1]
        return cls(
            quota_id=ids,
            limit=shaped("limit", held, np.int64, (count, slots, len(LIMITED))),
            covers=shaped("covers", covers, np.bool_, (count, sites)),
            tenant=shaped("tenant", tenant, np.int64, (count,)),
            pairing=shaped("pairing", pairing, np.int64, (count,)),
            job_class=shaped("job_class", job_class, np.int64, (count,)),
            others=shaped("others", others, np.bool_, (count,)),
            apart=np.full(count, ANY, np.int64),
        )

    def members(self, jobs: Jobs) -> list[I64]:
        """Rows of the jobs that each quota counts, ascending."""
        groups = _rows_by(jobs.apart) if (self.apart != ANY).any() else {}
        none = np.empty(0, np.int64)
        return [
            groups.get(group, none) if group != ANY else np.flatnonzero(self._counts(jobs, q))
            for q, group in enumerate(self.apart.tolist())
        ]

    def _counts(self, jobs: Jobs, q: int) -> Bool:
        named = _named(jobs, self.tenant[q], self.pairing[q], self.job_class[q])
        return ~named if self.others[q] else named

    def beside(self, other: "Quotas") -> "Quotas":
        """These quotas and then the others."""
        return Quotas(
            **{
                column.name: np.concatenate(
                    [getattr(self, column.name), getattr(other, column.name)]
                )
                for column in fields(self)
            }
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """R rules in their order: of a job and a site, the first that names both holds."""

    covers: Bool  # [R, M]
    factor_ppm: I64  # [R] of the cost of energy and carbon; 1e6 = as it is; ANY = forbidden
    tenant: I64  # [R] ANY = of every tenant
    pairing: I64  # [R]
    job_class: I64  # [R]

    @classmethod
    def of(
        cls,
        factor_ppm: npt.ArrayLike,
        covers: npt.ArrayLike,
        *,
        tenant: npt.ArrayLike = ANY,
        pairing: npt.ArrayLike = ANY,
        job_class: npt.ArrayLike = ANY,
    ) -> "Rules":
        """Raises FieldError on a shape."""
        factor = shaped("factor_ppm", factor_ppm, np.int64, np.shape(factor_ppm))
        count, sites = len(factor), np.asarray(covers).shape[-1]
        return cls(
            covers=shaped("covers", covers, np.bool_, (count, sites)),
            factor_ppm=factor,
            tenant=shaped("tenant", tenant, np.int64, (count,)),
            pairing=shaped("pairing", pairing, np.int64, (count,)),
            job_class=shaped("job_class", job_class, np.int64, (count,)),
        )

    def take(self, rows: I64) -> Self:
        """The rules of these rows, in that order."""
        taken = {column.name: getattr(self, column.name)[rows] for column in fields(self)}
        return replace(self, **taken)

    def factors(self, jobs: Jobs, sites: int) -> I64:
        """Factor [N, M] in ppm of every pair; ANY = forbidden."""
        factor = np.full((len(jobs.job_id), sites), PPM, np.int64)
        for r in range(len(self.factor_ppm) - 1, -1, -1):  # the first rule has the last word
            rows = _named(jobs, self.tenant[r], self.pairing[r], self.job_class[r])
            factor[np.ix_(rows, self.covers[r])] = self.factor_ppm[r]
        return factor


class Terms(NamedTuple):
    """Quotas and rules of one tick."""

    quotas: Quotas
    rules: Rules

    @property
    def is_empty(self) -> bool:
        return not len(self.quotas.quota_id) and not len(self.rules.factor_ppm)

    @classmethod
    def of(cls, sites: Sites, quotas: Quotas | None = None, rules: Rules | None = None) -> "Terms":
        """What is not given says nothing."""
        nobody = _nothing(*sites.capacity.shape[:2])
        return cls(
            nobody.quotas if quotas is None else quotas,
            nobody.rules if rules is None else rules,
        )

    def fitting(self, sites: Sites) -> "Terms":
        """The same; raises FieldError where it is of other sites or slots."""
        count, slots, _ = sites.capacity.shape
        for name, columns in (("quotas", self.quotas.covers), ("rules", self.rules.covers)):
            if columns.shape[1] != count and len(columns):
                raise FieldError(
                    "shape",
                    "covers",
                    f"{name} for {columns.shape[1]} sites beside {count}",
                    "give quotas, rules and sites the same sites",
                )
        if self.quotas.limit.shape[1] != slots and len(self.quotas.quota_id):
            raise FieldError(
                "shape",
                "limit",
                f"limits of {self.quotas.limit.shape[1]} slots beside {slots}",
                "give quotas and sites the same slots",
            )
        quotas = self.quotas if len(self.quotas.quota_id) else None
        return Terms.of(sites, quotas, self.rules if len(self.rules.factor_ppm) else None)

    def with_apart(self, jobs: Jobs, sites: Sites) -> "Terms":
        """The same with a quota of one job at once for every group and site that is up."""
        if (jobs.apart == ANY).all():
            return self
        groups = [g for g, rows in _rows_by(jobs.apart).items() if g != ANY and len(rows) > 1]
        at = np.flatnonzero(sites.up)
        if not groups or not len(at):
            return self
        count, slots = len(groups) * len(at), sites.capacity.shape[1]
        limit = np.full((count, slots, len(LIMITED)), ANY, np.int64)
        limit[:, :, COUNT] = 1
        covers = np.tile(np.eye(len(sites.up), dtype=np.bool_)[at], (len(groups), 1))
        each = Quotas.of([""] * count, limit, covers, slots)
        each = replace(each, apart=np.repeat(np.array(groups, np.int64), len(at)))
        return self._replace(quotas=self.quotas.beside(each))


@lru_cache(maxsize=16)
def _nothing(sites: int, slots: int) -> Terms:
    """No quotas and no rules."""
    nowhere = np.zeros((0, sites), np.bool_)
    return Terms(
        Quotas.of([], np.zeros((0, slots, len(LIMITED))), nowhere, slots), Rules.of([], nowhere)
    )


def latency_cost(jobs: Jobs, sites: Sites, network: Network, policy: Policy) -> F64:
    """Currency [N, M] of the round trip; nothing where it has no end, which is no option."""
    if policy.latency_price_per_ms == 0.0 or not len(sites.up):
        return np.zeros((len(jobs.job_id), len(sites.up)))
    rtt = network.rtt_ms[jobs.origin_hub][:, sites.hub]
    reached = np.isfinite(rtt) & (jobs.origin_hub != ANY)[:, None]
    return np.where(reached, policy.latency_price_per_ms * np.where(reached, rtt, 0.0), 0.0)


def _named(jobs: Jobs, tenant: int, pairing: int, job_class: int) -> Bool:
    named = np.ones(len(jobs.job_id), np.bool_)
    for asked, column in (
        (tenant, jobs.tenant),
        (pairing, jobs.pairing),
        (job_class, jobs.job_class),
    ):
        if asked != ANY:
            named &= column == asked
    return named


def _rows_by(column: I64) -> dict[int, I64]:
    """Rows, ascending, of every value of a column."""
    order = np.argsort(column, kind="stable")
    values, first = np.unique(column[order], return_index=True)
    return dict(zip(values.tolist(), np.split(order, first[1:]), strict=True)) if len(order) else {}
