"""The compute side of the eight hubs: offers, paths, an outage, and a day's jobs. Synthetic.

Inference starts in the east and must stay within 20 ms; training, rendering and simulation may go
where power is green. A few jobs cannot be run at all, so that every kind of rejection is seen.
"""

from collections.abc import Callable, Iterator
from itertools import combinations
from random import Random

from streams.feeds.feed import HOUR_MS, Row
from streams.feeds.hubs import HUBS, Hub, rtt_ms

TENANTS = tuple(f"tenant-{letter}" for letter in "abcdefghijkl")
JOBS_PER_HOUR = 36
_FIRST_SHARE = 0.06  # of a day's jobs wait when the day begins
_WATTS_PER_CORE, _WATTS_PER_ACCELERATOR = 6, 700
_IMPOSSIBLE_EVERY = 60

Demand = dict[str, int | float | str]
Maker = Callable[[Hub, Random], Demand]


def offers(domain: str) -> Iterator[Row]:
    """One a site: little room in the east, much in the green bases; `super` at each hub's third."""
    for hub in HUBS:
        for number, site_id in enumerate(hub.site_ids):
            supercomputer = number == 2
            yield {
                "kind": "offer",
                "domain": domain,
                "id": site_id,
                "region": hub.id,
                "cores_milli": (40_000 if supercomputer else 16_000) * 1000,
                "accel_milli": (1_700 if hub.green else 700) * 1000,
                "power_w": 2_200_000 if hub.green else 1_000_000,
                "network_mbps": 400_000,
                "pue_ppm": round(hub.pue * 1_000_000),
                "classes": "general|intelligent|super" if supercomputer else "general|intelligent",
            }


def paths(domain: str) -> Iterator[Row]:
    """Round trip of every pair of hubs, the same both ways."""
    for a, b in combinations(HUBS, 2):
        yield {
            "kind": "path",
            "domain": domain,
            "id": f"{a.id}-{b.id}",
            "region": a.id,
            "to_region": b.id,
            "rtt_ms": rtt_ms(a, b),
        }


def outage(domain: str, site_id: str, start_ms: int, end_ms: int) -> Row:
    """A site that takes no jobs for a while."""
    return {
        "kind": "outage",
        "domain": domain,
        "id": site_id,
        "start_ms": start_ms,
        "end_ms": end_ms,
    }


def jobs(domain: str, start_ms: int, hours: int, seed: int) -> list[Row]:
    """The jobs of the day in order of their release, the last one before the last tick."""
    rng = Random(f"jobs/{seed}")
    count = max(1, JOBS_PER_HOUR * hours)
    span_ms = (hours - 1) * HOUR_MS
    released = sorted(
        0 if rng.random() < _FIRST_SHARE else rng.randrange(max(1, span_ms)) for _ in range(count)
    )
    return [
        _job(domain, number, start_ms + after_ms, rng) for number, after_ms in enumerate(released)
    ]


