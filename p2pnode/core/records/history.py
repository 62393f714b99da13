"""A line of a job's history, made in one place and the same from here over journal and wire to the API."""

from __future__ import annotations

from p2pnode.core.wire.fields import LINE_LENGTH_MAX
from p2pnode.core.wire.messages import Line


def line(topic: str, text: str, state: str, now: float, execution: str = "", peer: str = "") -> Line:
    """A line as of `now`, cut to what deputies take; `state` is the execution's, or the job's, then."""
    return Line(
        at_ms=max(0, int(now * 1000)),
        topic=topic,
        text=text[:LINE_LENGTH_MAX],
        execution=execution,
        peer=peer,
        state=state,
    )
