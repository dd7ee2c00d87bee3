"""Counts: what became of the rows consumed; the identity that none disappears."""

from dataclasses import dataclass, fields

TERMS = ("consumed", "accepted", "duplicate", "superseded", "dead_lettered")


@dataclass(slots=True)
class Counts:
    """Rows, and apart from them the messages that were removed before they could be read."""

    consumed: int = 0
    accepted: int = 0
    duplicate: int = 0
    superseded: int = 0
    dead_lettered: int = 0
    lost_messages: int = 0  # by the retention of the source topic: no row of them was consumed

    def check(self) -> None:
        """Raises AssertionError unless consumed = accepted + duplicate + superseded + dead."""
        parts = self.accepted + self.duplicate + self.superseded + self.dead_lettered
        assert self.consumed == parts, f"identity broken: {self}"

    def add(self, other: "Counts") -> None:
        for name in _FIELDS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def terms(self) -> dict[str, int]:
        """The terms of the identity."""
        return {name: getattr(self, name) for name in TERMS}

    def as_dict(self) -> dict[str, int]:
        """Everything, to be stored."""
        return {name: getattr(self, name) for name in _FIELDS}


_FIELDS = tuple(field.name for field in fields(Counts))
