"""Admission of telemetry: one event to one readings row, or a refusal that says why. Pure."""

from typing import Any

from schemas import FieldError
from schemas.errors import shown
from schemas.registry import Meter, Site
from schemas.telemetry import KINDS, PUE, QUALITIES
from schemas.units import BASE_UNITS, UNITS, to_base
from streams.ingest import fields as check
from streams.ingest.events import Event
from streams.registry import RegistryView

DEFAULT_SOURCE = "telemetry.in"


def admit(event: Event, received_ms: int, registry: RegistryView) -> dict[str, Any]:
    """A readings row without its source coordinates. Raises FieldError."""
    fields = event.fields
    meter_id = check.text(fields, "meter_id")
    register = check.text(fields, "register")
    if register == PUE:
        raise FieldError(
            "unknown_value",
            "register",
            f"register {shown(register)} is the rollups' own: the quotient of two energies",
            "send it.energy and facility.energy, or name the register otherwise",
        )
    kind = check.one_of(fields, "kind", KINDS)
    start_ms, end_ms = check.interval(fields)
    unit = check.text(fields, "unit")
    quantity = to_base(check.required(fields, "quantity"), unit)
    base = UNITS[unit].base
    if kind != "gauge" and base != BASE_UNITS[0]:
        raise FieldError(
            "unit_unknown", "unit", f"a {kind} in {unit} has no energy", "use an energy unit"
        )
    meter = registry.find(Meter, meter_id, start_ms)
    site = registry.find(Site, meter.site_id, start_ms) if meter else None
    if meter is None or site is None:
        raise FieldError(
            "unknown_meter",
            "meter_id",
            f"meter {shown(meter_id)} or its site is not registered at {start_ms}",
            "register it (`gridloom registry apply`), then `gridloom dlq --replay`",
        )
    _check_age(end_ms, received_ms, meter)
    return {
        "meter_id": meter_id,
        "register": register,
        "kind": kind,
        "start_ms": start_ms,
        "end_ms": end_ms,
        "quantity": quantity,
        "unit": base,
        "revision": check.integer(fields, "revision", 0),
        "quality": check.one_of(fields, "quality", QUALITIES, "ACTUAL"),
        "epoch": check.integer(fields, "epoch", 0),
        "site_id": meter.site_id,
        "rack_id": meter.rack_id,
        "hub_id": site.hub_id,
        "account_id": meter.account_id,
        "source": check.source(fields.get("source"), event.source, DEFAULT_SOURCE),
    }


def _check_age(end_ms: int, received_ms: int, meter: Meter) -> None:
    if received_ms - end_ms > meter.max_age_ms:
        raise FieldError(
            "too_old",
            "end_ms",
            f"end_ms {end_ms} lies {received_ms - end_ms} ms before its receipt, "
            f"the meter class allows {meter.max_age_ms}",
            "send it through a settlement correction",
        )
    if end_ms - received_ms > meter.max_ahead_ms:
        raise FieldError(
            "too_far_ahead",
            "end_ms",
            f"end_ms {end_ms} lies {end_ms - received_ms} ms after its receipt, "
            f"the meter class allows {meter.max_ahead_ms}",
            "correct the device's clock",
        )
