"""Lending: how much of a part each child may still use, as limits over time.

A part is lent from the deal on until the child has answered it, or a later one, and then as far as
the answer says. Tables [K, 6] have a row a time, which holds until the next; order of LIMITED.
"""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from kernels.match import LIMITED, RESOURCES
from kernels.match.columns import ANY
from schemas.policy import LIMIT_MAX, Deal, Limits, Part
from streams.dispatch.state import Lent, Market, Running
from streams.policy import limits_of

I64 = npt.NDArray[np.int64]

ASKED_MAX = LIMIT_MAX >> 16  # so that what many ask for can be added up
_DEALT_MAX = 4  # deals of a child that is silent are kept apart; older ones as one


def lent_of(
    part: Part, market: Market, children: frozenset[str], from_ms: int, more: Iterable[int] = ()
) -> tuple[list[int], I64, dict[str, I64]]:
    """Times; the part's limits then; and the most that each child may use of it [K, 6]."""
    known = {
        child: [
            one.limits
            for some in (lent.kept, *(dealt.parts for dealt in lent.dealt))
            for one in some
            if one.id == part.id
        ]
        for child, lent in market.below.items()
        if child in children
    }
    all_of = [part.limits, *(one for ones in known.values() for one in ones)]
    all_of += [_of(part, lent.asked) for lent in market.below.values()]
    starts = set(more).union(*(one.starts() for one in all_of))
    times = [from_ms, *sorted(start for start in starts if start > from_ms)]
    none = np.zeros((len(times), len(LIMITED)), np.int64)
    lent = dict.fromkeys(children, none)
    for child, ones in known.items():
        for one in ones:
            lent[child] = np.maximum(lent[child], _table(one, times))  # ANY, no limit, is below 0
    return times, _table(part.limits, times), lent


def spliced(
    from_ms: int, before: Sequence[Part], after: Sequence[Part], since_ms: int
) -> tuple[Part, ...]:
    """Parts that hold `before` until a time, and `after` from then on; what ended is left out.

    A part that was not there before holds for all times.
    """
    old, new = ({part.id: part for part in some} for some in (before, after))
    made = []
    for part_id in sorted(old.keys() | new.keys()):
        part = new.get(part_id) or old[part_id]
        later = new[part_id].limits if part_id in new else Limits()
        earlier = old[part_id].limits if part_id in old else None
        if part_id not in new and from_ms <= since_ms:
            continue
        starts = later.starts() | (earlier.starts() if earlier else set()) | {0, from_ms}
        first = max(start for start in starts if start <= max(0, since_ms))
        times = sorted(start for start in starts if start >= first)
        rows = [
            _row(earlier, time) if earlier and time < from_ms else _row(later, max(time, from_ms))
            for time in times
        ]
        made.append(part_at(part, part_id, limits_of(np.array(rows, np.int64), times)))
    return tuple(made)


def lend(lent: Lent, dealt: Deal) -> None:
    """Count a deal as lent; of a child that does not answer, the oldest become one."""
    lent.dealt.append(dealt)
    while len(lent.dealt) > _DEALT_MAX:
        old, new = lent.dealt[:2]
        by_id = {part.id: part for part in old.parts}
        for part in new.parts:
            known = by_id.get(part.id, part)
            starts = part.limits.starts() | known.limits.starts()
            times = [0, *sorted(start for start in starts if start > 0)]
            most = np.maximum(_table(part.limits, times), _table(known.limits, times))
            by_id[part.id] = part_at(part, part.id, limits_of(most, times))
        lent.dealt[:2] = [Deal(number=new.number, parts=tuple(by_id.values()))]


def asked_by(part: Part, lent: Lent, times: Sequence[int]) -> I64:
    """What a child asks for of a part [K, 6]."""
    return np.clip(_table(_of(part, lent.asked), times), 0, ASKED_MAX)


def waiting(part: Part, market: Market, planned: set[str]) -> I64:
    """What the jobs that wait here without a plan ask for of a part [6]."""
    need = [0] * len(LIMITED)
    for name, job in market.jobs.items():
        named = _named(part, job["class"], job["account_id"], job["region"])
        if named and name not in planned:
            asked = [*(job.get(resource, 0) for resource in RESOURCES), 1]
            need = [min(a + b, ASKED_MAX) for a, b in zip(need, asked, strict=True)]
    return np.array(need, np.int64)


def use_of(runs: list[Running], sites: Sequence[str], times: Sequence[int]) -> I64:
    """Use [M, K, 6] at the sites between the times, of all jobs that run in any of it."""
    edges = np.zeros((len(sites), len(times) + 1, len(LIMITED)), np.int64)
    index = {site: m for m, site in enumerate(sites)}
    known = [run for run in runs if run.site_id in index]
    if known:
        at = np.array([index[run.site_id] for run in known])
        need = np.array([(*run.demand, 1) for run in known], np.int64)
        first = np.searchsorted(times, [run.start_ms for run in known], side="right") - 1
        last = np.searchsorted(times, [run.end_ms for run in known], side="left")
        np.add.at(edges, (at, np.maximum(first, 0)), need)
        np.subtract.at(edges, (at, last), need)
    use: I64 = edges.cumsum(axis=1)[:, :-1]
    return use


def names(part: Part, run: Running) -> bool:
    """Whether the part holds for a job that runs."""
    return _named(part, run.job_class, run.account_id, run.pairing)


def _named(part: Part, job_class: str, account_id: str, pairing: str) -> bool:
    asked = (part.job_class, part.account_id, part.pairing)
    of = (job_class, account_id, pairing)
    return all(one in (None, is_) for one, is_ in zip(asked, of, strict=True)) != part.others


def _of(part: Part, some: Sequence[Part]) -> Limits:
    """The limits of the part among some."""
    return next((one.limits for one in some if one.id == part.id), Limits())


def part_at(part: Part, part_id: str, limits: Limits, sites: tuple[str, ...] = ()) -> Part:
    """The part for other sites; none named = all."""
    return msgspec.structs.replace(part, id=part_id, limits=limits, regions=(), sites=sites)


def _table(limits: Limits, times: Sequence[int]) -> I64:
    """Limits [K, 6] that hold at the times, ANY = none."""
    return np.array([_row(limits, time) for time in times], np.int64)


def _row(limits: Limits, time: int) -> list[int]:
    return [ANY if one is None else one for one in limits.at(time)]


def parts(used: I64, limit: I64) -> I64:
    """Parts [C, T, 6] of a limit [T, 6]: what is used [C, T, 6], and an equal part of the rest.

    Where more is used than the limit, who uses most is served first. What equal parts leave goes to
    the first.
    """
    order = np.argsort(-used, axis=0, kind="stable")
    most = np.take_along_axis(used, order, axis=0)
    before = most.cumsum(axis=0) - most
    kept = np.empty_like(used)
    np.put_along_axis(kept, order, np.clip(limit - before, 0, most), axis=0)
    rest = np.maximum(limit - kept.sum(axis=0), 0)
    made: I64 = kept + rest // len(used)
    made[0] += rest % len(used)
    return made
