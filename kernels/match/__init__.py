"""Match: which job runs at which site and when, at the least cost, with a certified gap.

    minimise    sum over placed jobs of cost[i, o]  +  sum over rejected jobs of reject[i]
    subject to  sum of use[i, (site, slot, k)] <= capacity[site, slot, k]   (exact, integers)
                the same of every quota: its members' use at the sites that it covers

An option o is a site and a start slot; pairs that class, precision, latency, residency, affinity
or deadline forbid are no options. README.md has the model in formulas, the methods and figures.
`GRIDLOOM_PURE=1` runs the plain reference engine instead of the compiled one: the same placements.
"""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.match.certificate import Certificate, certify
from kernels.match.checks import Admitted, admit, admit_terms
from kernels.match.columns import (
    ANY,
    CLASSES,
    I64,
    LIMITED,
    PRECISIONS,
    RESOURCES,
    BadInput,
    Bool,
    Jobs,
    Network,
    Plan,
    Policy,
    Reason,
    Series,
    Sites,
    Status,
    Warm,
)
from kernels.match.found import Found, last_options
from kernels.match.joint import join, unlike
from kernels.match.kinds import kinds_of
from kernels.match.moves import hold
from kernels.match.problem import compile_problem, slots_at
from kernels.match.quota_reasons import but_forbidden
from kernels.match.relaxations import relaxations
from kernels.match.terms import Quotas, Rules, Terms
from schemas.errors import FieldError, GridloomError

__all__ = [
    "ANY",
    "CLASSES",
    "LIMITED",
    "PRECISIONS",
    "RESOURCES",
    "BadInput",
    "Certificate",
    "Jobs",
    "Network",
    "Plan",
    "Policy",
    "Quotas",
    "Reason",
    "Rules",
    "Series",
    "Sites",
    "Status",
    "Terms",
    "Warm",
    "certify",
    "match",
]


def match(
    jobs: Jobs,
    sites: Sites,
    series: Series,
    network: Network | None = None,
    policy: Policy | None = None,
    warm: Warm | None = None,
    terms: Terms | None = None,
    threads: int = 1,
) -> Plan:
    """Place the jobs; one row of the plan a job, in the order given.

    Bad rows are left out alone and named in Plan.errors. Columns that do not belong together
    (sites of another number of slots than the series or the quotas) raise FieldError. The result
    depends on the columns only: not on the machine, the order of the jobs, the unit of money or
    the number of threads.
    """
    if threads < 1:
        raise FieldError("range", "threads", f"{threads} threads", "give at least 1")
    network, policy = network or Network.of(), policy or Policy()
    if sites.capacity.shape[:2] != series.price_per_mwh.shape:
        raise FieldError(
            "shape",
            "capacity",
            f"{sites.capacity.shape[:2]} beside prices {series.price_per_mwh.shape}",
            "give sites and series the same sites and slots",
        )
    terms, term_errors = admit_terms(terms.fitting(sites) if terms else Terms.of(sites))
    quotas = len(terms.quotas.quota_id)
    admitted = admit(jobs, sites, series, network)
    bad, group_errors = unlike(admitted.jobs, admitted.row)
    admitted = admitted._replace(
        row=admitted.row[~bad],
        jobs=admitted.jobs.take(np.flatnonzero(~bad)) if bad.any() else admitted.jobs,
        errors=admitted.errors + group_errors + term_errors,
    )
    sites, series, joint = admitted.sites, admitted.series, join(admitted.jobs)
    terms = terms.with_apart(joint.jobs, sites)

    def solve(wanted: Jobs, before: Found | None = None) -> tuple[Found, Certificate]:
        start = warm if before is None else before.at_its_prices(wanted.job_id, warm)
        columns = (sites, series, network, policy, terms)
        last = last_options(wanted.job_id, warm, *sites.capacity.shape[:2])
        kinds, split = kinds_of(wanted, last), None
        if kinds is not None and (kinds.saves or not warm):
            of_kinds = compile_problem(wanted.take(kinds.first), *columns, alike=kinds.size)
            if not warm:
                split = Found(of_kinds, terms, threads).by_share(kinds, of_kinds, policy)
            if split is None and kinds.saves:
                whose = kinds.first[kinds.bundle]
                bundled = compile_problem(wanted.take(whose), *columns, times=kinds.times)
                together = Found(bundled, terms, threads)
                split = together.by_kind(last[whose], kinds, of_kinds, policy, start)
        if kinds is None or split is None:
            found = Found(compile_problem(wanted, *columns, threads=threads), terms, threads)
            found.solve(last, policy, start)
            return found, prove(wanted, found)
        found, placed = split
        proof = prove(wanted.take(kinds.first[placed.kind]), found, placed.times)
        return found.take(placed.of_jobs(kinds)), proof

    def prove(wanted: Jobs, found: Found, count: I64 | None = None) -> Certificate:
        plan = (found.site, found.slot, found.prices, terms, found.quota_prices, count)
        return certify(wanted, sites, series, network, policy, *plan, threads)

    if policy.max_moves == ANY:
        found, proof = solve(joint.jobs)
    else:
        found, dual = hold(solve, joint.jobs, sites, policy.max_moves, policy.gap_target)
        proof = prove(joint.jobs, found)
        proof = proof._replace(dual=max(proof.dual, dual))
    amount, nearest = relaxations(joint.jobs, sites, series, network, found.reason)
    amount, nearest = but_forbidden(terms.rules, joint.jobs, len(sites.up), amount, nearest)
    found.relax += amount
    found.reason_site[nearest >= 0] = nearest[nearest >= 0]
    if proof.violations:
        raise GridloomError(
            f"the match broke its own proof: {'; '.join(proof.violations)}",
            "report the columns of this tick",
        )
    if joint.jobs is not admitted.jobs:
        found.take(joint.row).cost[~joint.first] = 0.0
    return _plan(jobs, admitted, found, proof, policy, quotas, joint.first)


