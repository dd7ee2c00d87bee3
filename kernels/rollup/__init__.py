"""Rollup: readings -> tumbling windows by rack, site and hub: mean, min, max, p95, energy, PUE.

    Windows   readings -> rack windows, finished, and the partition's part of site and hub windows
    Merge     the parts of all partitions -> site and hub windows, and PUE

A reading belongs to the window of its start. Its sample is its mean power in mW (delta energy) or
its level (gauge); energy_mj is the sum of the delta energies alone. See README.md.
"""

from kernels.rollup.layout import LATENESS_MS, WINDOW_MS
from kernels.rollup.merge import Merge, Merged
from kernels.rollup.windows import Applied, NewLedger, Windows

__all__ = ["LATENESS_MS", "WINDOW_MS", "Applied", "Merge", "Merged", "NewLedger", "Windows"]
