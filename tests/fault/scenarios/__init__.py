"""The scenarios, each registered under its name; a family a module."""

from tests.fault.scenarios import brokers, kills, rows, storms, zombies

__all__ = ["brokers", "kills", "rows", "storms", "zombies"]
