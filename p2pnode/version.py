"""This program's identity: its version, the commit it was built of, and the protocols that it speaks."""

from __future__ import annotations

import subprocess
from pathlib import Path

from p2pnode import __version__
from p2pnode.core.wire import protocols

_PACKAGE = Path(__file__).parent
# Written by scripts/packaging/build_hook.py into what is built.
COMMIT_FILE = _PACKAGE / "commit.txt"
GIT_TIMEOUT_S = 2.0


def text() -> str:
    """Two lines, for people and for what they report."""
    spoken = ", ".join(protocols.SPOKEN)
    return f"p2pnode {__version__} (commit {commit() or 'unknown'})\nprotocols: {spoken}"


def commit() -> str | None:
    """The commit, with "-dirty" where files were changed since; None where nobody wrote it down."""
    try:
        return COMMIT_FILE.read_text(encoding="utf-8").strip() or None
    except OSError:
        return commit_of_checkout(_PACKAGE.parent)


def commit_of_checkout(root: Path) -> str | None:
    # Not the repository of somebody else that this happens to be installed in.
    if not (root / ".git").exists() or not (root / "pyproject.toml").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=GIT_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
