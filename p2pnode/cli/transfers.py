"""Pulls and downloads, as a line of a job's history tells of them: no field of an event does."""

from __future__ import annotations

import re
from dataclasses import dataclass

from p2pnode.core.values.units import parse_bytes

_SIZE = r"[0-9]{1,4}(?:\.[0-9]{1,3})? [KMGTPE]?B"
# "fetching /data: 1.04 MB of 3 MB (ada)", "pulling image busybox: 45% (ada)", "s3://results/a: 12 KB (ada)":
# the API puts the peer's name behind.
_TOLD = re.compile(
    rf"(?P<what>.+): (?:[0-9]+ of [0-9]+ objects, )?"
    rf"(?:(?P<here>{_SIZE})(?: of (?P<whole>{_SIZE}))?|(?P<percent>[0-9]{{1,3}})%)(?: \(.*\))?"
)


@dataclass(frozen=True, slots=True)
class Transfer:
    """How far something is that is pulled, fetched or sent."""

    what: str
    # None: only its share is known.
    here_bytes: int | None
    whole_bytes: int | None
    # From 0 to 1; None: its end is not known.
    share: float | None


def transfer_of(message: str) -> Transfer | None:
    """The transfer that a line tells of, or None."""
    found = _TOLD.fullmatch(message)
    if found is None:
        return None
    if found["percent"]:
        return Transfer(found["what"], None, None, min(1.0, int(found["percent"]) / 100))
    here_bytes = parse_bytes(found["here"])
    whole_bytes = parse_bytes(found["whole"]) if found["whole"] else None
    share = min(1.0, here_bytes / whole_bytes) if whole_bytes else None
    return Transfer(found["what"], here_bytes, whole_bytes, share)
