"""The bridge with outputs that are acknowledged slowly, as a process: what its memory must survive.

    python -m tests.bench.slow_outputs BYTES_PER_S

Kafka itself takes each batch at once; the bridge hears of it when all before it and itself would
have gone out at that rate. All else is the bridge as in production.
"""

import asyncio
import sys
from typing import Any

import uvloop

from streams.ingest import bridge
from streams.log import configure
from streams.settings import settings

_take_at_once = bridge.new_producer


class _Slow:
    """A producer whose acknowledgements come at a rate of bytes."""

    def __init__(self, producer: Any, bytes_per_s: float) -> None:
        self._producer, self._bytes_per_s = producer, bytes_per_s
        self._free_s = 0.0  # on the loop's clock, when the next batch may begin to leave

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    async def send(self, topic: str, value: bytes, **options: Any) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        self._free_s = max(self._free_s, loop.time()) + len(value) / self._bytes_per_s
        taken = await self._producer.send(topic, value, **options)
        return asyncio.ensure_future(_later(taken, self._free_s - loop.time()))


async def _later(taken: "asyncio.Future[Any]", wait_s: float) -> Any:
    await asyncio.sleep(wait_s)
    return await taken


def main() -> None:
    bytes_per_s = float(sys.argv[1])
    configure(settings(), agent="ingest")
    bridge.new_producer = lambda *args, **options: _Slow(
        _take_at_once(*args, **options), bytes_per_s
    )
    uvloop.run(bridge.run_bridge(settings()))


if __name__ == "__main__":
    main()
