"""Whatever is late, the children of a domain together never use more of a quota than there is.

Random trees of three levels, jobs sent to any of them, mail that arrives when it likes, ticks in
any order: after every row the use of all that runs is within the parent's quota at every hour, and
every job that was sent waits, has started or is on its way in one place.
"""

import random

import pytest

from schemas.policy import Limits
from tests.unit.dispatch_cases import HOUR_MS, T0, tick
from tests.unit.hierarchy_cases import Realm, banks, quota

ACCOUNTS = ("bank", "shop")
started: list[int] = []  # jobs of each case
returned: list[int] = []  # rows of each case


def tree(chance: random.Random) -> dict[str, str | None]:
    found: dict[str, str | None] = {"nation": None}
    for hub in range(2):
        found[f"hub{hub}"] = "nation"
        for city in range(chance.randint(0, 2)):
            found[f"city{hub}{city}"] = f"hub{hub}"
    return found


def limits(chance: random.Random) -> dict[str, object]:
    """A limit of cores, the same for ever or another every few hours; perhaps one of jobs."""
    cores: object = chance.randint(2, 12) * 500
    if chance.random() < 0.5:
        hours = sorted(chance.sample(range(1, 12), 3))
        cores = [[0, cores], *([T0 + h * HOUR_MS, chance.randint(0, 12) * 500] for h in hours)]
    return {"cores_milli": cores} | (
        {"jobs": chance.randint(0, 5)} if chance.random() < 0.5 else {}
    )


def within(made: Realm, owner: str, account: str, of: list[Limits]) -> None:
    """At every hour no limit is exceeded; of several in turn, not the highest."""
    for kind, name in ((0, "cores_milli"), (5, "jobs")):
        used = use(made, owner, account, kind)
        for hour, amount in enumerate(used):
            place = list(Limits.__struct_fields__).index(name)
            allowed = [one.at(T0 + hour * HOUR_MS)[place] for one in of]
            if None not in allowed:
                assert amount <= max(allowed), (owner, account, name, hour, amount, allowed)


def in_one_place(made: Realm, sent: set[str], started_at: dict[str, str]) -> None:
    """Every job waits at one domain, has started at one, or is in one row of the mail."""

    def named(domain: str, job: str) -> str:
        return job if "/" in job else f"{domain}/{job}"

    found: list[str] = []
    for name in made.tree:
        market = made.market(name)
        found += [named(name, job) for job in market.jobs]
        found += [r["id"] for r in made.mail[name] if r["kind"] in ("job", "returned")]
        for run in market.running:
            if run.site_id not in made.tree:
                assert started_at.setdefault(named(name, run.job_id), name) == name
    assert sorted([*found, *started_at]) == sorted(sent)


def use(made: Realm, owner: str, account: str, kind: int) -> list[int]:
    if kind < 5:
        return made.use(owner, account, kind)
    runs = [run for run in made.running(owner) if run.account_id == account]
    hours = [T0 + hour * HOUR_MS for hour in range(48)]
    return [sum(run.start_ms <= hour < run.end_ms for run in runs) for hour in hours]


@pytest.mark.parametrize("seed", range(12))
def test_children_never_exceed_their_parents_quota_whoever_is_late(seed: int) -> None:
    chance = random.Random(seed)
    made = Realm(tree(chance), steps=chance.randint(2, 3))
    held = {}
    for owner in ("nation", "hub0"):
        for account in ACCOUNTS:
            held[owner, account] = limits(chance)
        quotas = [quota(f"q{a}", a, **held[owner, a]) for a in ACCOUNTS]
        made.policy(owner, *quotas)
    read = {key: [Limits(**as_limits(given))] for key, given in held.items()}
    made.furnish(own=[name for name in made.tree if chance.random() < 0.5])
    made.tick(0)
    sent, started_at = set[str](), dict[str, str]()
    names, hours = list(made.tree), dict.fromkeys(made.tree, 0)
    for number in range(150):
        act, name = chance.choice(("job", "tick", "mail", "mail")), chance.choice(names)
        if act == "job":
            for n in range(3):
                account, to = chance.choice(ACCOUNTS), chance.choice((name, "nation"))
                asked = chance.randint(1, 2), chance.randint(1, 4)
                made.send(to, banks(f"j{number}-{n}", *asked, account_id=account))
                sent.add(f"{to}/j{number}-{n}")
        elif act == "tick" and hours[name] <= min(hours.values()) + 1:
            hours[name] += 1
            made.send(name, tick(hours[name]))
        elif made.mail[name]:  # some of it
            some = chance.randint(1, len(made.mail[name]))
            rows, made.mail[name] = made.mail[name][:some], made.mail[name][some:]
            made.apply(name, rows)
        for (owner, account), of in read.items():
            within(made, owner, account, of)
        in_one_place(made, sent, started_at)
    started.append(len(started_at))
    returned.append(sum(row["kind"] == "returned" for name in names for row in made.log[name]))


def test_the_cases_start_jobs_and_return_some() -> None:
    assert len(started) < 12 or sum(started) > 40
    assert len(returned) < 12 or sum(returned) > 20


def as_limits(given: dict[str, object]) -> dict[str, object]:
    return {
        name: tuple(map(tuple, one)) if isinstance(one, list) else one
        for name, one in given.items()
    }
