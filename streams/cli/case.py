"""A balance case as a file: JSON, or Parquet with one row; the fields are the kernel's columns."""

import io
from dataclasses import fields
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from kernels.balance import Network
from schemas.errors import ConfigError, FieldError, shown
from streams.cli.input import read_bytes

_PARQUET = b"PAR1"
_WHOLE = ("dt_h", "carbon_price", "voll")
_DEEPEST = 2  # a region's step; no column has more
_NEXT = "kernels/balance/README.md names the columns and their shapes"


def read_case(file: str) -> dict[str, Any]:
    """The fields of a case. Raises ConfigError where the file is neither form."""
    given = read_bytes(file)
    if given[:4] == _PARQUET:
        try:
            rows = pq.read_table(io.BytesIO(given)).to_pylist()
        except pa.ArrowException as error:
            raise ConfigError(f"{file} is no Parquet: {error}", "write it again") from None
        if len(rows) != 1:
            raise ConfigError(f"{file} has {len(rows)} rows", "a case is one row, a field a column")
        return {name: field for name, field in rows[0].items() if field is not None}
    try:
        case = orjson.loads(given)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{file} is no JSON: {error}", "send a JSON object") from None
    if not isinstance(case, dict):
        raise ConfigError(f"{file} holds {shown(case)}", "a case is one JSON object")
    return case


def network_of(case: dict[str, Any]) -> Network:
    """The network of a case. Raises FieldError naming region, column, step and what was sent."""
    for name in ("regions", "dt_h", "load_mw"):
        if name not in case:
            raise FieldError("missing", name, f"the case has no {name}", _NEXT)
    regions = case["regions"]
    if not isinstance(regions, list) or not all(isinstance(name, str) for name in regions):
        raise FieldError("type", "regions", f"regions is {shown(regions)}", "list their names")
    if len(set(regions)) != len(regions):
        raise FieldError("duplicate", "regions", "two regions have one name", "name each once")
    known = {field.name for field in fields(Network)} - {"regions"}
    columns = {name: field for name, field in case.items() if name != "regions"}
    for name, column in columns.items():
        if name not in known:
            raise FieldError("unknown_column", name, f"the balance has no column {name}", _NEXT)
        if name in _WHOLE and (isinstance(column, bool) or not isinstance(column, int | float)):
            raise FieldError("type", name, f"{name} is {shown(column)}", "send one number")
        _numbers(name, column, () if name.startswith("link_") else tuple(regions), ())
    try:
        return Network.of(regions=tuple(regions), **columns)
    except FieldError as error:
        message = f"{error.field}: {error.message}"
        raise FieldError(error.reason, error.field, message, error.next_step or _NEXT) from None
    except (TypeError, ValueError, OverflowError):
        column = next((name for name, given in columns.items() if _is_ragged(given)), "a column")
        raise FieldError("shape", column, f"{column}: its rows differ in length", _NEXT) from None


def _numbers(name: str, given: Any, regions: tuple[str, ...], place: tuple[int, ...]) -> None:
    """Every leaf is a number, or null for one that is not known (its region is left out)."""
    if len(place) > _DEEPEST:
        raise FieldError("shape", name, f"{name}: its lists are nested too deep", _NEXT)
    if isinstance(given, list):
        for i, inner in enumerate(given):
            _numbers(name, inner, regions, (*place, i))
    elif given is not None and (isinstance(given, bool) or not isinstance(given, int | float)):
        first = [f"region {regions[place[0]]}"] if place and place[0] < len(regions) else []
        where = ", ".join([*first, name, *(f"step {i}" for i in place[1:2])])
        raise FieldError("type", name, f"{where}: {shown(given)} is no number", "send a number")


def _is_ragged(given: Any) -> bool:
    if not isinstance(given, list):
        return False
    lengths = {len(inner) if isinstance(inner, list) else -1 for inner in given}
    return len(lengths) > 1 or any(map(_is_ragged, given))
