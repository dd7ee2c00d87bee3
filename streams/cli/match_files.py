"""The files of `gridloom match`: rows of JSON, NDJSON, CSV or Parquet as the kernel's columns.

A row that cannot be read is left out alone and named with its row, column and value. Rows count
from 1, the first with data. Sites and hubs go by their names; a field that holds several (the
prices of all slots, classes, hubs) is a list, or in CSV text parted by semicolons.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from math import inf, isnan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from kernels.match import (
    ANY,
    CLASSES,
    PRECISIONS,
    RESOURCES,
    BadInput,
    Jobs,
    Network,
    Series,
    Sites,
)
from schemas.errors import ConfigError, shown
from schemas.market import RATES
from streams.cli.input import read_bytes

Row = Mapping[str, Any]
Field = Callable[[Any], Any]
_PPM = 1_000_000


class Column(NamedTuple):
    """How a field is read; `default` stands where it is absent or empty."""

    read: Field
    default: Any = None
    required: bool = False


class Matching(NamedTuple):
    """What the files hold; `job_row` and `site_row` are the rows of the kernel's rows."""

    jobs: Jobs
    sites: Sites
    series: Series
    network: Network
    job_row: list[int]
    errors: list[BadInput]  # of fields that could not be read; rows from 1
    hubs: list[str]  # [M] of each site
    accounts: dict[str, int]  # numbers of tenants
    pairings: dict[str, int]


def read(jobs_file: str, sites_file: str, network_file: str | None, slot_ms: int) -> Matching:
    """Raises ConfigError where a file cannot be read or a column is unknown or missing."""
    site_rows = rows_of(sites_file)
    ids = [str(row.get("site_id", "")) for row in site_rows]
    hubs = _names(str(row.get("hub") or "") for row in site_rows)
    way_rows = rows_of(network_file) if network_file else []
    places = _names((str(row.get("from_hub") or "") for row in way_rows), hubs)
    errors: list[BadInput] = []
    sites_read, _ = _read("sites", site_rows, _site_columns(hubs), errors, keep=True)
    _close_repeated(ids, sites_read, errors)
    jobs_read, job_row = _read("jobs", rows_of(jobs_file), _job_columns(ids, places), errors)
    ways, _ = _read("network", way_rows, _way_columns(places, hubs), errors)
    numbers = {name: _numbers(row[name] for row in jobs_read) for name in _NUMBERED}
    return Matching(
        _jobs(jobs_read, job_row, numbers),
        *_sites(sites_read, slot_ms),
        _network(ways, places, hubs) if network_file else _everywhere(places, hubs),
        job_row,
        errors,
        [hubs[row["hub"]] for row in sites_read],
        numbers["tenant"],
        numbers["pairing"],
    )


# -- formats -------------------------------------------------------------------------------------


def rows_of(file: str) -> list[Row]:
    """Rows of a file, by the ending of its name; standard input is NDJSON."""
    kind = "ndjson" if file == "-" else Path(file).suffix.lstrip(".").lower()
    reader = _FORMATS.get(kind)
    if reader is None:
        raise ConfigError(
            f"{file} is no format that can be read", f"name a file .{', .'.join(_FORMATS)}"
        )
    held = read_bytes(file)
    try:
        rows = reader(held)
    except (ValueError, OSError, csv.Error) as error:
        raise ConfigError(f"{file} is not {kind}: {error}", "send rows of named fields") from None
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise ConfigError(
                f"{file}, row {number}: {shown(row)} is no object", "send rows of named fields"
            )
    return rows


def _json(held: bytes) -> list[Any]:
    rows = orjson.loads(held)
    if not isinstance(rows, list):
        raise ValueError("it holds no array")
    return rows


def _ndjson(held: bytes) -> list[Any]:
    return [orjson.loads(line) for line in held.splitlines() if line.strip()]


def _csv(held: bytes) -> list[Any]:
    try:
        text = held.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        shown_byte = f"0x{error.object[error.start]:02x}"
        raise ValueError(f"line {line}: byte {shown_byte} is no UTF-8; save it as UTF-8") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows: list[Any] = []
    for row in reader:
        if None in row:
            more = f"{shown(row[None][0])} is beyond the {len(row) - 1} columns of the first line"
            raise ValueError(f"line {reader.line_num}: {more}")
        rows.append(row)
    if not reader.fieldnames:
        raise ValueError("it is empty; its first line names the columns")
    return rows


def _parquet(held: bytes) -> list[Any]:
    import pyarrow.parquet as pq

    return list(pq.read_table(io.BytesIO(held)).to_pylist())


