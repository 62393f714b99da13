"""The names of what nodes speak to each other, with their versions (protocols/ says what they are)."""

from __future__ import annotations

from collections.abc import Collection

_PREFIX = "/p2pnode/"
LINK = "/p2pnode/link/4"
# A stream; adverts are gossiped under the topic of that name, too.
ADVERTS = "/p2pnode/adverts/2"
ADVERTS_TOPIC = ADVERTS.removeprefix("/")
JOBS = "/p2pnode/jobs/1"
LOGS = "/p2pnode/logs/1"
LOG_ORDER = "/p2pnode/log-order/1"
EXEC = "/p2pnode/exec/1"
# In private networks alone, before all others.
MEMBER = "/p2pnode/member/1"
# In private networks alone, to members.
KEYRING = "/p2pnode/keyring/1"
ALL = (LINK, ADVERTS, JOBS, LOGS, LOG_ORDER, EXEC)
# No stream: who names it in adverts keeps copies of others' jobs, and takes them over.
DEPUTY = "deputy/1"
# As adverts and people have them.
SPOKEN = (*(one.removeprefix(_PREFIX) for one in ALL), DEPUTY)


def spoken(*, deputy: bool) -> tuple[str, ...]:
    """The names for a node's adverts; `deputy`: it looks after others' jobs, too."""
    return tuple(one for one in SPOKEN if deputy or one != DEPUTY)


def why_no_link(spoken: Collection[str]) -> str | None:
    """Why nothing can be asked of a peer that speaks these; None where it can."""
    own = LINK.removeprefix(_PREFIX)
    if own in spoken:
        return None
    theirs = ", ".join(sorted(one for one in spoken if one.startswith("link/")))
    return f"speaks {theirs} only; this node speaks {own}" if theirs else f"speaks no {own}"
