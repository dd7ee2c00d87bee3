"""The usage of the slots that a batch changed."""

from kernels._core cimport Texts
from kernels.meter._core cimport Ledger

cdef usage_of(Ledger ledger, Texts texts)
