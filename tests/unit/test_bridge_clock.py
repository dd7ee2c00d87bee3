"""The bridge's clock after a restart: the last tick that it wrote, whatever came behind it."""

from collections import namedtuple
from contextlib import asynccontextmanager

import pytest

from schemas.registry import Domain
from streams.ingest import bridge as module
from streams.ingest.bridge import TICK_HEADER, Bridge
from streams.settings import Settings

Record = namedtuple("Record", "offset headers")


class Consumer:
    """A log of headers; a fetch brings three records at most."""

    def __init__(self, log, first):
        self.log, self.first, self.at = log, first, 0

    def assign(self, tps):
        (self.tp,) = tps

    async def beginning_offsets(self, tps):
        return dict.fromkeys(tps, self.first)

    async def end_offsets(self, tps):
        return dict.fromkeys(tps, len(self.log))

    def seek(self, tp, offset):
        assert self.first <= offset < len(self.log)
        self.at = offset

    async def position(self, tp):
        return self.at

    async def getmany(self, tp, timeout_ms):
        found = range(self.at, min(self.at + 3, len(self.log)))
        self.at = found.stop
        return {tp: [Record(offset, self.log[offset]) for offset in found]}


def said(tick_ms):
    return [(TICK_HEADER, str(tick_ms).encode())]


@pytest.mark.parametrize(
    ("log", "first", "expected"),
    [
        ([], 0, None),
        ([said(5)], 0, 5),
        ([said(5), said(7)], 0, 7),
        ([said(5), said(7), [], []], 0, 7),
        ([said(5), *([[]] * 30)], 0, 5),
        ([[]] * 9, 0, None),
        ([said(5), [], []], 1, None),  # retention took what said it
        ([[], said(5), [], said(6), [], []], 2, 6),
    ],
)
async def test_the_last_tick_is_found_behind_what_other_domains_wrote(
    monkeypatch, log, first, expected
):
    @asynccontextmanager
    async def started(settings):
        yield Consumer(log, first)

    monkeypatch.setattr(module, "started_consumer", started)
    clock = await Bridge(Settings())._recover_clock(Domain(id="d", partition=0))
    assert clock.last_ms == expected
