"""Programs of this machine that a test has given a word of its own in their arguments."""

from __future__ import annotations

import os
from pathlib import Path

# A time for `sleep`, which no other test has.
MARK = f"36{os.getpid():07d}"


def marked() -> int:
    """How many run that have our word."""
    found = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += MARK.encode() in path.read_bytes()
        except OSError:
            # Ended since.
            continue
    return found
