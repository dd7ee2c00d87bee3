"""Deliver: what a contract grants, and nothing else, to out.<contract>. Deny by default."""

from schemas import TOPICS
from streams.agent import Batch, Emit, agent
from streams.delivery import Delivered, deliveries


def step(delivered: Delivered, batch: Batch) -> Emit:
    """Each contract's granted columns of the rows that its filter admits, metered by contract."""
    emit = Emit(accepted=batch.rows.num_rows)
    for contract_id, messages, rows in deliveries(batch):
        emit.deliveries += messages
        delivered.rows[contract_id] = delivered.rows.get(contract_id, 0) + rows
    return emit


for _topic in TOPICS.values():
    if "deliver" in _topic.read_by:
        agent("deliver", source=_topic, state=Delivered)(step)
