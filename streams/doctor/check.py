"""What one check found."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["OK", "WARN", "FAIL"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing examined: its status, what was found, and what to do unless it is OK."""

    name: str
    status: Status
    found: str
    next_step: str = ""


def ok(name: str, found: str) -> Check:
    return Check(name, "OK", found)


def warn(name: str, found: str, next_step: str) -> Check:
    return Check(name, "WARN", found, next_step)


def fail(name: str, found: str, next_step: str) -> Check:
    return Check(name, "FAIL", found, next_step)
