"""Freed memory that a process keeps: what it gives back, its next batch faults in page by page.

glibc gives the end of its heap back once twice the largest block that was freed lies there unused;
columns of a few MB a batch come and go, so that every batch paid for fresh pages.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES = 16 << 20  # unused at the end of the heap
_BLOCK_BYTES = 8 << 20  # a larger block is mapped by itself and given back when it is freed


def keep_freed() -> None:
    """For this process, before its work; nothing where the C library is another one."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _BLOCK_BYTES)
