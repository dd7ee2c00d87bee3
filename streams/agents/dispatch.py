"""Dispatch: market -> one certified decision a tick. Balance, match at its prices, balance again.

The state of a domain is what its market rows say; a tick row closes what was known at its time.
The policy is the one that holds then, as of the batch's registry offset. Step 0 of the plan is
carried out: storages move, placed jobs hold their resources. A tick that had to do without a
region's input is decided again, as a revision, when that input arrives.

A parent domain writes to its children's partitions what it deals to them; they write to its own
what they hold and offer, and the jobs that they have no place for.
"""

import msgspec

from schemas import ALERTS, DISPATCH, MARKET, PLACEMENTS, PRICES, SIGNALS
from schemas.errors import shown
from schemas.market import HANDED, HELD, OFFERED, RETURNED, TICK
from schemas.offer import Offer, Returned
from schemas.policy import Deal, Document
from schemas.registry import Domain, Policy
from streams.agent import Batch, Emit, Output, Refused, agent
from streams.dispatch.decisions import returned_row
from streams.dispatch.hierarchy import accepted, answer, answered, family_of, offered, parent_of
from streams.dispatch.returns import taken_back
from streams.dispatch.state import Market, Markets, Row, sender_of
from streams.dispatch.tick import Decided, decide, decide_again, revise
from streams.registry import RegistryView

OUTPUTS = (DISPATCH, PLACEMENTS, PRICES, SIGNALS, ALERTS, MARKET)
_NEWEST = 2**63 - 1


@agent("dispatch", source=MARKET, outputs=OUTPUTS, state=Markets)
def step(markets: Markets, batch: Batch) -> Emit:
    """Take in the rows in order; at each tick, and its late input, emit its horizon's decisions."""
    emit = Emit()
    for place, row in enumerate(batch.rows.to_pylist()):
        domain = batch.registry.find(Domain, row["domain"], _NEWEST)
        if domain is None:
            message = f"domain {row['domain']!r} is not registered. register it"
            emit.refused.append(Refused(place, "unknown_domain", "domain", message))
            continue
        if wrong := _wrong(batch.registry, domain, row):
            emit.refused.append(Refused(place, "unknown_value", *wrong))
            continue
        market = markets.of(domain.id)
        if market.known(row) or (row["kind"] not in _ACTS and not market.take(row)):
            emit.duplicate += 1
        else:
            emit.accepted += 1
            decided = _ACTS.get(row["kind"], _late)(market, domain, row, batch.registry)
            emit.outputs += [
                Output(topic, topic.rows(rows)) for topic, rows in decided.items() if rows
            ]
    return emit


def _tick(market: Market, domain: Domain, row: Row, view: RegistryView) -> Decided:
    policy = view.find(Policy, domain.id, row["start_ms"])
    return decide(market, domain, row["start_ms"], policy, family_of(view, domain, market))


def _handed(market: Market, domain: Domain, row: Row, view: RegistryView) -> Decided:
    """A parent's deal holds from now on; the open tick that it covers is decided again."""
    accepted(market, row, Deal.read(row["deal"]))
    family = family_of(view, domain, market)
    if market.open is None or not market.awaits(row):
        return {MARKET: answer(market, domain, family)}
    policy = view.find(Policy, domain.id, market.open.tick_ms)
    return decide_again(market, domain, policy, family, row["received_ms"])


def _held(market: Market, domain: Domain, row: Row, view: RegistryView) -> Decided:
    """What a child may use is less: so is what this domain may, and its parent is told."""
    answered(market, row, Deal.read(row["deal"]))
    return {MARKET: answer(market, domain, family_of(view, domain, market))}


def _offered(market: Market, domain: Domain, row: Row, view: RegistryView) -> Decided:
    """What a child has is known for the next tick."""
    offered(market, row, Offer.read(row["deal"]))
    return {}


def _returned(market: Market, domain: Domain, row: Row, view: RegistryView) -> Decided:
    """A job that a child has no place for waits here again for the next tick."""
    job = taken_back(market, domain, row, Returned.read(row["deal"]))
    return {} if job is None else {PLACEMENTS: [returned_row(market, domain, job)]}


def _late(market: Market, domain: Domain, row: Row, view: RegistryView) -> Decided:
    return revise(market, domain, row) if market.awaits(row) else {}


_ACTS = {TICK: _tick, HANDED: _handed, HELD: _held, OFFERED: _offered, RETURNED: _returned}
_SAYS: dict[str, type[Document]] = {HANDED: Deal, HELD: Deal, OFFERED: Offer, RETURNED: Returned}


def _wrong(view: RegistryView, domain: Domain, row: Row) -> tuple[str, str] | None:
    """(field, message) of what another domain may not write to this one."""
    sender, kind = sender_of(row), row["kind"]
    if sender is None and kind not in _SAYS:
        return None
    if kind in (HELD, OFFERED, RETURNED):
        of = "source" if kind == RETURNED else "id"  # a returned row has the id of the job
        child = view.find(Domain, row[of], _NEWEST)
        if child is None or parent_of(view, child) != domain.id or sender != child.id:
            return of, f"{shown(row[of])} is no child of {domain.id}. register its parent"
    elif sender is None or parent_of(view, domain) != sender:
        return "source", f"{shown(sender)} is not the parent of {domain.id}. register it as such"
    if says := _SAYS.get(kind):
        try:
            says.read(row["deal"] or "")
        except msgspec.DecodeError as error:
            what = f"{says.__module__}.{says.__name__}"
            return "deal", f"deal refused: {error}. write what {what} says"
    return None
