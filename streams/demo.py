"""The demo: a cluster of its own, every agent a process, one feed through all of it, and its end.

Whatever happens - an error, Ctrl-C, a kill - nothing stays behind: the workers die with this
process, the embedded broker with its watchdog, and topics on a user's cluster are deleted.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import streams.agents  # noqa: F401  (registers the stages)
from schemas.errors import GridloomError
from streams.broker import Broker
from streams.client import admin
from streams.feeds.feed import Feed
from streams.feeds.player import play
from streams.lag import Moment, settled, watch
from streams.settings import Settings
from streams.topics import create_topics
from streams.worker import agent_names, spawn, stop_children

_POLL_S = 0.5
_STALL_S = 60.0  # nothing was read or written for so long: it will not come to its end
_LOG_LINES = 12


class DemoError(GridloomError):
    """The demo cannot come to its end."""


@contextmanager
def cluster(known: Settings, say: Callable[[str], None]) -> Iterator[Settings]:
    """An embedded broker that ends with this process; or a namespace on the user's cluster."""
    if known.brokers:
        own = known.model_copy(update={"namespace": f"{known.namespace}demo-{os.getpid()}."})
        say(f"using {own.brokers}, every topic below {own.namespace}")
        try:
            yield own
        finally:
            asyncio.run(_delete_topics(own))
        return
    broker = Broker("demo", ephemeral=True, on_progress=say)
    try:
        yield known.model_copy(update={"brokers": broker.start()})
    finally:
        broker.kill()  # its data goes with it: nothing is won by waiting for a clean end
        broker.stop()


async def _delete_topics(settings: Settings) -> None:
    async with admin(settings) as client:
        names = [n for n in await client.list_topics() if n.startswith(settings.namespace)]
        await client.delete_topics(names)


class Workers:
    """The agents' processes; each logs to a file of its own."""

    def __init__(self, settings: Settings, logs: Path) -> None:
        self.logs = logs
        logs.mkdir(parents=True, exist_ok=True)
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        for index, agent in enumerate(agent_names()):
            with self.log_path(agent).open("wb") as log:
                self.children[agent] = spawn(agent, settings, index, stderr=log)

    def log_path(self, agent: str) -> Path:
        return self.logs / f"{agent}.log"

    def check(self) -> None:
        """Raises DemoError with the log's last lines where an agent has ended."""
        for agent, child in self.children.items():
            if child.poll() is not None:
                raise DemoError(
                    f"agent {agent} ended with code {child.returncode}\n{self.last_lines(agent)}",
                    f"see {self.log_path(agent)}",
                )

    def last_lines(self, agent: str) -> str:
        lines = self.log_path(agent).read_text(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-_LOG_LINES:])

    def stop(self) -> None:
        stop_children(list(self.children.values()))


@contextmanager
def workers(settings: Settings) -> Iterator[Workers]:
    """Every agent, stopped at the end; the logs of a failure stay until the next demo."""
    _forget_logs()
    logs = state_home() / f"demo-{os.getpid()}"
    running = Workers(settings, logs)
    try:
        yield running
    except DemoError:
        running.stop()
        raise
    except BaseException:
        running.stop()
        shutil.rmtree(logs, ignore_errors=True)
        raise
    running.stop()
    shutil.rmtree(logs, ignore_errors=True)


def _forget_logs() -> None:
    """Remove the logs of demos that have ended."""
    for folder in state_home().glob("demo-*"):
        if not Path("/proc", folder.name.removeprefix("demo-")).exists():
            shutil.rmtree(folder, ignore_errors=True)


def state_home() -> Path:
    """XDG state of gridloom: logs."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "gridloom"


async def prepare(settings: Settings) -> int:
    """Create every topic; how many."""
    return len(await create_topics(settings))


async def flow(
    settings: Settings,
    feed: Feed,
    running: Workers,
    *,
    on_rows: Callable[[int], None],
    on_moment: Callable[[Moment], None],
) -> float:
    """Play the feed and return when every agent has come to its end; the seconds it took."""
    began_s = time.monotonic()
    playing = asyncio.create_task(play(feed, settings, on_progress=on_rows))
    try:
        await _until_settled(settings, playing, running, on_moment)
    finally:
        playing.cancel()
    return time.monotonic() - began_s


async def _until_settled(
    settings: Settings,
    playing: "asyncio.Task[int]",
    running: Workers,
    on_moment: Callable[[Moment], None],
) -> None:
    before, moved_s = Moment(), time.monotonic()
    async with watch(settings) as watching:
        while True:
            played = playing.done()
            if played:
                playing.result()  # raises what went wrong in it
            running.check()
            after = await watching.now()
            on_moment(after)
            if played and before.ends and settled(before, after):
                return
            if after != before:
                moved_s = time.monotonic()
            elif time.monotonic() - moved_s > _STALL_S:
                raise DemoError(_stalled(after), f"see the agents' logs in {running.logs}")
            before = after if played else Moment()
            await asyncio.sleep(_POLL_S)


def _stalled(moment: Moment) -> str:
    behind = ", ".join(f"{a} {lag.behind}" for a, lag in moment.lags.items() if lag.behind)
    return f"nothing has moved for {_STALL_S:.0f} s; messages behind: {behind or 'none'}"


def interrupt_on_kill() -> None:
    """SIGTERM and SIGHUP end this process as Ctrl-C does: with everything put away."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


def no_more_interrupts() -> None:
    """Putting away goes on to its end: it is bounded in time."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
