"""The scenarios, each registered under its name; a family a module."""

from importlib import import_module

FAMILIES = ("kills", "brokers", "zombies", "storms", "network", "clusters", "disks", "clocks")
FAMILIES += ("rows", "logs")

for family in FAMILIES:
    import_module(f"tests.fault.scenarios.{family}")
