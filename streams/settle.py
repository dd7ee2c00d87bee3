"""The ledger of one usage partition: metered slots by settlement period, and the lines they make.

A period is one account, meter, register and hour. Its line is written when its slots cover the
hour, or when the watermark has passed its end by the grace; every later change writes the line
again with a higher revision. The amount of the highest revision is what is owed: quantity x price,
rounded once. A line is a correction once a reading replaced an earlier one or its price changed.
Which revision numbers were written on the way depends on how the input was cut into batches; the
highest one and its values do not. A period whose tariff went away (an account moved to one that is
not registered) waits for it: it is neither billed at another price nor forgotten.
"""

from collections.abc import Iterable
from typing import Any, ClassVar, Self

import msgspec

from schemas.registry import PRICE_MAX_MICRO_PER_KWH, Account, Tariff
from schemas.units import INT64_MAX, MJ_PER_KWH, half_even
from streams.agent import Emit, Refused
from streams.registry import RegistryView

PERIOD_MS = 3_600_000
GRACE_MS = 3_600_000  # an incomplete period is billed so long after its end
RETENTION_MS = 50 * 3_600_000  # the accepted window of late readings (48 h), the grace, a margin
# Twice this is the most that a period comes to (see _fits): its amount, at any price that the
# registry admits, then still fits 64 bits.
ENERGY_MAX_MJ = INT64_MAX * MJ_PER_KWH // PRICE_MAX_MICRO_PER_KWH // 2
RUN = "P"
_WHOLE_PPM = 1_000_000

Slot = tuple[int, int, int, bool]  # start_ms, revision, quantity_mj, estimated
Key = tuple[str, str, str, int]  # account, meter, register, period start


class Period(msgspec.Struct, array_like=True):
    """Slots by end_ms, how often it was rated anew, and what its last line said."""

    slots: dict[int, Slot] = {}
    ratings: int = 0
    line_revision: int = 0
    price_micro_per_kwh: int = -1
    tariff_id: str = ""
    currency: str = ""


