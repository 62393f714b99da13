"""The kernel's word of its own killing: which control group's limit of memory was it.

An engine may not tell: Podman 4.3 leaves that note where nobody looks for it, and the group's own counters
go with the container. The log stays. It is open to root, and to others where the system says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

KERNEL_LOG = "/dev/kmsg"
# A read gives one record, which is no longer than that.
RECORD_SIZE_BYTES_MAX = 8_192
# A ring of 16 MiB of short records, the largest that a kernel is given, has fewer.
RECORDS_MAX = 500_000


def out_of_memory(group: str, path: str = KERNEL_LOG) -> bool:
    """Whether a program was killed for the memory limit of a group with this in its name.

    The group that hit its limit, not the one that the program was in: a machine without memory kills as well.
    Blocking, for some milliseconds. False where the log is not there or not ours to read.
    """
    sign = re.compile(rb"oom-kill:.*,oom_memcg=[^,]*" + re.escape(os.fsencode(group)))
    try:
        log = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return any(sign.search(record) for record in _records(log))
    finally:
        os.close(log)


def _records(log: int) -> Iterator[bytes]:
    """All that are there now."""
    for _ in range(RECORDS_MAX):
        try:
            record = os.read(log, RECORD_SIZE_BYTES_MAX)
        except BrokenPipeError:
            # The record was overwritten before it was read; the next one is read then.
            continue
        except OSError:
            # Also BlockingIOError: this was all.
            return
        if not record:
            return
        yield record
