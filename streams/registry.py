"""The registry as an agent sees it: entries valid at an event time, as known at an offset.

Every batch is stamped with the registry offset at which it was admitted; a step resolves as of
that offset, so that a replay resolves the same way whatever was registered since.
"""

from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from schemas.registry import AnyEntry, Entry

E = TypeVar("E", bound=Entry)

_MS_MAX = 2**63 - 1


@dataclass
class Registry:
    """All entries read so far; `offset` is the last registry record taken in (-1 = none)."""

    offset: int = -1
    # (kind, id) -> [(valid_from_ms, offset, entry)] sorted
    _entries: dict[tuple[str, str], list[tuple[int, int, AnyEntry]]] = field(default_factory=dict)

    def put(self, entry: AnyEntry, offset: int) -> None:
        """Take in the entry of a registry record; offsets come in order."""
        dated = self._entries.setdefault((entry.kind, entry.id), [])
        insort(dated, (entry.valid_from_ms, offset, entry), key=lambda e: e[:2])
        self.offset = max(self.offset, offset)

    def skip(self, offset: int) -> None:
        """A registry record without an admitted entry (a refused one, or a deletion marker)."""
        self.offset = max(self.offset, offset)

    def at(self, offset: int) -> "RegistryView":
        """The registry as of `offset`."""
        return RegistryView(self, offset)


@dataclass(frozen=True, slots=True)
class RegistryView:
    """Entries of records up to `offset`; of two for the same date the later record holds."""

    _registry: Registry
    offset: int

    def newest(self, offset: int) -> "RegistryView":
        """This view, or the one as of `offset` where that is later."""
        return self if offset <= self.offset else RegistryView(self._registry, offset)

    def find(self, kind: type[E], entry_id: str, at_ms: int) -> E | None:
        """The entry of that kind and id that holds at `at_ms`, or None."""
        tag = str(kind.__struct_config__.tag)
        dated = self._registry._entries.get((tag, entry_id), [])
        for index in range(bisect_right(dated, at_ms, key=lambda e: e[0]) - 1, -1, -1):
            _, offset, entry = dated[index]
            if offset <= self.offset and isinstance(entry, kind):
                return entry
        return None

    def history(self, kind: type[E], entry_id: str) -> list[E]:
        """The dated entries of that kind and id, oldest date first; each holds until the next."""
        tag = str(kind.__struct_config__.tag)
        dated: dict[int, E] = {}
        for valid_from_ms, offset, entry in self._registry._entries.get((tag, entry_id), []):
            if offset <= self.offset and isinstance(entry, kind):
                dated[valid_from_ms] = entry  # of two for one date the later record holds
        return [dated[valid_from_ms] for valid_from_ms in sorted(dated)]

    def ids(self, kind: type[Entry]) -> list[str]:
        """Every id registered of a kind, sorted."""
        tag = str(kind.__struct_config__.tag)
        return sorted(i for k, i in self._registry._entries if k == tag)

    def all(self, kind: type[E], at_ms: int = _MS_MAX) -> Iterator[E]:
        """The entries of a kind that hold at `at_ms`, by id."""
        for entry_id in self.ids(kind):
            if (entry := self.find(kind, entry_id, at_ms)) is not None:
                yield entry

    def changed_since(self, offset: int) -> bool:
        """Whether any entry came after `offset`, up to this view's."""
        return any(
            offset < entry_offset <= self.offset
            for dated in self._registry._entries.values()
            for _, entry_offset, _ in dated
        )


EMPTY = Registry().at(-1)
