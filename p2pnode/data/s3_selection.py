"""Which objects of a listing an execution gets, and where each lies in its input: pure functions.

Filter and Partition mean what they mean in Bacalhau (pkg/s3/partitioning.go), so that the same job
file gives each replica the same objects: both look at a key behind the prefix, what decides is
hashed with FNV-1a, and what has nothing that decides goes to replica 0.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from p2pnode.core.values import pattern
from p2pnode.core.wire.states import Fault

from .failures import DataFailed

NAME_SIZE_BYTES_MAX = 255
_FALLBACK = 0
# Stands in no key, so that no two lists of groups give one text.
_GROUPS_DELIMITER = "\x1f"
# Go's layouts show how they would write Mon Jan 2 15:04:05 2006; strptime has letters for the same.
_LAYOUT = {
    "2006": "%Y",
    "06": "%y",
    "January": "%B",
    "Jan": "%b",
    "01": "%m",
    "02": "%d",
    "Monday": "%A",
    "Mon": "%a",
    "15": "%H",
    "03": "%I",
    "04": "%M",
    "05": "%S",
    "PM": "%p",
}
_LAYOUT_PART = re.compile("|".join(_LAYOUT))


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object in a bucket."""

    key: str
    etag: str
    size_bytes: int


def prefix_of(key: str) -> str:
    return key.strip().removesuffix("*")


def select(
    objects: Iterable[S3Object], params: Mapping[str, Any], replica: int, replica_count: int
) -> list[S3Object]:
    """Return the objects that pass the Filter and are in this replica's part; raises `DataFailed`."""
    prefix = prefix_of(params.get("Key", ""))
    found = [one for one in objects if not one.key.endswith("/")]
    if text := params.get("Filter"):
        passes = _parsed(text, "Filter")
        found = [one for one in found if passes(one.key.removeprefix(prefix)) is not None]
    decides = _decides(params.get("Partition", {}), prefix)
    # A replica that is none of the first ones (a job on all peers) shares with nobody.
    if decides is None or replica >= replica_count:
        return found
    return [one for one in found if _part(decides(one.key), replica_count) == replica]


def relative_path(key: str, prefix: str) -> str:
    """Where an object lies below its input: behind the prefix's last folder. Raises `DataFailed`."""
    path = key[prefix.rfind("/") + 1 :]
    for part in path.split("/"):
        if part in ("", ".", "..") or "\0" in part or len(os.fsencode(part)) > NAME_SIZE_BYTES_MAX:
            raise DataFailed(Fault.JOB, f"the object {key[:200]!r} cannot be a file below a directory")
    return path


def _decides(partition: Mapping[str, Any], prefix: str) -> Callable[[str], str | None] | None:
    """Return a function from a key to what decides its replica; None where each replica gets all."""

    def rest(key: str) -> str:
        return key.removeprefix(prefix).removeprefix("/")

    match partition.get("Type", "none"):
        case "object":
            return lambda key: key
        case "regex":
            search = _parsed(partition["Pattern"], "Partition")
            return lambda key: _groups(search(rest(key)))
        case "substring":
            start, end = int(partition.get("StartIndex", 0)), int(partition["EndIndex"])
            return lambda key: rest(key)[start:end] if len(rest(key)) >= end else None
        case "date":
            layout = str(partition["DateFormat"])
            form = _LAYOUT_PART.sub(lambda part: _LAYOUT[part[0]], layout.replace("%", "%%"))
            return lambda key: _date(rest(key)[: len(layout)], form)
    return None


def _groups(match: tuple[str | None, ...] | None) -> str | None:
    if match is None:
        return None
    return _GROUPS_DELIMITER.join(group for group in match[1:] if group) or match[0] or None


def _date(text: str, form: str) -> str | None:
    try:
        return datetime.strptime(text, form).strftime(form)
    except ValueError:
        return None


def _part(text: str | None, count: int) -> int:
    return _FALLBACK if text is None else _fnv1a(text.encode(errors="surrogateescape")) % count


def _fnv1a(data: bytes) -> int:
    """The 32-bit hash of Fowler, Noll and Vo, variant 1a."""
    value = 0x811C9DC5
    for byte in data:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def _parsed(text: str, what: str) -> pattern.Search:
    try:
        return pattern.parse(text)
    except ValueError as exc:
        raise DataFailed(Fault.JOB, f"{what}: {exc}") from exc
