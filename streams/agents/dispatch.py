"""Dispatch: market -> one certified decision a tick. Balance, match at its prices, balance again.

The state of a domain is what its market rows say; a tick row closes what was known at its time.
The policy is the one that holds then, as of the batch's registry offset. Step 0 of the plan is
carried out: storages move, placed jobs hold their resources. A tick that had to do without a
region's input is decided again, as a revision, when that input arrives.
"""

from schemas import ALERTS, DISPATCH, MARKET, PLACEMENTS, PRICES, SIGNALS
from schemas.market import TICK
from schemas.registry import Domain, Policy
from streams.agent import Batch, Emit, Output, Refused, agent
from streams.dispatch.state import Markets
from streams.dispatch.tick import decide, revise

OUTPUTS = (DISPATCH, PLACEMENTS, PRICES, SIGNALS, ALERTS)


@agent("dispatch", source=MARKET, outputs=OUTPUTS, state=Markets)
def step(markets: Markets, batch: Batch) -> Emit:
    """Take in the rows in order; at each tick, and its late input, emit its horizon's decisions."""
    emit = Emit()
    for place, row in enumerate(batch.rows.to_pylist()):
        domain = batch.registry.find(Domain, row["domain"], 2**63 - 1)
        if domain is None:
            message = f"domain {row['domain']!r} is not registered. register it"
            emit.refused.append(Refused(place, "unknown_domain", "domain", message))
            continue
        market = markets.of(domain.id)
        if market.known(row) or (row["kind"] != TICK and not market.take(row)):
            emit.duplicate += 1
        else:
            emit.accepted += 1
            if row["kind"] == TICK:
                policy = batch.registry.find(Policy, domain.id, row["start_ms"])
                decided = decide(market, domain, row["start_ms"], policy)
            else:
                decided = revise(market, domain, row) if market.awaits(row) else {}
            emit.outputs += [
                Output(topic, topic.rows(rows)) for topic, rows in decided.items() if rows
            ]
    return emit
