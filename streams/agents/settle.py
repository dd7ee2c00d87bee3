"""Settle: usage -> settlement. Time-of-use lines in integer money, corrected by new revisions."""

from schemas import SETTLEMENT, USAGE
from streams.agent import Batch, Emit, Output, agent
from streams.settle import Ledger


@agent("settle", source=USAGE, outputs=(SETTLEMENT,), state=Ledger)
def step(ledger: Ledger, batch: Batch) -> Emit:
    """Take in metered intervals; emit the lines of the periods that are complete or corrected.

    Only amounts of energy are priced: gauges and other units are accepted and bring no line.
    Amounts are int64 micro-units of the tariff's currency, quantity x price rounded half even
    once a line.
    """
    emit = Emit()
    registry = ledger.advance(batch.registry)
    for place, row in enumerate(batch.rows.to_pylist()):
        ledger.take(place, row, registry, emit)
    lines = ledger.lines(registry)
    if lines:
        emit.outputs.append(Output(SETTLEMENT, SETTLEMENT.rows(lines)))
    return emit
