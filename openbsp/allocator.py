"""glibc's allocator, configured to return the memory of large bodies to the system."""

import ctypes

#: See mallopt(3), which has the names; the numbers are those of glibc's malloc.h.
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
#: From this size on a block is mapped by itself. Reads of a socket are smaller, so that only large bodies pay for it.
_MAPPED_FROM_BYTES = 256 * 1024
_ARENAS = 2


def return_large_blocks() -> bool:
    """Return each block of 256 KiB and more to the system as soon as it is freed. Returns whether that is set.

    Trap: glibc raises its threshold to the largest block that was ever freed, up to 32 MiB. After the first bodies of a
    megabyte all others are cut out of one heap, which grows to several times of what is in use and does not shrink: a
    small block at its end is enough to keep it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        # musl has no such setting, and maps large blocks anyway.
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM_BYTES)) and bool(mallopt(_M_ARENA_MAX, _ARENAS))
