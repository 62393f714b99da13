"""Regular expressions that strangers write: RE2's syntax, which cannot run away.

Matching takes time linear in the text, whatever the pattern; backreferences and lookaround,
which could not be matched so, are refused. The job file's check and the peer that applies a
pattern to the names of objects read it alike.
"""

from __future__ import annotations

from collections.abc import Callable

import re2

# The memory of a compiled pattern and its matching; x{1000} takes some 100 kB.
MEMORY_BYTES_MAX = 1024**2

# The match's own text first, then its groups (None for one that took no part); None for no match.
Search = Callable[[str], tuple[str | None, ...] | None]


def parse(text: str) -> Search:
    """A function that finds the pattern's first match in a text; raises `ValueError`."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MEMORY_BYTES_MAX
    try:
        compiled = re2.compile(text, options)
    except re2.error as exc:
        (said,) = exc.args
        reason = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        raise ValueError(f"not a regular expression of RE2: {reason}") from exc

    def search(text: str) -> tuple[str | None, ...] | None:
        match = compiled.search(text)
        return match and (match.group(), *match.groups())

    return search
