"""Care after a crash: what a node that has not ended in good order tries next is noted first.

If the node ends while it is tried, the note is what the next start finds: it sets that thing aside
instead of trying it once more. So of a crash and its repetition, a third never comes of the same cause.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from p2pnode.core.wire.compartments import Compartment
from p2pnode.system.log_lines import concerning, ids_of

from .problems import Problems

log = logging.getLogger(__name__)

# A thing that ends a node by its mere being there does so soon after the start.
CAREFUL_S = 60.0


class Caution:
    """Whether this start is a careful one, and what it must not try."""

    def __init__(self, problems: Problems, *, ended_well: bool) -> None:
        self._problems = problems
        self._careful_until = trio.current_time() + (0.0 if ended_well else CAREFUL_S)
        self._suspects = frozenset(problems.take_tried()) if not ended_well else frozenset()
        for kind, subject in sorted(self._suspects):
            reason = "the node ended while it was at this, right after a start that followed another such end"
            with concerning(**ids_of(kind, subject)):
                log.error("set aside the %s %s: %s", kind, subject, reason)
            problems.add(kind, subject, reason, aside=kind is not Compartment.MESSAGE)

    def is_suspect(self, kind: Compartment, subject: str) -> bool:
        """Did this node end while it tried this?"""
        return (kind, subject) in self._suspects

    @contextmanager
    def trying(self, kind: Compartment, subject: str) -> Iterator[None]:
        """Note what is tried in the block, should this be a careful start."""
        if trio.current_time() >= self._careful_until:
            yield
            return
        self._problems.trying(kind, subject)
        try:
            yield
        finally:
            self._problems.tried(kind, subject)
