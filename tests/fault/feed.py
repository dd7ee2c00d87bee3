"""What the devices send while things break: a minute of every meter at a time, to four sites.

Site n's messages go to partition n of telemetry.in, readings and usage alike (ids are chosen so),
so that a partition that stands still is seen in every topic.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka.errors import KafkaError

from schemas import READINGS, partition_of
from schemas.codec import ARROW, NDJSON, encode, event_headers
from schemas.registry import Account, AnyEntry, Band, Meter, Site, Tariff
from streams.client import new_producer
from streams.settings import Settings

SITES = ("s11", "s0", "s1", "s10")
ACCOUNTS = ("a10", "a1", "a0", "a11")
METERS = 50  # of a site
STEP_MS = 60_000
T0 = 1_750_000_020_000 // STEP_MS * STEP_MS
PAUSE_S = 0.2  # between two minutes of event time
_RETRY_S = 0.5
_FLUSH_S = 60.0
_STALE_STEPS = (30, 90)  # a late line comes so many minutes after its interval
_SOON_STEPS = (1, 6)  # a shuffled one

assert [partition_of(site, 4) for site in SITES] == [0, 1, 2, 3]
assert [partition_of(account, 4) for account in ACCOUNTS] == [0, 1, 2, 3]

Fields = dict[str, Any]


def line(fields: Fields) -> bytes:
    return orjson.dumps(fields)


# reason -> a line that earns it, from a good one
MALFORMED: dict[str, Callable[[Fields], bytes]] = {
    "not_json": lambda good: line(good)[:-9],
    "missing_field": lambda good: line({k: v for k, v in good.items() if k != "quantity"}),
    "wrong_type": lambda good: line(good | {"start_ms": "noon"}),
    "unit_unknown": lambda good: line(good | {"unit": "BTU"}),
    "not_finite": lambda good: line(good | {"quantity": "NaN"}),
    "negative": lambda good: line(good | {"quantity": -1}),
    "overflow": lambda good: line(good | {"quantity": "1e30"}),
    "interval_reversed": lambda good: line(
        good | {"start_ms": good["end_ms"], "end_ms": good["start_ms"]}
    ),
    "too_old": lambda good: line(
        good | {"start_ms": T0 - 4 * 86_400_000, "end_ms": T0 - 3 * 86_400_000}
    ),
    "too_far_ahead": lambda good: line(good | {"end_ms": good["end_ms"] + 86_400_000}),
    "unknown_meter": lambda good: line(good | {"meter_id": "stranger"}),
    "unknown_value": lambda good: line(good | {"kind": "guess"}),
}


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of the lines that come twice, out of turn, late, or broken."""

    duplicates: float = 0.0
    shuffled: float = 0.0
    late: float = 0.0
    malformed: float = 0.0


@dataclass(frozen=True, slots=True)
class Source:
    """Where the feed writes: telemetry.in as lines, or readings as batches in place of the bridge.

    keyed: every message comes twice under a key, for a compacted topic; transactions: messages of
    a second in one, and of those to telemetry.in every fifth is aborted.
    """

    topic: str = "telemetry.in"
    keyed: bool = False
    transactions: bool = False


EVEN = Mix()
DEVICES = Source()


def entries() -> list[AnyEntry]:
    """The registry of the feed."""
    return [
        Tariff(id="t", bands=(Band(0, 24, 500_000),)),
        *(Site(id=site, hub_id="h") for site in SITES),
        *(Account(id=account, tariff_id="t") for account in ACCOUNTS),
        *(
            Meter(id=f"{site}-m{n}", site_id=site, account_id=account)
            for site, account in zip(SITES, ACCOUNTS, strict=True)
            for n in range(METERS)
        ),
    ]


def reading(site: int, meter: int, step: int) -> Fields:
    """What a meter counted in a minute."""
    return {
        "meter_id": f"{SITES[site]}-m{meter}",
        "register": "it.energy",
        "kind": "delta",
        "start_ms": T0 + step * STEP_MS,
        "end_ms": T0 + (step + 1) * STEP_MS,
        "quantity": 1_000 + (site * 7919 + meter * 104_729 + step * 31) % 9_973,
        "unit": "mJ",
    }


