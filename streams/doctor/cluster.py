"""Checks of the cluster: broker, topics, schema versions, lag, the identity, the clock."""

import time

from aiokafka import TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError

from schemas import TOPICS, DecodeError
from schemas.codec import decode, header_map
from streams.agent import STAGES
from streams.client import admin, consumer, partitions_of
from streams.counts import Counts
from streams.doctor.check import Check, fail, ok, warn
from streams.ingest.bridge import ingest_counts
from streams.journal import saved_counts
from streams.lag import watch
from streams.settings import Settings
from streams.topics import end_offsets, wanted

_LAST_MS = 2_000  # a last record that does not come in this time was compacted away
_CLOCK_MS = 5_000  # records this far in the future: two clocks disagree


async def cluster_checks(settings: Settings) -> list[Check]:
    """All checks; the broker's alone where it does not answer as it should."""
    checks = [await broker(settings), *await topics(settings)]
    checks += await last_messages(settings)
    checks += await lags(settings)
    checks += await identities(settings)
    return checks


async def broker(settings: Settings) -> Check:
    """Who answers, and how fast. Raises BrokerUnreachableError."""
    async with admin(settings) as client:
        began = time.perf_counter()
        cluster = await client.describe_cluster()
        took_ms = (time.perf_counter() - began) * 1000
    found = f"{len(cluster['brokers'])} at {settings.brokers}, answers in {took_ms:.1f} ms"
    return ok("broker", found)


async def topics(settings: Settings) -> list[Check]:
    """Every topic and journal is there with the partitions that the schemas say."""
    expected = {name: topic.num_partitions for name, topic in wanted(settings).items()}
    present = {name: len(p) for name, p in (await partitions_of(settings, list(expected))).items()}
    return compare_topics(expected, present)


def compare_topics(expected: dict[str, int], present: dict[str, int]) -> list[Check]:
    """Partitions by topic, as wanted and as found."""
    missing = [name for name in expected if name not in present]
    differ = [f"{n} has {p}, not {expected[n]}" for n, p in present.items() if p != expected[n]]
    checks = []
    if missing:
        checks.append(
            fail("topics", f"missing: {', '.join(missing)}", "`gridloom topics --create`")
        )
    if differ:
        checks.append(
            fail(
                "partitions",
                "; ".join(differ),
                "rows are placed by the number of partitions: use another GRIDLOOM_NAMESPACE",
            )
        )
    return checks or [ok("topics", f"{len(expected)} with the right partitions")]


async def last_messages(settings: Settings) -> list[Check]:
    """The newest batch of each partition is readable with this version's schema; the clock."""
    arrow = {settings.topic(t.name): t for t in TOPICS.values() if t.form == "arrow"}
    ends = await end_offsets(settings, list(arrow))
    last = {TopicPartition(n, p): end - 1 for n, by in ends.items() for p, end in by.items() if end}
    unreadable: list[str] = []
    newest_ms = 0
    async with consumer(settings) as client:
        for tp, offset in last.items():
            client.assign([tp])
            client.seek(tp, offset)
            for record in (await client.getmany(tp, timeout_ms=_LAST_MS)).get(tp, []):
                newest_ms = max(newest_ms, record.timestamp)
                try:
                    decode(arrow[tp.topic], record.value, header_map(record.headers))
                except DecodeError as error:
                    unreadable.append(f"{tp.topic}/{tp.partition}/{record.offset}: {error}")
    read = ok("schema versions", f"the newest of {len(last)} partitions can be read")
    if unreadable:
        read = fail(
            "schema versions", "; ".join(unreadable), "run one version of gridloom everywhere"
        )
    return [read, *clock(newest_ms, int(time.time() * 1000))]


def clock(newest_ms: int, now_ms: int) -> list[Check]:
    """Agents stamp records by their host's clock: none may lie in our future."""
    ahead_ms = newest_ms - now_ms
    if not newest_ms:
        return []
    if ahead_ms > _CLOCK_MS:
        return [
            warn(
                "clock",
                f"the newest record lies {ahead_ms / 1000:.1f} s in this machine's future",
                "synchronise the hosts' clocks (NTP); results do not depend on them",
            )
        ]
    return [ok("clock", f"the newest record is {-ahead_ms / 1000:.0f} s old")]


async def lags(settings: Settings) -> list[Check]:
    """Per agent: messages not yet read and saved, and whether a worker is there."""
    async with watch(settings) as watching:
        found = (await watching.now()).lags
    return [
        lag_check(agent, lag.behind, await members_of(settings, agent))
        for agent, lag in found.items()
    ]


async def members_of(settings: Settings, agent: str) -> int:
    """Workers in the agent's consumer group."""
    group = settings.topic(f"gridloom.{agent}")
    async with admin(settings) as client:
        try:
            answers = await client.describe_consumer_groups([group])
        except GroupCoordinatorNotAvailableError:
            return 0  # the first group of a new cluster: nobody is in it yet
    return sum(
        len(members)
        for answer in answers
        for _, name, _, _, _, members, *_ in answer.groups
        if name == group
    )


def lag_check(agent: str, behind: int, members: int) -> Check:
    """Lag with a worker is work in progress; without one it is nobody's."""
    found = f"lag {behind} messages, {members} worker(s)"
    if behind and not members:
        return warn(f"agent {agent}", found, f"`gridloom worker --agents {agent}`")
    return ok(f"agent {agent}", found)


async def identities(settings: Settings) -> list[Check]:
    """consumed = accepted + duplicate + superseded + dead-lettered, per stage, as saved."""
    counted = {f"ingest.{name}": c for name, c in (await ingest_counts(settings)).items()}
    journals = {settings.topic(stage.journal_topic): stage for stage in STAGES.values()}
    present = await partitions_of(settings, list(journals))
    for journal, stage in journals.items():
        if journal in present:
            counted[stage.name] = await saved_counts(settings, stage)
    return [identity(stage, counts) for stage, counts in counted.items() if counts.consumed]


def identity(stage: str, counts: Counts) -> Check:
    """One stage's terms."""
    terms = counts.terms()
    found = ", ".join(f"{name} {rows}" for name, rows in terms.items())
    consumed = terms.pop("consumed")
    if consumed != sum(terms.values()):
        return fail(
            f"identity {stage}", found, "keep the topics and journals, and report this: rows vanish"
        )
    if counts.lost_messages:
        return fail(
            f"identity {stage}",
            f"{found}; {counts.lost_messages} messages were removed before they were read",
            "raise the source topic's retention; produce again what is known to be missing",
        )
    return ok(f"identity {stage}", found)