_FORMATS: dict[str, Callable[[bytes], list[Any]]] = {
    "json": _json,
    "ndjson": _ndjson,
    "jsonl": _ndjson,
    "csv": _csv,
    "parquet": _parquet,
}

# -- fields --------------------------------------------------------------------------------------


_NUMBERED = ("tenant", "pairing", "apart", "together")  # names that only have to be told apart


def _text(field: Any) -> str:
    return str(field)


def _whole(field: Any) -> int:
    if isinstance(field, bool) or (isinstance(field, float) and not field.is_integer()):
        raise ValueError("a whole number")
    try:
        number = int(field)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("a whole number") from None
    if not -(2**63) <= number < 2**63:
        raise ValueError("a whole number below 2^63")
    return number


def _number(field: Any) -> float:
    try:
        number = float(field)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("a number") from None
    if isinstance(field, bool) or isnan(number):
        raise ValueError("a number")
    return number


def _flag(field: Any) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    if str(field).lower() not in known:
        raise ValueError("true or false")
    return known[str(field).lower()]


def _one_of(names: Iterable[str]) -> Field:
    index = {name: at for at, name in enumerate(names)}

    def read(field: Any) -> int:
        if str(field) not in index:
            raise ValueError(f"one of {', '.join(list(index)[:12])}")
        return index[str(field)]

    return read


def _mask_of(names: Iterable[str]) -> Field:
    one = _one_of(names)

    def read(field: Any) -> int:
        mask = 0
        for name in _parts(field):
            mask |= 1 << min(one(name), 63)
        return mask - (mask >> 63 << 64)  # as 64 signed bits

    return read


def _each(read_one: Field) -> Field:
    def read(field: Any) -> list[Any]:
        found = []
        for slot, part in enumerate(_parts(field)):
            try:
                found.append(read_one(part))
            except ValueError as error:
                raise ValueError(f"{error}; slot {slot} is {shown(part)}") from error
        return found

    return read


def _parts(field: Any) -> list[Any]:
    if isinstance(field, str):
        return [part.strip() for part in field.split(";")]
    return list(field) if isinstance(field, list) else [field]


def _job_columns(sites: list[str], places: list[str]) -> dict[str, Column]:
    site, place, money = _one_of(sites), _one_of(places), _number
    return {
        "job_id": Column(_text, required=True),
        **{name: Column(_whole, 0) for name in RESOURCES},
        "job_class": Column(_one_of(CLASSES), 0),
        "precision": Column(_one_of(PRECISIONS), 1),
        "duration_ms": Column(_whole, required=True),
        "release_slot": Column(_whole, 0),
        "deadline_slot": Column(_whole, ANY),
        "origin_hub": Column(place, ANY),
        "max_rtt_ms": Column(_number, inf),
        "residency": Column(_mask_of(places), ANY),
        "affinity": Column(site, ANY),
        "data_gb": Column(_number, 0.0),
        "data_site": Column(site, ANY),
        "data_hub": Column(place, ANY),
        "current_site": Column(site, ANY),
        "migration_cost": Column(money, 0.0),
        "reject_cost": Column(money, required=True),
        "priority": Column(_whole, 0),
        **{name: Column(_text) for name in _NUMBERED},
    }


def _site_columns(hubs: list[str]) -> dict[str, Column]:
    return {
        "site_id": Column(_text, required=True),
        "hub": Column(_one_of(hubs), hubs.index("") if "" in hubs else 0),
        **{name: Column(_each(_whole), [0]) for name in RESOURCES},
        "pue": Column(_number, 1.0),
        "classes": Column(_mask_of(CLASSES), 7),
        **{name: Column(_whole, _PPM) for name in RATES},
        "price_per_mwh": Column(_each(_number), required=True),
        "ci_kg_per_kwh": Column(_each(_number), [0.0]),
        "up": Column(_flag, True),
    }


def _way_columns(places: list[str], hubs: list[str]) -> dict[str, Column]:
    return {
        "from_hub": Column(_one_of(places), required=True),
        "to_hub": Column(_one_of(hubs), required=True),
        "rtt_ms": Column(_number, required=True),
        "price_per_gb": Column(_number, 0.0),
    }


def _read(
    table: str,
    rows: list[Row],
    columns: dict[str, Column],
    errors: list[BadInput],
    keep: bool = False,
) -> tuple[list[dict[str, Any]], list[int]]:
    """Rows read, and their numbers; `keep`: a bad row stays, down and with nothing in it."""
    given = {name for row in rows for name in row if name is not None}
    for name in sorted(given - set(columns)):
        raise ConfigError(f"{table}: no such column {name!r}", f"columns: {', '.join(columns)}")
    for name, column in columns.items():
        if rows and column.required and name not in given:
            raise ConfigError(f"{table}: column {name!r} is missing", "every row needs it")
    found: list[dict[str, Any]] = []
    numbers: list[int] = []
    for number, row in enumerate(rows, 1):
        read_row, bad = _read_row(table, number, row, columns)
        errors += bad
        if not bad or keep:
            found.append(read_row | ({"up": False} if bad else {}))
            numbers.append(number)
    return found, numbers


