"""Where a job wants its inputs and results in a container, as far as its file shows that this cannot be."""

from __future__ import annotations

from collections.abc import Iterable

# The names that a container has in /dev; others there are free.
_DEVICES = frozenset(
    {"console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random"}
    | {"stderr", "stdin", "stdout", "tty", "urandom", "zero"}
)
# Files of every image, or made by the engine.
_FILES = frozenset({"group", "hostname", "hosts", "passwd", "resolv.conf"})


def misplaced(path: str, *, folder: bool) -> str:
    """Why a folder, or what may be a file, cannot be mounted at a path of any container, or ""."""
    match path.strip("/").split("/"):
        case ["proc", *_] | ["sys", _, *_] | ["dev"]:
            return f"lies where every container has the system's own /{path.split('/')[1]}"
        case ["dev", name, *_] if name in _DEVICES:
            return f"lies where every container has the system's own /dev/{name}"
        case ["etc"] if not folder:
            return "is where the engine puts files of its own"
        case ["etc", name] if name in _FILES and folder:
            return "is a file in every container, and no folder"
        case ["etc", name, _, *_] if name in _FILES:
            return f"lies below /etc/{name}, which is a file in every container"
    return ""


def lowest_above(path: str, places: Iterable[str]) -> str:
    """The lowest of some places that a path lies below, or ""."""
    found = [place for place in places if path.startswith(f"{place}/")]
    return max(found, key=len, default="")
