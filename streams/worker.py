"""A worker: one agent's stages as one Faust app, or a supervisor with a process an agent.

One agent is one consumer group, so that agents rebalance, lag and stop independently. A second
worker with the same agent shares its partitions.
"""

import ctypes
import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import faust
import uvloop
from faust.types import TP

from schemas.errors import ConfigError
from streams import metrics
from streams.agent import STAGES, stages_of
from streams.client import FETCH_BYTES, MAX_MESSAGE_BYTES, new_producer
from streams.log import configure, log
from streams.memory import keep_freed
from streams.produce import unjoined
from streams.registry_reader import RegistryReader
from streams.runtime import StageRunner
from streams.settings import Settings
from streams.transport import AHEAD_RUNS, ExactTransport

INGEST = "ingest"
_STOP_S = 30.0
_SAVE_LOOKS = 4  # for something to save, in save_ms
# Of one produce request and partition, so that the outputs of the messages between two saves travel
# together; with aiokafka's 16 KB each record waits for the answer to the one before it.
_BATCH_BYTES = 1 << 20


def agent_names() -> list[str]:
    """Every agent a worker can run, the bridge first."""
    return [INGEST, *dict.fromkeys(stage.agent for stage in STAGES.values())]


def group_of(settings: Settings, agent: str) -> str:
    """The consumer group of an agent."""
    return settings.topic(f"gridloom.{agent}")


def build_app(agent: str, settings: Settings) -> faust.App:
    """The Faust app of one agent, with the settings that its exactness rests on."""
    hosts = settings.brokers.split(",")
    app = faust.App(
        group_of(settings, agent),
        broker=";".join(f"kafka://{host.strip()}" for host in hosts),
        broker_credentials=_credentials(settings),
        broker_session_timeout=settings.session_ms / 1000,
        broker_rebalance_timeout=settings.session_ms / 1000,
        broker_heartbeat_interval=1.0,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES,
        producer_max_request_size=MAX_MESSAGE_BYTES,
        producer_acks=-1,
        producer_linger=0,
        stream_wait_empty=False,
        stream_buffer_maxsize=2 * AHEAD_RUNS,  # so that it is never full
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        web_enabled=False,
        # Without tables it stays empty, so one does for all workers, and none is left for each that
        # was killed.
        datadir=str(Path(gettempdir()) / f"gridloom-faust-{os.getuid()}"),
    )
    transport = ExactTransport(app.conf.broker_consumer, app)
    app.transport = transport
    Runners(app, agent, settings, transport)
    return app


def _credentials(settings: Settings) -> Any:
    arguments = settings.kafka
    if settings.sasl_username:
        return faust.SASLCredentials(
            username=settings.sasl_username,
            password=settings.sasl_password.get_secret_value(),
            mechanism="SCRAM-SHA-512",
            ssl_context=arguments.get("ssl_context"),
        )
    return faust.SSLCredentials(arguments["ssl_context"]) if settings.tls_ca else None