class Ledger(msgspec.Struct):
    """State of the settle agent."""

    VERSION: ClassVar[int] = 2

    periods: dict[Key, Period] = {}
    pending: set[Key] = set()  # changed and without a line yet
    changed: set[Key] = set()  # of this batch only, empty between batches
    watermark_ms: int = 0
    registry_offset: int = -1

    def dump(self) -> bytes:
        return msgspec.msgpack.encode(
            (self.watermark_ms, self.registry_offset, list(self.periods.items()))
        )

    @classmethod
    def load(cls, dumped: bytes) -> Self:
        watermark_ms, registry_offset, periods = msgspec.msgpack.decode(
            dumped, type=tuple[int, int, list[tuple[Key, Period]]]
        )
        pending = {key for key, period in periods if period.line_revision == 0}
        return cls(dict(periods), pending, set(), watermark_ms, registry_offset)

    def advance(self, registry: RegistryView) -> RegistryView:
        """The newest registry that any batch knew, which prices all; rates anew on a newer one.

        Batches of several inputs interleave: one that knows less must not bring an old price back.
        """
        if registry.offset > self.registry_offset:
            if registry.changed_since(self.registry_offset):
                self._rate_anew(registry)
            self.registry_offset = registry.offset
        return registry.newest(self.registry_offset)

    def _rate_anew(self, registry: RegistryView) -> None:
        for key, period in self.periods.items():
            priced = price_of(key, registry)
            if priced is None or period.line_revision == 0:
                continue
            tariff, price = priced
            billed = (period.tariff_id, period.price_micro_per_kwh, period.currency)
            if (tariff.id, price, tariff.currency) != billed:
                period.ratings += 1
                self.changed.add(key)

    def take(self, place: int, row: dict[str, Any], registry: RegistryView, emit: Emit) -> None:
        """Take in one row at `place` of the batch; says in `emit` what became of it."""
        self.watermark_ms = max(self.watermark_ms, row["received_ms"])
        if row["unit"] != "mJ" or row["kind"] == "gauge":
            emit.accepted += 1  # only amounts of energy are priced, not what a storage holds
            return
        start_ms = (row["end_ms"] - 1) // PERIOD_MS * PERIOD_MS
        if self._closed(start_ms):  # row by row: batch borders do not matter
            message = f"period {start_ms} is closed. send it through a settlement correction"
            emit.refused.append(Refused(place, "late_revision", "end_ms", message))
            return
        key = (row["account_id"], row["meter_id"], row["register"], start_ms)
        if price_of(key, registry) is None:
            message = (
                f"account {key[0]!r} has no tariff at {start_ms}. register both "
                "(`gridloom registry apply`), then send the readings again"
            )
            emit.refused.append(Refused(place, "no_tariff", "account_id", message))
            return
        period = self.periods.get(key)
        known = period.slots.get(row["end_ms"]) if period else None
        if known is not None and row["revision"] <= known[1]:
            if row["revision"] == known[1]:
                emit.duplicate += 1
            else:
                emit.superseded += 1
            return
        if not _fits(period, row):
            message = (
                f"meter {key[1]!r} passes {ENERGY_MAX_MJ} mJ in the hour from {start_ms}. "
                "correct the reading"
            )
            emit.refused.append(Refused(place, "overflow", "quantity", message))
            return
        if period is None:
            period = self.periods[key] = Period()
        estimated = row["quality"] == "ESTIMATE"
        period.slots[row["end_ms"]] = (
            row["start_ms"],
            row["revision"],
            row["quantity"],
            estimated,
        )
        self.changed.add(key)
        emit.accepted += 1

    def lines(self, registry: RegistryView) -> list[dict[str, Any]]:
        """The lines this batch brings forth, by key; forgets what is out of the window."""
        due = [k for k in self.changed if self.periods[k].line_revision or self._complete(k)]
        self.pending |= self.changed.difference(due)
        late_ms = self.watermark_ms - PERIOD_MS - GRACE_MS
        aged = [k for k in self.pending if k[3] <= late_ms and price_of(k, registry)]
        self.pending.difference_update(due, aged)
        self.changed = set()
        lines = [self._line(key, registry) for key in sorted({*due, *aged})]
        self._forget()
        return lines

    def _complete(self, key: Key) -> bool:
        slots = self.periods[key].slots
        return sum(end_ms - slot[0] for end_ms, slot in slots.items()) >= PERIOD_MS

    def _line(self, key: Key, registry: RegistryView) -> dict[str, Any]:
        account_id, meter_id, register, start_ms = key
        period = self.periods[key]
        priced = price_of(key, registry)
        assert priced is not None, "a period without a tariff waits"
        tariff, price = priced
        quantity_mj = sum(slot[2] for slot in period.slots.values())
        line_id = f"{RUN}/{account_id}/{meter_id}/{register}/{start_ms}"
        period.line_revision = sum(s[1] for s in period.slots.values()) + period.ratings
        corrected = period.line_revision > len(period.slots)
        period.tariff_id, period.price_micro_per_kwh = tariff.id, price
        period.currency = tariff.currency
        return {
            "line_id": line_id,
            "run": RUN,
            "account_id": account_id,
            "meter_id": meter_id,
            "register": register,
            "start_ms": start_ms,
            "end_ms": start_ms + PERIOD_MS,
            "revision": period.line_revision,
            "quantity_mj": quantity_mj,
            "estimated_mj": sum(s[2] for s in period.slots.values() if s[3]),
            "slots_expected": _expected(period),
            "slots_present": len(period.slots),
            "price_micro_per_kwh": price,
            "amount_micro": half_even(quantity_mj * price, MJ_PER_KWH),
            "currency": tariff.currency,
            "tariff_id": tariff.id,
            "share_ppm": _WHOLE_PPM,
            "charge_class": "correction" if corrected else "usage",
            "corrects_line": line_id if corrected else None,
        }

    def _forget(self) -> None:
        for key in [k for k in self.periods if self._closed(k[3]) and k not in self.pending]:
            del self.periods[key]

    def _closed(self, start_ms: int) -> bool:
        return start_ms + PERIOD_MS < self.watermark_ms - RETENTION_MS


def _fits(period: Period | None, row: dict[str, Any]) -> bool:
    """Whether the period's energy with this row stays within bounds.

    Small rows are not added up: an hour has at most PERIOD_MS slots, so together they come to
    ENERGY_MAX_MJ at most, whatever the large ones come to.
    """
    quantity_mj: int = row["quantity"]
    if quantity_mj <= ENERGY_MAX_MJ // PERIOD_MS:
        return True
    others = period.slots.items() if period else ()
    return (
        quantity_mj + sum(s[2] for end_ms, s in others if end_ms != row["end_ms"]) <= ENERGY_MAX_MJ
    )


def _expected(period: Period) -> int:
    shortest = min(end_ms - slot[0] for end_ms, slot in period.slots.items())
    return max(len(period.slots), -(-PERIOD_MS // shortest))


def price_of(key: Key, registry: RegistryView) -> tuple[Tariff, int] | None:
    """The tariff and its price at the period's start, or None where none is registered."""
    account = registry.find(Account, key[0], key[3])
    tariff = registry.find(Tariff, account.tariff_id, key[3]) if account else None
    return (tariff, tariff.price_micro_per_kwh(key[3])) if tariff else None


def bill(lines: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The lines that count: the highest revision of each line_id."""
    newest: dict[str, dict[str, Any]] = {}
    for line in lines:
        known = newest.get(line["line_id"])
        if known is None or line["revision"] > known["revision"]:
            newest[line["line_id"]] = line
    return newest
