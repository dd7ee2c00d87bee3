"""One run's world: topics of its own, a registry, the feed, the watch and the workers."""

import asyncio
import json
import os
import random
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

import streams.agents  # noqa: F401  (registers the stages)
from schemas.errors import GridloomError
from schemas.registry import format_entry
from streams.agent import STAGES
from streams.client import admin, producer
from streams.settings import Settings
from streams.topics import end_offsets, group_offsets, wanted
from tests.fault.feed import Feed, entries
from tests.fault.ground import Ground
from tests.fault.scenario import Run, Scenario
from tests.fault.watch import Watch
from tests.fault.workers import Workers

JOURNAL = STAGES["meter.readings"].journal_topic
TOPICS = ("telemetry.in", "market.in", "registry", "readings", "dead-letter", "usage", JOURNAL)
BRIDGE_READS, METER_READS = ("ingest", "telemetry.in"), ("meter", "readings")
RECOVERY_S = 120.0  # what has not recovered by then never will
_DRAIN_S = 120.0
_UNREADABLE = 3  # at a partition's end: two markers and a message that was taken back
_SLACK_S = 3.0
_VERIFY = Path(__file__).with_name("verify.py")


class FaultError(GridloomError):
    """A run that came to no verdict, or a promise broken that the verdict does not count."""


class World:
    """What a scenario acts on."""

    def __init__(
        self, ground: Ground, settings: Settings, scenario: Scenario, number: int, run: Run
    ) -> None:
        self.ground, self.settings, self.scenario, self.run = ground, settings, scenario, run
        seed = f"{scenario.name}/{number}"
        self.random = random.Random(seed)  # of the scenario alone: how fast rows flow may differ
        self.folder = Path(tempfile.mkdtemp(prefix="gridloom-fault-"))
        environment = os.environ | ground.environment
        environment |= {"GRIDLOOM_NAMESPACE": settings.namespace, "GRIDLOOM_LOG_FORMAT": "json"}
        environment["TMPDIR"] = str(self.folder)  # a killed worker leaves a folder behind
        self.workers = Workers(self.folder, environment)
        self.feed = Feed(settings, random.Random(seed), scenario.mix, scenario.source)
        self.watch = Watch(settings)
        self.earlier: Path | None = None
        self.removed: dict[str, dict[int, tuple[int, int]]] = {}
        self.feeding: asyncio.Task[None] | None = None

    # -- the course of a run --

    async def flow(self, *names: str) -> None:
        """Start these workers and the feed, and wait until rows come out everywhere."""
        for name in names:
            self.workers.start(name)
        self.feeding = asyncio.create_task(self.feed.run())
        await self.recovered(time.monotonic() - 1, counted=False)

    async def load(self, low_s: float, high_s: float) -> None:
        """Some time under load: the random point of a fault."""
        await asyncio.sleep(self.random.uniform(low_s, high_s))

    async def recovered(self, since_s: float, topic: str = "usage", counted: bool = True) -> float:
        """Wait until every partition of an output brought a new row; counts the time it took."""
        try:
            took_s = await self.watch.until_new(topic, since_s, RECOVERY_S)
        except TimeoutError:
            raise FaultError(f"no new rows in {topic} after {RECOVERY_S:.0f} s") from None
        if counted:
            self.run.recoveries_s.append(took_s)
        return took_s

    @staticmethod
    def now_s() -> float:
        """The clock of the watch."""
        return time.monotonic()

    def fault(self, count: int = 1) -> None:
        self.run.faults += count

    async def finish(self) -> None:
        """End the feed, wait until all is read and saved, end the workers, and judge."""
        self.feed.stop()
        if self.feeding is not None:
            await self.feeding
        try:
            async with asyncio.timeout(_DRAIN_S):
                while await self._behind() or await self._behind():
                    await asyncio.sleep(0.3)
                if self.scenario.source.transactions:  # the slack may have been real messages
                    await asyncio.sleep(_SLACK_S)
        except TimeoutError:
            raise FaultError(
                f"not drained after {_DRAIN_S:.0f} s: behind by {await self._behind()}; if all "
                f"were to end now: {await self.verify()}"
            ) from None
        if late := await self.workers.end():
            raise FaultError(f"SIGTERM did not end {', '.join(late)}")
        self.run.restarts = self.workers.restarts
        self.run.verdict = await self.verify()

    async def bridge_idle(self, unless: str) -> None:
        """Wait until the bridge has passed on everything; at once where it is the dead one."""
        while unless != "ingest" and await self._unread(*BRIDGE_READS):
            await asyncio.sleep(0.3)

    async def _behind(self) -> dict[str, dict[int, int]]:
        """Agent -> partition -> messages that it has not committed."""
        behind = {}
        if self.scenario.source.topic != "readings":
            behind["ingest"] = await self._unread(*BRIDGE_READS)
        behind["meter"] = await self._unread(*METER_READS)
        return {agent: unread for agent, unread in behind.items() if unread}

    async def _unread(self, agent: str, topic: str) -> dict[int, int]:
        """Partition -> messages up to the topic's end; a transaction's marker is never read."""
        source = self.scenario.source
        slack = _UNREADABLE if source.transactions and topic == source.topic else 0
        full = self.settings.topic(topic)
        ends = (await end_offsets(self.settings, [full]))[full]
        done = await group_offsets(self.settings, self.settings.topic(f"gridloom.{agent}"))
        read = {tp.partition: at for tp, (at, _) in done.items() if tp.topic == full}
        unread = {p: end - read.get(p, 0) for p, end in ends.items()}
        return {p: messages for p, messages in unread.items() if messages > slack}

    # -- the verdict --

    async def keep_earlier(self) -> dict[str, dict[int, int]]:
        """What the topics hold now, before retention removes some of it.

        Returns how far each partition is read: by the worker (journal), by the bridge (committed).
        """
        self.earlier = self.folder / "earlier.json"
        read = json.loads(await self._script("read", str(self.earlier)))
        return {who: {int(p): offset for p, offset in at.items()} for who, at in read.items()}

    async def verify(self) -> dict[str, int]:
        asked: dict[str, Any] = {"source": self.scenario.source.topic}
        if self.earlier is not None:
            asked |= {"earlier": str(self.earlier), "removed": self.removed}
        path = self.folder / "asked.json"
        path.write_bytes(orjson.dumps(asked, option=orjson.OPT_NON_STR_KEYS))
        verdict: dict[str, int] = json.loads(await self._script("judge", str(path)))
        return verdict

    async def _script(self, *arguments: str) -> bytes:
        settings = self.settings
        environment = os.environ | {
            "BROKERS": settings.brokers,
            "NAMESPACE": settings.namespace,
            "JOURNAL": settings.topic(JOURNAL),
        }
        if settings.tls_ca:
            environment |= {
                "CA": str(settings.tls_ca),
                "SASL_USER": settings.sasl_username,
                "SASL_PASSWORD": settings.sasl_password.get_secret_value(),
            }
        script = await asyncio.create_subprocess_exec(
            sys.executable, str(_VERIFY), *arguments, env=environment, stdout=-1, stderr=-1
        )
        said, error = await script.communicate()
        if script.returncode:
            raise FaultError("the verifying script failed", error.decode()[-2000:])
        return said