def _close_repeated(ids: list[str], sites: list[dict[str, Any]], errors: list[BadInput]) -> None:
    """A site by the name of an earlier one is down: nobody could tell who runs where."""
    first: dict[str, int] = {}
    for number, (site_id, site) in enumerate(zip(ids, sites, strict=True), 1):
        if first.setdefault(site_id, number) != number:
            site["up"] = False
            said = f"send another: row {first[site_id]} has this one"
            errors.append(BadInput("sites", number, "site_id", site_id, said))


def _read_row(
    table: str, number: int, row: Row, columns: dict[str, Column]
) -> tuple[dict[str, Any], list[BadInput]]:
    fields, bad = {}, []
    for name, column in columns.items():
        field = row.get(name)
        fields[name] = column.default
        if field is None or field == "":
            if column.required:
                bad.append(BadInput(table, number, name, "", "send it: it has no default"))
            continue
        try:
            fields[name] = column.read(field)
        except ValueError as error:
            bad.append(BadInput(table, number, name, shown(field), f"send {error}"))
    return fields, bad


# -- columns -------------------------------------------------------------------------------------


def _jobs(
    rows: list[dict[str, Any]], job_row: list[int], numbers: dict[str, dict[str, int]]
) -> Jobs:
    columns = {
        name: [row[name] for row in rows]
        for name in _job_columns([], [])
        if name != "job_id" and name not in RESOURCES and name not in numbers
    }
    columns |= {
        name: [number.get(row[name], ANY) for row in rows] for name, number in numbers.items()
    }
    demand = np.array([[row[name] for name in RESOURCES] for row in rows], np.int64)
    ids = [row["job_id"] for row in rows]
    return Jobs.of(ids, demand.reshape(len(job_row), len(RESOURCES)), **columns)


def _sites(rows: list[dict[str, Any]], slot_ms: int) -> tuple[Sites, Series]:
    by_slot = ("price_per_mwh", "ci_kg_per_kwh", *RESOURCES)
    horizon = max((len(row[name] or [0]) for row in rows for name in by_slot), default=1)
    whole = {
        name: np.array([_over(row, name, horizon) for row in rows]).reshape(-1, horizon)
        for name in by_slot
    }
    sites = Sites.of(
        [str(row["site_id"]) for row in rows],
        np.stack([whole[name].astype(np.int64) for name in RESOURCES], axis=2),
        horizon,
        hub=[row["hub"] for row in rows],
        pue_ppm=[round(min(max(row["pue"], 0.0), 1e6) * _PPM) for row in rows],
        classes=[row["classes"] for row in rows],
        rate_ppm=np.array([[row[name] for name in RATES] for row in rows]).reshape(
            -1, 1, len(RATES)
        ),
        up=[row["up"] for row in rows],
    )
    return sites, Series.of(slot_ms, whole["price_per_mwh"], whole["ci_kg_per_kwh"])


def _over(row: dict[str, Any], name: str, horizon: int) -> list[Any]:
    """One field for all slots, or one for each."""
    given: list[Any] = row[name] or [0]
    if len(given) not in (1, horizon):
        raise ConfigError(
            f"sites: {row['site_id']} has {name} for {len(given)} slots, others for {horizon}",
            "send one number for all slots, or one for each",
        )
    return given * (horizon if len(given) == 1 else 1)


def _network(ways: list[dict[str, Any]], places: list[str], hubs: list[str]) -> Network:
    """Ways given; a hub reaches itself at once and free, what is not named has no path."""
    rtt, price = np.full((len(places), len(hubs)), inf), np.zeros((len(places), len(hubs)))
    np.fill_diagonal(rtt, 0.0)
    for way in ways:
        rtt[way["from_hub"], way["to_hub"]] = way["rtt_ms"]
        price[way["from_hub"], way["to_hub"]] = way["price_per_gb"]
    return Network.of(rtt, price)


def _everywhere(places: list[str], hubs: list[str]) -> Network:
    return Network.of(np.zeros((max(len(places), 1), max(len(hubs), 1))))


def _numbers(given: Iterable[str | None]) -> dict[str, int]:
    return {name: at for at, name in enumerate(sorted(set(given) - {None}, key=str)) if name}


def _names(given: Iterable[str], first: list[str] | None = None) -> list[str]:
    return list(dict.fromkeys([*(first or []), *given]))
