"""The way back: a child gives its parent back what it finds no place for, to be placed elsewhere.

A job that a parent handed down is started, planned or returned at each decision of the child, and
never rejected there for good. The domain that it was sent to first keeps it from that child for the
next tick, and twice as long each time, so that tries grow as the logarithm of its wait. A domain
between gives it to each of its children once, and then returns it too.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from kernels.match import ANY, Plan, Reason
from schemas.market import RETURNED
from schemas.offer import Returned
from schemas.registry import Domain
from streams.dispatch.state import HAND, Market, Row, Sent, sender_of

_NEVER = -1
_DOUBLED_MAX = 20  # times that the wait doubles


def give_back(
    market: Market,
    parent: str | None,
    jobs: list[Row],
    plan: Plan,
    detail_of: Callable[[int], str],
) -> list[Row]:
    """Rows of the parent: every job of its that the plan has no place for, which leaves here."""
    rows = []
    for i in np.flatnonzero(plan.site == ANY).tolist() if parent is not None else ():
        job = jobs[i]
        if sender_of(job) == parent:
            del market.jobs[job["id"]]
            why = Returned(reason=Reason(plan.reason[i]).name, detail=detail_of(i))
            rows.append({"kind": RETURNED, "id": job["id"], "deal": why.text()})
    return rows


def taken_back(market: Market, domain: Domain, row: Row, why: Returned) -> Row | None:
    """The job of a returned row waits here again; None where this child has no such job."""
    sent = market.handed.get(row["id"])
    if sent is None or sent.child != row["source"]:
        return None
    del market.handed[row["id"]]
    job, child = sent.job, sent.child
    market.running = [
        run for run in market.running if (run.job_id, run.site_id) != (job["id"], child)
    ]
    market.decided.pop(job["id"], None)
    before = job.get("returns", {})
    times = before[child][0] + 1 if child in before else 1
    # a part of a quota moves in a tick: where that was short, the same child may do the next time
    doubled = times - 1 if why.reason == Reason.REJECTED_QUOTA.name else times
    wait = domain.tick_ms << min(doubled, _DOUBLED_MAX)
    until = _NEVER if job["source_partition"] == HAND else market.last_tick_ms + wait
    said = child, why.reason, why.detail
    returns = {**before, child: (times, until)}
    market.jobs[job["id"]] = job | {"returns": returns, "returned": said}
    return market.jobs[job["id"]]


def said_of(job: Row) -> tuple[Reason, str]:
    """Why the last child returned the job, and as what is said of it."""
    child, reason, detail = job.get("returned", ("", "", ""))
    known = Reason.__members__.get(reason, Reason.REJECTED_CAPACITY)
    return known, f"returned by {child}: {reason} {detail}".rstrip()


def barred_at(job: Row, sites: list[Row], tick_ms: int) -> npt.NDArray[np.bool_] | None:
    """The sites [M] that may take the job; those of a child that returned it lately may not."""
    if "returns" not in job:
        return None
    barred = {
        child for child, (_, until) in job["returns"].items() if until == _NEVER or tick_ms < until
    }
    return np.array([site["id"] not in barred for site in sites], np.bool_)


def remember(market: Market, child: str, job: Row, name: str, deal: int) -> None:
    """A job is handed down, by a name: until the child has started it, it may come back."""
    market.handed[name] = Sent(child, deal, job)


def unsettled(market: Market, parent: str) -> tuple[str, ...]:
    """The parent's jobs that may still be returned to it: that wait here, or may come back here."""
    waiting = [name for name, job in market.jobs.items() if sender_of(job) == parent]
    below = [name for name, sent in market.handed.items() if sender_of(sent.job) == parent]
    return tuple(sorted(waiting + below))


def settle(market: Market, child: str, deal: int, waiting: tuple[str, ...]) -> None:
    """Forget what the child has started: of what came with its newest deal, all but what waits."""
    still = set(waiting)
    market.handed = {
        name: sent
        for name, sent in market.handed.items()
        if sent.child != child or sent.deal > deal or name in still
    }
