"""Delivery: one topic a contract, with the columns and rows that the contract grants."""

OUT_PREFIX = "out."


def out_topic(contract_id: str) -> str:
    """The contract's topic; its rows have the granted columns of the contract's source topic."""
    return OUT_PREFIX + contract_id
