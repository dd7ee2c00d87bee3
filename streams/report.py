"""The closing report: what a run came to, computed from the topics as any consumer reads them.

Pure functions over rows; close_report() reads the rows. Energies are exact integers in mJ, money in
micro-units: they become MWh and currency only where they are printed.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from schemas import DISPATCH, PLACEMENTS, REGISTRY, SETTLEMENT, RegistryError
from schemas.delivery import out_topic
from schemas.registry import Contract, parse_entry
from streams import dlq
from streams.agent import STAGES
from streams.client import partitions_of, read_all
from streams.ingest.bridge import ingest_counts
from streams.journal import saved_counts
from streams.lag import sources_of_agents
from streams.rows import Row, read_rows
from streams.settings import Settings
from streams.settle import bill

ENERGIES = (
    "load_mj",
    "compute_mj",
    "ren_avail_mj",
    "ren_used_mj",
    "curtailed_mj",
    "supply_mj",
    "charge_mj",
    "discharge_mj",
    "import_mj",
    "export_mj",
    "flex_mj",
    "shed_mj",
    "link_in_mj",
    "link_out_mj",
)


def newest(rows: Iterable[Row], key: tuple[str, ...]) -> list[Row]:
    """Of the rows of one key only the last: a row may come again after a crash."""
    return list({tuple(row[name] for name in key): row for row in rows}.values())


def carried_out(dispatch: Iterable[Row]) -> list[Row]:
    """The step of each tick and region that was carried out: step_index 0."""
    now = (row for row in dispatch if row["step_index"] == 0)
    return newest(now, ("domain", "tick_ms", "region"))


def energy_by_region(carried: Iterable[Row]) -> dict[str, dict[str, int]]:
    """Region -> column -> mJ over all ticks."""
    total: dict[str, Counter[str]] = defaultdict(Counter)
    for row in carried:
        total[row["region"]].update({name: row[name] for name in ENERGIES})
    return {region: dict(total[region]) for region in sorted(total)}


def worst_gap(rows: Iterable[Row]) -> float | None:
    """The largest certified gap of any tick; None without ticks, inf where one has no proof."""
    gaps = [math.inf if math.isnan(row["gap_rel"]) else row["gap_rel"] for row in rows]
    return max(gaps, default=None)


@dataclass(slots=True)
class Placed:
    """Jobs by state, and the rejected ones by reason."""

    states: dict[str, int]
    rejected: dict[str, int]


def placed(placements: Iterable[Row]) -> Placed:
    """The latest tick of a job wins."""
    jobs = newest(sorted(placements, key=lambda row: row["tick_ms"]), PLACEMENTS.key)
    return Placed(
        dict(Counter(row["state"] for row in jobs).most_common()),
        dict(Counter(row["reason"] for row in jobs if row["state"] == "rejected").most_common()),
    )


@dataclass(slots=True)
class Bill:
    """One account's lines that count, by price; and the same total as its subscriber reads it."""

    account_id: str
    currency: str = ""
    lines: int = 0
    quantity_mj: int = 0
    amount_micro: int = 0
    by_price: dict[int, tuple[int, int]] = field(default_factory=dict)  # price -> (mJ, micro)
    contract: str = ""
    delivered_micro: int | None = None


def bill_of(account_id: str, settlement: Iterable[Row]) -> Bill:
    """The highest revision of each line of the account, summed by the price of its band."""
    total = Bill(account_id)
    mine = (row for row in settlement if row["account_id"] == account_id)
    for line in bill(mine).values():
        quantity_mj, amount_micro = total.by_price.get(line["price_micro_per_kwh"], (0, 0))
        total.by_price[line["price_micro_per_kwh"]] = (
            quantity_mj + line["quantity_mj"],
            amount_micro + line["amount_micro"],
        )
        total.currency = line["currency"]
        total.lines += 1
        total.quantity_mj += line["quantity_mj"]
        total.amount_micro += line["amount_micro"]
    return total


def billed_contract(contracts: Iterable[Contract]) -> tuple[str, str] | None:
    """(contract id, account id) of the first contract that delivers one account's bill as JSON."""
    needed = {"line_id", "revision", "amount_micro"}
    for contract in sorted(contracts, key=lambda c: c.id):
        if contract.topic != SETTLEMENT.name or contract.format != "json":
            continue
        for condition in contract.where:
            one = (condition.column, condition.op) == ("account_id", "eq")
            if one and needed <= set(contract.columns):
                return contract.id, str(condition.value)
    return None


