"""Why a kernel refused a row; the agent turns it into a dead letter."""

from typing import NamedTuple


class Refusal(NamedTuple):
    """Row of the batch, reason of schemas.deadletter, the field at fault, what to do."""

    row: int
    reason: str
    field: str
    message: str
