"""What data a job uses and a peer has already, as marks: numbers short enough for an advert.

A mark is the first 48 bits of the SHA-256 of a kind and a name, so that a peer tells some dozens
of images and inputs in a few hundred bytes. Two things with one mark cost a choice that is not
the best, and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from p2pnode.core.values import content_paths
from p2pnode.core.values.images import normal
from p2pnode.core.wire import codec
from p2pnode.core.wire.messages import HOLDINGS_MAX
from p2pnode.core.wire.spec import DockerEngine, Source, Task

MARK_SIZE_BYTES = 6
# Sources of which a peer may have kept what it fetched; what is in the job file needs no fetching.
KEPT_SOURCES = frozenset({"ipfs", "s3", "urldownload"})


def marks_of(task: Task) -> tuple[int, ...]:
    """The marks of a task's image and of its inputs, each once, sorted."""
    image = [image_mark(task.engine.image)] if isinstance(task.engine, DockerEngine) else []
    inputs = [source_mark(one.source) for one in task.inputs if one.source.type in KEPT_SOURCES]
    return tuple(sorted({*image, *inputs}))


def image_mark(image: str) -> int:
    """The mark of a container image, however its name is written."""
    return _mark("image", normal(image).encode())


def cid_mark(cid: str) -> int:
    """The mark of content by its CID, as the job file writes it."""
    return _mark("ipfs", cid.encode())


def source_mark(source: Source) -> int:
    """The mark of an input source: of its CID, or else of its type and parameters."""
    if source.type == "ipfs":
        # Who has all below the root has this, too.
        return cid_mark(content_paths.root_of(str(source.params["CID"])))
    return _mark(source.type, codec.encode(source.params))


def told(*kinds: Iterable[int]) -> tuple[int, ...]:
    """As many marks as an advert takes, of each kind as many as of the others; sorted.

    Of each kind the first are told, so the likeliest to be asked for should be first.
    """
    chosen: dict[int, None] = {}
    left = [iter(dict.fromkeys(kind)) for kind in kinds]
    while left and len(chosen) < HOLDINGS_MAX:
        for marks in list(left):
            mark = next(marks, None)
            if mark is None:
                left.remove(marks)
            elif len(chosen) < HOLDINGS_MAX:
                chosen[mark] = None
    return tuple(sorted(chosen))


def _mark(kind: str, name: bytes) -> int:
    digest = hashlib.sha256(kind.encode() + b"\0" + name).digest()
    return int.from_bytes(digest[:MARK_SIZE_BYTES], "big")