@dataclass(slots=True)
class Report:
    """Everything that the closing report shows."""

    energy_mj: dict[str, dict[str, int]]
    ticks: int
    worst_gap_rel: dict[str, float | None]  # balance, match
    placements: Placed
    bill: Bill | None
    identity: dict[str, dict[str, int]]  # agent.topic -> terms
    dead_letters: dict[str, int]
    readings: int = 0
    seconds: float = 0.0

    @property
    def rows_per_s(self) -> float:
        return self.readings / self.seconds if self.seconds else 0.0

    def problems(self) -> list[str]:
        """What should not be: a broken identity, a bill that was delivered otherwise."""
        found = [
            f"identity of {name} does not hold" for name in self.identity if not self.holds(name)
        ]
        if self.bill and self.bill.delivered_micro not in (None, self.bill.amount_micro):
            found.append(f"the bill in {self.bill.contract} differs from the settlement")
        return found

    def holds(self, name: str) -> bool:
        """Whether consumed = accepted + duplicate + superseded + dead-lettered."""
        terms = self.identity[name]
        return 2 * terms["consumed"] == sum(terms.values())

    def as_json(self) -> dict[str, Any]:
        """One JSON object; integers whole."""
        return {
            "energy_mj": self.energy_mj,
            "ticks": self.ticks,
            "worst_gap_rel": {
                name: gap if gap is None or math.isfinite(gap) else None
                for name, gap in self.worst_gap_rel.items()
            },
            "placements": self.placements.states,
            "rejected": self.placements.rejected,
            "bill": _bill_json(self.bill) if self.bill else None,
            "identity": {n: t | {"holds": self.holds(n)} for n, t in self.identity.items()},
            "dead_letters": self.dead_letters,
            "readings": self.readings,
            "seconds": round(self.seconds, 3),
            "rows_per_s": round(self.rows_per_s),
            "problems": self.problems(),
        }


def _bill_json(bill: Bill) -> dict[str, Any]:
    return {
        "account_id": bill.account_id,
        "currency": bill.currency,
        "lines": bill.lines,
        "quantity_mj": bill.quantity_mj,
        "amount_micro": bill.amount_micro,
        "by_price_micro_per_kwh": [
            {"price": price, "quantity_mj": mj, "amount_micro": micro}
            for price, (mj, micro) in sorted(bill.by_price.items())
        ],
        "contract": bill.contract,
        "delivered_micro": bill.delivered_micro,
    }


async def close_report(settings: Settings) -> Report:
    """Read the topics from their beginning and add up; nothing is written."""
    carried = carried_out([row async for row in read_rows(settings, DISPATCH.name)])
    decided = [row async for row in read_rows(settings, PLACEMENTS.name)]
    letters = await dlq.read_letters(settings)
    identity = await identities(settings)
    return Report(
        energy_mj=energy_by_region(carried),
        ticks=len({(row["domain"], row["tick_ms"]) for row in carried}),
        worst_gap_rel={"balance": worst_gap(carried), "match": worst_gap(decided)},
        placements=placed(decided),
        bill=await _bill(settings),
        identity=identity,
        dead_letters=dict(Counter(x.fields["reason"] for x in letters).most_common()),
        readings=identity["ingest.telemetry.in"]["consumed"],
    )


async def identities(settings: Settings) -> dict[str, dict[str, int]]:
    """agent.topic -> consumed and its terms, for every stage that has consumed rows."""
    counted = {f"ingest.{name}": c for name, c in (await ingest_counts(settings)).items()}
    order = list(sources_of_agents())
    for stage in sorted(STAGES.values(), key=lambda stage: order.index(stage.agent)):
        counted[stage.name] = await saved_counts(settings, stage)
    always = "ingest.telemetry.in"
    return {n: c.terms() for n, c in counted.items() if c.consumed or n == always}


async def _bill(settings: Settings) -> Bill | None:
    """The bill of the first account whose lines are delivered under contract."""
    named = billed_contract(await registered_contracts(settings))
    if named is None:
        return None
    contract_id, account_id = named
    total = bill_of(account_id, [row async for row in read_rows(settings, SETTLEMENT.name)])
    total.contract = out_topic(contract_id)
    total.delivered_micro = await delivered_micro(settings, total.contract)
    return total


async def registered_contracts(settings: Settings) -> list[Contract]:
    """The last contract of each registry key; what is no entry is left out, as agents do."""
    known: dict[bytes, Contract] = {}
    async for record in read_all(settings, settings.topic(REGISTRY.name)):
        known.pop(record.key, None)
        if record.value is None:
            continue
        with suppress(RegistryError):
            entry = parse_entry(record.value)
            if isinstance(entry, Contract):
                known[record.key] = entry
    return list(known.values())


async def delivered_micro(settings: Settings, name: str) -> int | None:
    """The bill as its subscriber adds it up: plain JSON messages, the highest revision a line."""
    topic = settings.topic(name)
    if topic not in await partitions_of(settings, [topic]):
        return None
    lines = [orjson.loads(record.value) async for record in read_all(settings, topic)]
    return sum(int(line["amount_micro"]) for line in bill(lines).values())
