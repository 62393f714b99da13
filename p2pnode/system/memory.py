"""How this process gives memory back to the system."""

from __future__ import annotations

import ctypes
import gc
import resource
from pathlib import Path

# From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_ARENA_MAX = -8
_M_MMAP_THRESHOLD = -3
# Each larger buffer is a mapping of its own, gone with it. Below are the messages that a fetch is made of, of
# half a megabyte: their pages, made anew and cleared for each, took as long as all else in it.
MAPPED_SIZE_BYTES_MIN = 1024 * 1024
# A heap keeps so much at its end for the next ones.
KEPT_SIZE_BYTES_MAX = 2 * 1024 * 1024
# Threads wait for disks here; more arenas make them no faster.
ARENAS_MAX = 2


def resident_bytes() -> int:
    """The memory that this process has now; the most that it had, where the system tells only that."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        # Bytes on macOS, the system without /proc.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def give_back() -> None:
    """Has freed buffers go back to the system at once; before any thread begins.

    glibc raises its threshold with each large buffer that is freed, until they all lie in its heaps, which
    their remains keep from shrinking. Other C libraries have no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, ARENAS_MAX)
        mallopt(_M_MMAP_THRESHOLD, MAPPED_SIZE_BYTES_MIN)
        mallopt(_M_TRIM_THRESHOLD, KEPT_SIZE_BYTES_MAX)


def settle() -> None:
    """Leaves all that there is now, the program itself, out of what is searched for garbage.

    A failed stream is garbage in a cycle with its buffers. Python looks for such among old objects only
    once there are a quarter more of them: without those of the program that is soon, and takes little.
    """
    gc.collect()
    gc.freeze()
    # Counts what is old anew.
    gc.collect()
