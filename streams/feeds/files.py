"""Files of the data sets, read whole, with an error that says which file and what to do."""

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import ConfigError

_NEXT = "give the folder of the data sets, or the one that holds this file"


def folder(data: Path, name: str) -> Path:
    """The folder of one data set: `data`/name, or `data` itself where it is that folder."""
    return data / name if (data / name).is_dir() else data


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A parquet file (of it, these columns). Raises ConfigError: missing, other, or spoilt."""
    _require(path)
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path} is not a readable parquet file: {error}", _NEXT) from None
    _require_columns(path, columns, table.column_names)
    return table.select(columns) if columns else table


def read_rows(path: Path, columns: list[str]) -> list[dict[str, str]]:
    """A csv file as text fields. Raises ConfigError: missing file or column."""
    _require(path)
    with path.open(newline="", encoding="utf-8") as opened:
        reader = csv.DictReader(opened)
        _require_columns(path, columns, list(reader.fieldnames or ()))
        return list(reader)


def days_within(name: str, start_day: int, days: int, available: int) -> None:
    """Raises ConfigError unless the days asked for are in the data set."""
    if start_day < 0 or days < 1 or start_day + days > available:
        raise ConfigError(
            f"{name} has {available} days, not {days} from day {start_day}",
            "choose start_day from 0 and days so that they end within it",
        )


def _require(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"{path} is missing", _NEXT)


def _require_columns(path: Path, wanted: list[str] | None, present: list[str]) -> None:
    absent = [column for column in wanted or () if column not in present]
    if absent:
        raise ConfigError(f"{path} has no column {', '.join(absent)}", _NEXT)