@asynccontextmanager
async def world(ground: Ground, scenario: Scenario, number: int, run: Run) -> AsyncIterator[World]:
    """A world for one run; leaves no process, topic or file behind, however it ends."""
    settings = ground.settings.model_copy(update={"namespace": f"f{uuid.uuid4().hex[:8]}."})
    made = World(ground, settings, scenario, number, run)
    tasks: list[asyncio.Task[None]] = []
    try:
        await _prepare(settings, scenario)
        tasks += [asyncio.create_task(made.workers.keep()), asyncio.create_task(made.watch.run())]
        yield made
    except (Exception, asyncio.CancelledError) as error:
        run.failure = f"{type(error).__name__}: {error}\n{made.workers.tail()}"
        raise
    finally:
        made.workers.kill()
        tasks += [made.feeding] if made.feeding else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        shutil.rmtree(made.folder, ignore_errors=True)
        with suppress(Exception):
            await _delete(settings)


async def _prepare(settings: Settings, scenario: Scenario) -> None:
    topics = wanted(settings)
    async with admin(settings) as client:
        made = [topics[settings.topic(name)] for name in TOPICS]
        if scenario.source.keyed:
            for topic in made:
                if topic.name == settings.topic(scenario.source.topic):
                    topic.topic_configs |= COMPACTED_SOON
        await client.create_topics(made)
    async with producer(settings, linger_ms=5) as client:
        sends: list[Awaitable[Any]] = [
            await client.send(
                settings.topic("registry"), format_entry(entry), key=entry.key.encode()
            )
            for entry in entries()
        ]
        await asyncio.gather(*sends)


# the cleaner takes whatever is in a closed segment, and segments are closed soon
COMPACTED_SOON = {
    "cleanup.policy": "compact",
    "segment.ms": "1000",
    "min.cleanable.dirty.ratio": "0.01",
    "max.compaction.lag.ms": "1000",
}


async def _delete(settings: Settings) -> None:
    """Topics of a run that is over: a broker serves hundreds of runs."""
    async with asyncio.timeout(20), admin(settings) as client:
        await client.delete_topics([settings.topic(name) for name in TOPICS])
