"""Memory: that what an upload took goes back to the system when its request is answered."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of <malloc.h>
LARGE_BYTES = 2**20  # blocks from here on go back one by one; smaller ones are quicker to take and give within the heap
HEAP_BYTES = 2**24  # of unused memory at the heap's end are kept, so that not every image asks the system anew


def give_large_blocks_back() -> None:
    """Have glibc take large blocks from the system and give them back, whatever was freed before.

    By itself it raises its threshold to 32 MiB with the first large block that is freed: uploads then come from the
    heap, leave holes there, and a server under load keeps several times what it holds. Other systems need nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # no glibc
        return
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
    mallopt(M_TRIM_THRESHOLD, HEAP_BYTES)
