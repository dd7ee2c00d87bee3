"""Registry lookup: which entry holds at a time, as known at an offset; and how it is read."""

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.registry import Account, Domain, Meter, Site, format_entry
from streams import registry_reader
from streams.registry import EMPTY, Registry
from streams.registry_reader import RegistryReader
from streams.settings import Settings


def site(hub, valid_from_ms=0, id="s1"):
    return Site(id=id, hub_id=hub, valid_from_ms=valid_from_ms)


def filled(*entries):
    registry = Registry()
    for offset, made in enumerate(entries):
        registry.put(made, offset)
    return registry


def test_an_entry_holds_from_its_time_until_the_next_one():
    view = filled(site("late", 200), site("early", 100)).at(1)
    found = {at: view.find(Site, "s1", at) for at in (99, 100, 199, 200, 10**15)}
    assert {at: e and e.hub_id for at, e in found.items()} == {
        99: None,
        100: "early",
        199: "early",
        200: "late",
        10**15: "late",
    }
    assert [e.hub_id for e in view.history(Site, "s1")] == ["early", "late"]


def test_what_was_registered_later_does_not_change_an_earlier_view():
    registry = filled(site("a", 100))
    before = registry.at(registry.offset)
    registry.put(site("b", 100), 1)
    registry.put(site("c", 50), 2)
    registry.skip(9)
    assert (before.find(Site, "s1", 100).hub_id, before.find(Site, "s1", 60)) == ("a", None)
    assert [registry.at(n).find(Site, "s1", 100).hub_id for n in (0, 1, 2, 9)] == list("abbb")
    assert [e.hub_id for e in registry.at(2).history(Site, "s1")] == ["c", "b"]
    assert [before.newest(n).offset for n in (-1, 0, 2)] == [0, 0, 2]
    assert [registry.at(n).changed_since(0) for n in (0, 1, 9)] == [False, True, True]
    assert not registry.at(9).changed_since(2)


def test_kinds_and_ids_do_not_mix_and_an_unknown_one_is_absent():
    same_id = Account(id="s1", tariff_id="t")
    view = filled(site("a"), same_id, site("b", id="s2"), site("c", 500, id="s3")).at(3)
    assert view.find(Account, "s1", 0) is same_id
    assert view.find(Meter, "s1", 0) is None
    assert view.find(Site, "s9", 0) is None
    assert [e.id for e in view.all(Site, 499)] == ["s1", "s2"]
    assert [e.id for e in view.all(Site)] == ["s1", "s2", "s3"]
    assert EMPTY.find(Domain, "d1", 0) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=12), st.data())
def test_a_lookup_is_what_reading_the_whole_log_again_would_find(log, data):
    registry = filled(*(site(str(hub), valid) for valid, hub in log))
    offset = data.draw(st.integers(-1, len(log)))
    at_ms = data.draw(st.integers(-1, 6))
    known = [(valid, n, str(hub)) for n, (valid, hub) in enumerate(log) if n <= offset]
    expected = max(((v, n, h) for v, n, h in known if v <= at_ms), default=(0, 0, None))[2]
    found = registry.at(offset).find(Site, "s1", at_ms)
    assert (found and found.hub_id) == expected


class Log:
    """A registry topic in memory, read two records at a time; it may have offsets without one."""

    def __init__(self):
        self.records, self.end, self.at = [], 0, 0

    def append(self, value, offset=None):
        offset = self.end if offset is None else offset
        self.records.append(SimpleNamespace(offset=offset, value=value))
        self.end = offset + 1

    async def getmany(self, timeout_ms):
        await asyncio.sleep(0)
        found = [r for r in self.records if r.offset >= self.at][:2]
        self.at = found[-1].offset + 1 if len(found) == 2 else self.end
        return {"registry-0": found} if found else {}

    async def end_offsets(self, tps):
        return dict.fromkeys(tps, self.end)

    async def position(self, tp):
        return self.at

    async def start(self): ...
    async def stop(self): ...
    async def seek_to_beginning(self, tp): ...
    def assign(self, tps): ...


@pytest.fixture
async def reading(monkeypatch):
    """A log, and the reader that follows it."""
    log = Log()
    monkeypatch.setattr(registry_reader, "new_consumer", lambda settings: log)
    reader = RegistryReader(Settings())
    yield log, reader
    await reader.stop()


async def test_a_reader_has_read_to_the_end_when_it_starts_and_skips_what_is_no_entry(reading):
    log, reader = reading
    log.append(format_entry(site("a")))
    log.append(b'{"kind":"site","id":"s1"}')
    log.append(None)
    await reader.start()
    assert reader.registry.offset == 2
    assert reader.registry.at(2).find(Site, "s1", 0).hub_id == "a"


async def test_a_reader_follows_and_those_who_wait_for_an_offset_go_on_when_it_is_read(reading):
    log, reader = reading
    await reader.start()
    waiting = asyncio.create_task(reader.wait_for(2))
    for hub in "abc":
        assert not waiting.done()
        log.append(format_entry(site(hub)))
    await asyncio.wait_for(waiting, 5)
    assert reader.registry.at(1).find(Site, "s1", 0).hub_id == "b"


async def test_catching_up_ends_even_where_the_last_offsets_have_no_record(reading):
    log, reader = reading
    await reader.start()
    assert await reader.catch_up() is False
    log.append(format_entry(site("a")), offset=4)
    log.end = 7
    assert await asyncio.wait_for(reader.catch_up(), 5) is True
    assert (reader.registry.offset, await reader.catch_up()) == (6, False)
