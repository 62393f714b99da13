"""Addresses of content, `CID/outputs/model.bin`: a root, and the names on the way from it to what is meant.

All that takes such a path (commands, the API, job files) has it read here: it climbs nowhere, and can be
shown in a line of a terminal.
"""

from __future__ import annotations

import unicodedata

# No tree of content is deeper (`ipfs.unixfs.DEPTH_MAX`).
NAMES_MAX = 64
# The longest name that common file systems take.
NAME_SIZE_BYTES_MAX = 255
# A path of Linux (PATH_MAX); a job's spec has room for a few of them.
PATH_SIZE_BYTES_MAX = 4096
# The length of a wrong path in a message.
_SHOWN_LENGTH_MAX = 80


def split(text: str) -> tuple[str, tuple[str, ...]]:
    """The root that an address names, as it stands there, and the names below it.

    `ipfs://` and `/ipfs/` before it are taken off. Raises `ValueError` for a path that leads nowhere.
    """
    root, _, path = text.removeprefix("ipfs://").removeprefix("/ipfs/").partition("/")
    return root, names(path)


def names(path: str) -> tuple[str, ...]:
    """The names of a relative path, which may end in a slash; raises `ValueError` saying what is wrong."""
    parts = path.removesuffix("/").split("/") if path else []
    shown = f"'{ascii(path)[1:-1][:_SHOWN_LENGTH_MAX]}'"
    try:
        sizes_bytes = [len(part.encode()) for part in parts]
    except UnicodeEncodeError as exc:
        raise ValueError(f"the path {shown} is not UTF-8 text") from exc
    if len(parts) > NAMES_MAX:
        raise ValueError(f"the path {shown} has {len(parts)} parts; at most {NAMES_MAX} are allowed")
    if sum(sizes_bytes) + len(parts) > PATH_SIZE_BYTES_MAX:
        raise ValueError(f"the path {shown} takes more than {PATH_SIZE_BYTES_MAX} bytes")
    for part, size_bytes in zip(parts, sizes_bytes, strict=True):
        if not part:
            raise ValueError(f"the path {shown} has an empty part: two slashes, or one at its start")
        if part in (".", ".."):
            raise ValueError(
                f"the path {shown} has the part {part}; only names of files and folders may stand"
            )
        if size_bytes > NAME_SIZE_BYTES_MAX:
            raise ValueError(f"the path {shown} has a part of more than {NAME_SIZE_BYTES_MAX} bytes")
        if any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in part):
            raise ValueError(f"the path {shown} has a control character or a line break")
    return tuple(parts)


def root_of(address: str) -> str:
    """The beginning of an address, up to its first slash."""
    return address.partition("/")[0]


def join(root: str, below: tuple[str, ...]) -> str:
    """The address of what is below a root."""
    return "/".join((root, *below))
