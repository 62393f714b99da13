"""Data that a job uses and a peer has already, as cache keys: numbers short enough for an advert.

A cache key is the first 48 bits of the SHA-256 of a kind and a name, so that a peer tells some
dozens of images and inputs in a few hundred bytes. Two things with one key cost a choice that is not
the best, and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from p2pnode.core.values import content_paths
from p2pnode.core.values.images import normal
from p2pnode.core.wire import codec
from p2pnode.core.wire.fields import CACHE_KEYS_MAX
from p2pnode.core.wire.spec import DockerTask, Source, Task

CACHE_KEY_SIZE_BYTES = 6
# Sources of which a peer may have kept what it fetched; what is in the job file needs no fetching.
KEPT_SOURCES = frozenset({"ipfs", "s3", "urldownload"})


def cache_keys_of(task: Task) -> tuple[int, ...]:
    """The cache keys of a task's image and of its inputs, each once, sorted."""
    image = [image_cache_key(task.engine.image)] if isinstance(task.engine, DockerTask) else []
    inputs = [source_cache_key(one.source) for one in task.inputs if one.source.type in KEPT_SOURCES]
    return tuple(sorted({*image, *inputs}))


def image_cache_key(image: str) -> int:
    """The cache key of a container image, however its name is written."""
    return _cache_key("image", normal(image).encode())


def cid_cache_key(cid: str) -> int:
    """The cache key of content by its CID, as the job file writes it."""
    return _cache_key("ipfs", cid.encode())


def source_cache_key(source: Source) -> int:
    """The cache key of an input source: of its CID, or else of its type and parameters."""
    if source.type == "ipfs":
        # A peer that has all below the root has this, too.
        return cid_cache_key(content_paths.root_of(str(source.params["CID"])))
    return _cache_key(source.type, codec.encode(source.params))


def advertised(*kinds: Mapping[int, int]) -> tuple[tuple[int, int], ...]:
    """As many cache keys as an advert takes, with their sizes, of each kind as many as of the others; sorted.

    Of each kind the first are told, so the likeliest to be asked for should be first.
    """
    chosen: dict[int, int] = {}
    left = [iter(kind.items()) for kind in kinds]
    while left and len(chosen) < CACHE_KEYS_MAX:
        for things in list(left):
            thing = next(things, None)
            if thing is None:
                left.remove(things)
            elif len(chosen) < CACHE_KEYS_MAX:
                chosen.setdefault(*thing)
    return tuple(sorted(chosen.items()))


def _cache_key(kind: str, name: bytes) -> int:
    digest = hashlib.sha256(kind.encode() + b"\0" + name).digest()
    return int.from_bytes(digest[:CACHE_KEY_SIZE_BYTES], "big")
