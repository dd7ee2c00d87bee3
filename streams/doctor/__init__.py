"""Doctor: is this installation and its cluster in order, and what to do where it is not."""

from streams.doctor.check import Check
from streams.doctor.cluster import cluster_checks
from streams.doctor.machine import machine_checks

__all__ = ["Check", "cluster_checks", "machine_checks"]
