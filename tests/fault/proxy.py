"""A small TCP proxy in front of a broker: passes on, cuts, delays, or loses the answers.

The broker advertises the proxy's address on a listener of its own, so that clients which begin at
the proxy stay on it. It runs in a thread: the scenario's waits must not hold up the traffic.
"""

import asyncio
import threading
from contextlib import suppress
from typing import Self

HOST = "127.0.0.1"
_CHUNK = 1 << 16


class Proxy:
    """Listens on a free port once entered; `target_port` is set before the first connection."""

    def __init__(self) -> None:
        self.port, self.target_port = 0, 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._open = asyncio.Event()
        self._delay_s = 0.0
        self._deaf = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- what scenarios do to it, from their own thread --

    def cut(self) -> None:
        """Nothing passes in either direction; connections stay open, as when a cable is out."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def mend(self) -> None:
        self._loop.call_soon_threadsafe(self._open.set)

    def delay(self, seconds: float) -> None:
        """Every piece of data arrives so much later, in each direction."""
        self._delay_s = seconds

    def deafen(self) -> None:
        """Requests reach the broker, answers are lost: it is done, and nobody knows."""
        self._deaf = True

    def hear(self) -> None:
        """End of deafen(): what was lost cannot be repaired, so every connection is reset."""
        self._deaf = False
        self._loop.call_soon_threadsafe(self._reset)

    # -- in its own thread --

    async def _listen(self) -> None:
        self._open.set()
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        self._open.set()
        self._reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _reset(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(OSError):
            await self._open.wait()
            far_reader, far_writer = await asyncio.open_connection(HOST, self.target_port)
            both = {writer, far_writer}
            self._writers |= both
            try:
                await asyncio.gather(
                    self._pass_on(reader, far_writer, answers=False),
                    self._pass_on(far_reader, writer, answers=True),
                )
            finally:
                self._writers -= both
                for end in both:
                    end.transport.abort()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool
    ) -> None:
        """One direction, in order; each piece waits for the delay and for the cable."""
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=1_000)

        async def read() -> None:
            while piece := await reader.read(_CHUNK):
                await pieces.put((self._loop.time() + self._delay_s, piece))
            await pieces.put((0.0, b""))

        async def write() -> None:
            while True:
                due_s, piece = await pieces.get()
                await asyncio.sleep(max(0.0, due_s - self._loop.time()))
                await self._open.wait()
                if not piece:
                    break
                if not (answers and self._deaf):
                    writer.write(piece)
                    await writer.drain()
            writer.close()

        reading = asyncio.create_task(read())
        try:
            await write()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
