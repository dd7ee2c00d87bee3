"""Cases of the settlement tests: a registry of prices, usage by the quarter hour, one batch."""

from schemas import USAGE
from schemas.registry import Account, Band, Tariff
from streams.agent import Batch
from streams.agents.settle import step
from streams.registry import Registry

HOUR_MS = 3_600_000
QUARTER_MS = 900_000
KWH_MJ = 3_600_000_000
T0 = 1_767_225_600_000  # 2026-01-01T00:00Z


def flat(price, id="t", **given):
    return Tariff(id=id, bands=(Band(0, 24, price),), **given)


def registered(*entries):
    """A registry; entry n is known from offset n on."""
    registry = Registry()
    for offset, entry in enumerate(entries):
        registry.put(entry, offset)
    return registry


def priced(price):
    return registered(Account(id="a", tariff_id="t"), flat(price))


def usage(end, quantity=KWH_MJ, **given):
    """The quarter hour that is the end-th after T0, received as it ends."""
    row = {
        "meter_id": "m",
        "register": "it.energy",
        "kind": "delta",
        "start_ms": T0 + (end - 1) * QUARTER_MS,
        "end_ms": T0 + end * QUARTER_MS,
        "quantity": quantity,
        "unit": "mJ",
        "quality": "ACTUAL",
        "revision": 1,
        "epoch": 0,
        "site_id": "s",
        "hub_id": "h",
        "account_id": "a",
        "received_ms": T0 + end * QUARTER_MS,
    }
    return row | given


def an_hour(hour, quantity=KWH_MJ, **given):
    """One slot that fills the hour-th hour after T0."""
    start_ms = T0 + hour * HOUR_MS
    times = {"start_ms": start_ms, "end_ms": start_ms + HOUR_MS, "received_ms": start_ms + HOUR_MS}
    return usage(0, quantity, **times | given)


def tick_at(received_ms):
    """A row that moves the watermark and is not priced."""
    return usage(1, unit="mW", received_ms=received_ms)


def settle(ledger, registry, rows, offset=None):
    """(emit, lines) of one batch, admitted at a registry offset."""
    offset = registry.offset if offset is None else offset
    emit = step(ledger, Batch(USAGE, 0, 0, USAGE.rows(rows), registry.at(offset), offset))
    lines = [line for output in emit.outputs for line in output.rows.to_pylist()]
    assert emit.accepted + emit.duplicate + emit.superseded + len(emit.refused) == len(rows)
    return emit, lines
