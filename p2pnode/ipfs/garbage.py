"""Which blocks have to stay, and from what age on the others go: the rules of garbage collection.

A pin is recursive: it keeps its root and all blocks below. The least recently used blocks go
first. Ages are counted in steps of a minute, so that neither a list of all blocks nor an
index beside them is needed: the files' own times are the truth, and survive a crash as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from p2pnode.core.wire.codec import BadMessage
from p2pnode.ipfs import cid as cids
from p2pnode.ipfs import dagpb

AGE_STEP_S = 60


def reachable(
    roots: Iterable[str], get_block: Callable[[str], bytes | None], look_at_raw: bool = False
) -> set[bytes]:
    """The multihashes of all blocks at and below `roots`, some 100 bytes of memory each.

    A block that is missing or damaged has nothing below it. Raw blocks are asked for only where told to,
    as they lead nowhere. Raises `OSError`.
    """
    found: set[bytes] = set()
    # Apart, as the same bytes may be met as a raw block too, which leads nowhere.
    walked: set[bytes] = set()
    waiting = [cids.parse(root) for root in roots]
    while waiting:
        cid = waiting.pop()
        is_new = cid.multihash not in found
        found.add(cid.multihash)
        if cid.codec == "raw":
            if is_new and look_at_raw:
                get_block(str(cid))
            continue
        if cid.multihash in walked:
            continue
        walked.add(cid.multihash)
        data = get_block(str(cid))
        if data is None:
            continue
        try:
            waiting += [cids.parse(link) for link in dagpb.links_untrusted(str(cid), data)]
        except BadMessage:
            continue
    return found


def missing_block(root: str, get_block: Callable[[str], bytes | None]) -> str | None:
    """A block at or below `root` that is not here, or None when all are; raises `OSError`."""
    missing: list[str] = []

    def look(cid: str) -> bytes | None:
        data = get_block(cid)
        if data is None:
            missing.append(cid)
        return data

    reachable([root], look, look_at_raw=True)
    return missing[0] if missing else None


def age_step(used_s: float) -> int:
    return int(used_s // AGE_STEP_S)


def last_step_to_go(sizes_bytes: Counter[int], to_free_bytes: int) -> int | None:
    """The newest step whose blocks have to go, if `sizes_bytes` says how much there is of each.

    None where nothing is to go.
    """
    last = None
    for step in sorted(sizes_bytes):
        if to_free_bytes <= 0:
            break
        last = step
        to_free_bytes -= sizes_bytes[step]
    return last
