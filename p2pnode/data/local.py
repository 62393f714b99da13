"""The source `local`: a directory or file of this node's own, where its operator allows it.

Symbolic links are resolved first, of the path and of what is allowed, and then compared. So a
link below an allowed directory leads to nothing that is not allowed itself. Between this check
and the engine's mounting it, who may write there could still replace a directory by a link: a
directory that is allowed for writing should have nobody's links in its parents.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from p2pnode.core.wire.states import Fault

from .failures import DataFailed


@dataclass(frozen=True, slots=True)
class AllowedPath:
    """A path that may be given to jobs, with all that is below it."""

    path: Path
    writable: bool = False

    @classmethod
    def parse(cls, text: str) -> AllowedPath:
        """Read `/data`, `/data:ro` or `/data:rw`; raises `ValueError`."""
        path, colon, mode = text.rpartition(":")
        if not colon or mode not in ("ro", "rw"):
            path, mode = text, "ro"
        if not path.startswith("/"):
            raise ValueError(f"{path!r} is not an absolute path")
        return cls(Path(path), mode == "rw")


def find_local(source_path: str, read_write: bool, create_as: str, allowed: tuple[AllowedPath, ...]) -> Path:
    """The path without links; made, if it is not there and may be. Raises `DataFailed`, `OSError`. Blocking.

    `create_as` is dir, file, or noCreate; "" makes a directory where the job may write, as in Bacalhau.
    """
    path = look_up(source_path, read_write, read_write and create_as != "noCreate", allowed)
    if not path.exists():
        _create(path, create_as)
    return path


def look_up(source_path: str, read_write: bool, made: bool, allowed: tuple[AllowedPath, ...]) -> Path:
    """The path without links; `made`: it need not be there. Raises `DataFailed`, `OSError`. Blocking."""
    try:
        path = Path(source_path).resolve()
    except RuntimeError as exc:
        raise DataFailed(Fault.PEER, f"{source_path} is a link that leads to itself") from exc
    granting = [one for one in allowed if path.is_relative_to(one.path.resolve())]
    # Another peer may allow and have it: only that it has an allow-list at all is in its advert.
    if not granting:
        raise DataFailed(Fault.PEER, f"{source_path} is not among the paths that this node allows")
    if read_write and not any(one.writable for one in granting):
        raise DataFailed(Fault.PEER, f"{source_path} is allowed here for reading only")
    if not path.exists():
        if not made:
            raise DataFailed(Fault.PEER, f"{source_path} is not there on this node")
    # A device or a socket (Docker's!) is a way out of a container.
    elif not path.is_dir() and not path.is_file():
        raise DataFailed(Fault.PEER, f"{source_path} is neither a directory nor a file")
    return path


def _create(path: Path, create_as: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if create_as == "file":
        path.touch()
    else:
        path.mkdir(exist_ok=True)