class Runners:
    """The stage runners of one app, started by its first assignment."""

    def __init__(
        self, app: faust.App, agent: str, settings: Settings, transport: ExactTransport
    ) -> None:
        self.app, self.settings = app, settings
        self._producer: Any = None
        self._registry = RegistryReader(settings)
        self._runners: dict[str, StageRunner] = {}
        transport.start_offsets = self.load
        self._stages = stages_of(agent)
        for stage in self._stages:
            self._attach(stage.source.name, stage.name)
        app.task(self._save_due)
        app.on_before_shutdown.connect(self._stop)

    def _attach(self, source: str, name: str) -> None:
        topic = self.app.topic(
            self.settings.topic(source),
            key_serializer="raw",
            value_serializer="raw",
            value_type=bytes,
        )

        async def run(stream: Any) -> None:
            async for event in stream.noack().events():
                try:
                    await self._runners[name].handle(event)
                finally:
                    self.app.consumer.done_with(event.message)

        self.app.agent(topic, name=f"gridloom.{name}", concurrency=1)(run)

    async def load(self, tps: set[TP]) -> dict[TP, int]:
        """The transport's hook after every assignment: take over, say where to read on."""
        if not self._runners:
            await self._start()
        offsets: dict[TP, int] = {}
        for stage in self._stages:
            topic = self.settings.topic(stage.source.name)
            offsets |= await self._runners[stage.name].load({t for t in tps if t.topic == topic})
        return offsets

    async def _start(self) -> None:
        self._producer = unjoined(
            new_producer(self.settings, linger_ms=2, max_batch_size=_BATCH_BYTES)
        )
        await self._producer.start()
        await self._registry.start()
        self._runners = {
            stage.name: StageRunner(self.app, stage, self.settings, self._producer, self._registry)
            for stage in self._stages
        }
        gc.freeze()  # what is imported by now stays: no collection has to look at it again

    async def _save_due(self) -> None:
        """Not a timer of Faust's: a save that waits for a broker is no reason for a warning."""
        while not self.app.should_stop:
            await self.app.sleep(self.settings.save_ms / 1000 / _SAVE_LOOKS)
            for runner in self._runners.values():
                await runner.save_due()

    async def _stop(self, *_: Any, **__: Any) -> None:
        for runner in self._runners.values():
            await runner.save_all()
        if self._runners:
            await self._registry.stop()
            await self._producer.stop()


def run_agent(agent: str, settings: Settings) -> None:
    """Run one agent in this process until SIGTERM or SIGINT."""
    import streams.agents  # noqa: F401  (registers the stages)

    configure(settings, agent=agent)
    if agent not in agent_names():
        raise ConfigError(f"no agent {agent!r}", f"choose from {', '.join(agent_names())}")
    metrics.serve(settings)
    keep_freed()
    uvloop.install()
    if agent == INGEST:
        from streams.ingest.bridge import run_bridge

        uvloop.run(run_bridge(settings))
        return
    app = build_app(agent, settings)
    worker = faust.Worker(
        app, loglevel="WARN", override_logging=False, redirect_stdouts=False, quiet=True
    )
    log("worker").info("starting", group=app.conf.id)
    worker.execute_from_commandline()


def run_agents(agents: list[str], settings: Settings) -> int:
    """Run several agents, a process each; ends when told to, or when one of them fails."""
    if len(agents) == 1:
        run_agent(agents[0], settings)
        return 0
    configure(settings, agent="supervisor")
    children = {agent: spawn(agent, settings, index) for index, agent in enumerate(agents)}
    stopping = False

    def stop(*_: Any) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    failed = ""
    while not stopping and not failed:
        time.sleep(0.2)
        failed = next((a for a, child in children.items() if child.poll() is not None), "")
    if failed:
        log("worker").error("agent_ended", agent=failed, code=children[failed].returncode)
    stop_children(list(children.values()))
    return 1 if failed else 0


def spawn(
    agent: str, settings: Settings, index: int = 0, stderr: Any = None
) -> "subprocess.Popen[bytes]":
    """Start one agent as a process of its own that dies with this one."""
    environment = os.environ | {
        "GRIDLOOM_BROKERS": settings.brokers,
        "GRIDLOOM_NAMESPACE": settings.namespace,
    }
    if settings.metrics_port:
        environment["GRIDLOOM_METRICS_PORT"] = str(settings.metrics_port + index)
    return subprocess.Popen(
        [sys.executable, "-m", "streams", "worker", "--agents", agent, f"--parent={os.getpid()}"],
        env=environment,
        stderr=stderr,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C goes to the parent, which stops its children cleanly
    )


def die_with(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent ends, however it ends.

    Not SIGTERM: the broker may have died with the parent, and a clean end would wait for it. No
    result depends on a clean end.
    """
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        sys.exit(1)


def stop_children(children: "list[subprocess.Popen[bytes]]") -> None:
    """SIGTERM to all, SIGKILL to what has not ended in time."""
    for child in children:
        if child.poll() is None:
            child.terminate()
    deadline = time.monotonic() + _STOP_S
    for child in children:
        try:
            child.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