@dataclass
class Feed:
    """Sends until it is stopped, whatever the brokers do; a refused send is given up."""

    settings: Settings
    random: random.Random
    mix: Mix = EVEN
    source: Source = DEVICES
    step: int = 0
    unsent: int = 0
    _held: list[tuple[int, bytes]] = field(default_factory=list)  # (step, line), any site's
    _bad: int = 0
    _stopping: bool = False
    _producer: Any = None
    _sends: set[asyncio.Future[Any]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._going = asyncio.Event()
        self._going.set()
        self._idle = asyncio.Event()

    async def run(self) -> None:
        """The feed's task; stop() ends it."""
        try:
            while not self._stopping or self._held:
                if not self._going.is_set():
                    await self._flush()
                    self._idle.set()
                    await self._going.wait()
                    self._idle.clear()
                await self._minute()
                await asyncio.sleep(0.0 if self._stopping else PAUSE_S)
            await self._flush()
        finally:
            await self._close()

    def stop(self) -> None:
        """Send what is held back, then end."""
        self._stopping = True
        self._going.set()

    async def pause(self) -> None:
        """Returns when nothing is on its way."""
        self._going.clear()
        await self._idle.wait()

    def resume(self) -> None:
        self._going.set()

    async def _minute(self) -> None:
        """One step of every site; while stopping only what was held back."""
        try:
            producer = await self._started()
            if not self.source.transactions:
                await self._send_minute(producer)
            elif self.source.topic == "telemetry.in" and self.step % 5 == 4:
                await producer.begin_transaction()
                await self._send_minute(producer)
                await producer.flush()
                await producer.abort_transaction()
            else:
                async with producer.transaction():
                    await self._send_minute(producer)
        except (KafkaError, OSError):
            self.unsent += 1
            await self._close()
            await asyncio.sleep(_RETRY_S)
        self.step += 1

    async def _send_minute(self, producer: Any) -> None:
        for site in range(len(SITES)):
            for value, key in self._messages(site):
                future = await producer.send(
                    self.settings.topic(self.source.topic),
                    value,
                    key=key,
                    partition=site,
                    timestamp_ms=self._received_ms if self.source.topic != "readings" else None,
                    headers=self._headers(site),
                )
                self._sends.add(future)
                future.add_done_callback(self._sent)

    def _sent(self, future: "asyncio.Future[Any]") -> None:
        self._sends.discard(future)
        self.unsent += future.cancelled() or future.exception() is not None

    @property
    def _received_ms(self) -> int:
        return T0 + (self.step + 1) * STEP_MS

    def _headers(self, site: int) -> list[tuple[str, bytes]]:
        if self.source.topic == "readings":
            return event_headers(READINGS.event_type, f"{site}/{self.step}", "/feed", ARROW)
        return [("content-type", NDJSON.encode())]

    def _messages(self, site: int) -> list[tuple[bytes, bytes | None]]:
        if self.source.topic == "readings":
            message = encode(READINGS, READINGS.rows(self._rows(site)))
            if not self.source.keyed:
                return [(message, None)]
            before = self.step // 2 * 2  # the even minute comes again after the odd one
            known = encode(READINGS, READINGS.rows(self._rows(site, before)))
            return [(message, b"%d/%d" % (site, self.step)), (known, b"%d/%d" % (site, before))]
        lines = self._lines(site)
        return [(b"\n".join(lines), None)] if lines else []

    def _lines(self, site: int) -> list[bytes]:
        """The lines of a site's message by the mix; the last site's brings what was held."""
        lines = []
        if site == len(SITES) - 1:
            lines = [sound for at, sound in self._held if at <= self.step]
            self._held = [(at, sound) for at, sound in self._held if at > self.step]
        for meter in range(0 if self._stopping else METERS):
            good = reading(site, meter, self.step)
            sound = line(good)
            luck = self.random.random()
            if luck < self.mix.late:
                self._hold(sound, _STALE_STEPS)
            elif luck < self.mix.late + self.mix.shuffled:
                self._hold(sound, _SOON_STEPS)
            else:
                lines.append(sound)
            if self.random.random() < self.mix.duplicates:
                self._hold(sound, _SOON_STEPS)
            if self.random.random() < self.mix.malformed:
                kinds = list(MALFORMED)
                lines.append(MALFORMED[kinds[self._bad % len(kinds)]](good))
                self._bad += 1
        return lines

    def _hold(self, sound: bytes, steps: tuple[int, int]) -> None:
        self._held.append((self.step + self.random.randint(*steps), sound))

    def _rows(self, site: int, step: int | None = None) -> list[Fields]:
        """READINGS rows, as the bridge would make them of a site's message."""
        step = self.step if step is None else step
        place = {"site_id": SITES[site], "rack_id": "", "hub_id": "h"}
        place |= {"account_id": ACCOUNTS[site], "source": "telemetry.in", "quality": "ACTUAL"}
        place |= {"revision": 0, "epoch": 0, "registry_offset": -1}
        place |= {"source_partition": site, "source_offset": step}
        received_ms = T0 + (step + 1) * STEP_MS
        return [
            reading(site, meter, step) | place | {"source_row": meter, "received_ms": received_ms}
            for meter in range(METERS)
        ]

    async def _started(self) -> Any:
        if self._producer is None:
            options: Fields = {}
            if self.source.transactions:
                options["transactional_id"] = self.settings.topic("feed")
            producer = new_producer(self.settings, linger_ms=5, **options)
            await producer.start()
            self._producer = producer
        return self._producer

    async def _flush(self) -> None:
        if self._producer is not None:
            with suppress(TimeoutError, KafkaError):
                await asyncio.wait_for(self._producer.flush(), _FLUSH_S)

    async def _close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(TimeoutError, KafkaError, OSError):
                await asyncio.wait_for(producer.stop(), _RETRY_S * 10)