def _job(domain: str, number: int, released_ms: int, rng: Random) -> Row:
    hub = rng.choices(HUBS, [h.origin_share for h in HUBS])[0]
    make = rng.choices(_KINDS, _KIND_SHARES)[0]
    if number % _IMPOSSIBLE_EVERY == _IMPOSSIBLE_EVERY - 1:
        make = _IMPOSSIBLE[number // _IMPOSSIBLE_EVERY % len(_IMPOSSIBLE)]
    demand = make(hub, rng)
    duration_ms = int(demand.pop("duration_ms"))
    wait_ms = int(demand.pop("wait_ms"))
    work = int(demand["power_w"]) * duration_ms / HOUR_MS / 1e6  # MWh
    job: Row = {
        "kind": "job",
        "domain": domain,
        "id": f"job-{number:04d}",
        "region": hub.id,
        "account_id": rng.choice(TENANTS),
        "start_ms": released_ms,
        "end_ms": released_ms + max(1, duration_ms + wait_ms),
        "duration_ms": duration_ms,
        "priority": rng.choices((0, 1, 2), (0.7, 0.25, 0.05))[0],
        "reject_cost": round(50 + 4_000 * work, 2),
        **demand,
    }
    if rng.random() < 0.04 and "residency" not in job and "max_rtt_ms" not in job:
        job["residency"] = f"{hub.id}|{HUBS[5].id}"
    return job


def _hours(rng: Random, low: int, high: int) -> int:
    return rng.randint(low * 4, high * 4) * (HOUR_MS // 4)


def _inference(hub: Hub, rng: Random) -> Demand:
    accelerators = rng.choice((8, 8, 16, 16, 32, 64))
    return {
        "class": "intelligent",
        "precision": rng.choice(("fp16", "int8")),
        "cores_milli": accelerators * 8_000,
        "accel_milli": accelerators * 1000,
        "power_w": accelerators * _WATTS_PER_ACCELERATOR,
        "network_mbps": accelerators * 100,
        "max_rtt_ms": 20.0,
        "duration_ms": _hours(rng, 1, 5),
        "wait_ms": 2 * HOUR_MS + _hours(rng, 0, 2),
    }


def _training(hub: Hub, rng: Random) -> Demand:
    accelerators = rng.choice((64, 128, 128, 256, 256, 512))
    power_w = accelerators * _WATTS_PER_ACCELERATOR
    demand: Demand = {
        "class": "intelligent",
        "precision": rng.choice(("fp16", "fp16", "fp32")),
        "cores_milli": accelerators * 8_000,
        "accel_milli": accelerators * 1000,
        "power_w": power_w,
        "network_mbps": accelerators * 40,
        "duration_ms": _hours(rng, 2, 9),
        "wait_ms": 4 * HOUR_MS + _hours(rng, 0, 14),
    }
    if rng.random() < 0.1:
        demand["green_w"] = power_w // 2
    return demand


def _general(hub: Hub, rng: Random) -> Demand:
    cores = rng.choice((32, 64, 128, 256, 512))
    demand: Demand = {
        "class": "general",
        "precision": "fp64",
        "cores_milli": cores * 1000,
        "accel_milli": 0,
        "power_w": cores * _WATTS_PER_CORE,
        "network_mbps": cores * 5,
        "duration_ms": _hours(rng, 1, 6),
        "wait_ms": 2 * HOUR_MS + _hours(rng, 0, 10),
    }
    if rng.random() < 0.3:
        demand["max_rtt_ms"] = 40.0
    return demand


def _simulation(hub: Hub, rng: Random) -> Demand:
    cores = rng.choice((2_000, 4_000, 8_000, 12_000))
    return {
        "class": "super",
        "precision": "fp64",
        "cores_milli": cores * 1000,
        "accel_milli": 0,
        "power_w": cores * _WATTS_PER_CORE,
        "network_mbps": 10_000,
        "duration_ms": _hours(rng, 1, 6),
        "wait_ms": 3 * HOUR_MS + _hours(rng, 0, 12),
    }


def _too_large(hub: Hub, rng: Random) -> Demand:
    """More accelerators than any site has."""
    return _training(hub, rng) | {"accel_milli": 50_000_000}


def _too_far(hub: Hub, rng: Random) -> Demand:
    """Within 3 ms of its users, and held in a region that is farther away."""
    away = "gansu" if hub.id != "gansu" else "yangtze-delta"
    return _inference(hub, rng) | {"max_rtt_ms": 3.0, "residency": away}


def _too_late(hub: Hub, rng: Random) -> Demand:
    """A deadline before it could end."""
    return _general(hub, rng) | {"wait_ms": -HOUR_MS // 2}


_KINDS: tuple[Maker, ...] = (_inference, _training, _general, _simulation)
_KIND_SHARES = (0.38, 0.22, 0.30, 0.10)
_IMPOSSIBLE: tuple[Maker, ...] = (_too_large, _too_far, _too_late)