def _plan(
    jobs: Jobs,
    admitted: Admitted,
    found: Found,
    proof: Certificate,
    policy: Policy,
    quotas: int,
    first: Bool,
) -> Plan:
    """The plan in the order of the jobs given, bad rows included; of the quotas given."""
    placed, current = found.site >= 0, admitted.jobs.current_site
    gap = proof.primal - proof.dual
    status = Status.GAP_MET if gap <= policy.gap_target * proof.scale else Status.BUDGET
    pinned = (found.reason == Reason.REJECTED_CAPACITY) & (admitted.jobs.affinity != ANY)
    if pinned.any():
        status |= Status.INFEASIBLE_PINNED
    if admitted.errors:
        status |= Status.BAD_INPUT
    row = admitted.row
    as_given = len(row) == len(jobs.job_id) and bool((row[1:] > row[:-1]).all())
    spread = partial(_spread, len(jobs.job_id), None if as_given else row)
    return Plan(
        job_id=jobs.job_id,
        site=spread(found.site, ANY),
        slot=spread(found.slot, ANY),
        slots=spread(slots_at(admitted.jobs, admitted.sites, admitted.series, found.site), 0),
        cost_micro=spread(np.rint(found.cost * 1e6).astype(np.int64), 0),
        reason=spread(found.reason, Reason.BAD_INPUT),
        reason_site=spread(found.reason_site, ANY),
        reason_resource=spread(found.reason_resource, ANY),
        reason_quota=spread(np.where(found.reason_quota < quotas, found.reason_quota, ANY), ANY),
        second_cost=spread(found.second, 0),
        relax=spread(found.relax, 0),
        prices=found.prices,
        used=proof.used,
        quota_prices=found.quota_prices[:quotas],
        quota_used=proof.quota_used[:quotas],
        primal=proof.primal,
        dual=proof.dual,
        gap_rel=gap / proof.scale if proof.scale > 0 else 0.0,
        rejects=int((~placed).sum()),
        moves=int((first & placed & (current >= 0) & (found.site != current)).sum()),
        status=status,
        iterations=found.iterations,
        errors=admitted.errors,
    )


def _spread(rows: int, row: I64 | None, column: npt.NDArray[Any], absent: int) -> npt.NDArray[Any]:
    if row is None:
        return column
    whole = np.full(rows, absent, column.dtype)
    whole[row] = column
    return whole
