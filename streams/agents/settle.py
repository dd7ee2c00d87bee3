"""Settle: usage -> settlement. Time-of-use lines in integer money, corrected by new revisions."""

import pyarrow.compute as pc

from schemas import SETTLEMENT, USAGE
from streams.agent import Batch, Emit, Output, agent
from streams.settle import Ledger


@agent("settle", source=USAGE, outputs=(SETTLEMENT,), state=Ledger)
def step(ledger: Ledger, batch: Batch) -> Emit:
    """Take in metered intervals; emit the lines of the periods that are complete or corrected.

    Only energy is priced: rows in other units are accepted and bring no line. Amounts are int64
    micro-units of the tariff's currency, quantity x price rounded half even once a line.
    """
    emit = Emit()
    energy = pc.equal(pc.cast(batch.rows["unit"], "string"), "mJ")
    emit.accepted = batch.rows.num_rows - (pc.sum(energy).as_py() or 0)
    places = pc.indices_nonzero(energy).to_pylist()
    ledger.advance(batch.rows, batch.registry)
    for place, row in zip(places, batch.rows.filter(energy).to_pylist(), strict=True):
        ledger.take(place, row, batch.registry, emit)
    lines = ledger.lines(batch.registry)
    if lines:
        emit.outputs.append(Output(SETTLEMENT, SETTLEMENT.rows(lines)))
    return emit
