"""The usage of the slots that a batch changed."""

from kernels._core cimport Texts
from kernels.meter._core cimport Ledger

cdef changed_usage(Ledger ledger, Texts texts)
