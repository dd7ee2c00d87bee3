"""Admission of market rows: one event to one market row, or a refusal that says why. Pure."""

from typing import Any

from schemas import FieldError
from schemas.errors import shown
from schemas.market import JOB_CLASSES, MARKET_IN, MARKET_KINDS, PRECISIONS, RATE_MAX_PPM, RATES
from schemas.registry import Domain
from schemas.topic import FLOAT64, INT64, Column
from streams.ingest import fields as check
from streams.ingest.events import Event
from streams.registry import RegistryView

DEFAULT_SOURCE = "market.in"
_MOST = {"grid_cfe_ppm": 1_000_000, **dict.fromkeys(RATES, RATE_MAX_PPM)}
_SIGNED = ("import_price_per_mwh", "export_price_per_mwh", "cost_per_mwh", "terminal_value_per_mwh")
_LISTED = {"class": JOB_CLASSES, "precision": PRECISIONS}


def admit(event: Event, registry: RegistryView) -> tuple[Domain, dict[str, Any]]:
    """The row's domain, and the market row without its source coordinates. Raises FieldError."""
    fields = event.fields
    kind = check.one_of(fields, "kind", tuple(MARKET_KINDS))
    domain_id = check.text(fields, "domain")
    domain = registry.find(Domain, domain_id, 2**63 - 1)
    if domain is None:
        raise FieldError(
            "unknown_domain",
            "domain",
            f"scheduling domain {shown(domain_id)} is not registered",
            "register it (`gridloom registry apply`), then `gridloom dlq --replay`",
        )
    check.text(fields, "id")
    for name in MARKET_KINDS[kind]:
        check.required(fields, name)
    if fields.get("start_ms") is not None and fields.get("end_ms") is not None:
        check.interval(fields)
    row = {
        column.name: _field(fields, column)
        for column in MARKET_IN.columns
        if fields.get(column.name) is not None
    }
    if row.get("data_gb") and "data_region" not in row:
        message = f"data_gb is {row['data_gb']}, but not where the data are"
        raise FieldError("missing_field", "data_region", message, "send their region")
    row["source"] = check.source(None, event.source, DEFAULT_SOURCE)
    return domain, row


def _field(fields: dict[str, Any], column: Column) -> Any:
    name = column.name
    if column.unit == "ms" and column.type == INT64:
        return check.milliseconds(fields, name)
    if column.type == INT64:
        amount = check.integer(fields, name)
        if amount > _MOST.get(name, amount):
            message = f"{name} is {amount}, more than there can be"
            raise FieldError("unknown_value", name, message, f"send 0 to {_MOST[name]}")
        return amount
    if column.type == FLOAT64:
        number = check.number(fields, name)
        if number < 0 and name not in _SIGNED:
            raise FieldError("negative", name, f"{name} is {number}, below zero")
        return number
    if name in _LISTED:
        return check.one_of(fields, name, _LISTED[name])
    return check.text(fields, name)
