"""Writes the commit into what hatch builds, for `p2pnode --version`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "p2pnode/commit.txt"


class CommitHook(BuildHookInterface):  # type: ignore[misc]
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        # An editable installation asks git each time; a source distribution brings the file along.
        if version == "editable" or (Path(self.root) / NAME).exists():
            return
        sys.path.insert(0, self.root)
        from p2pnode.version import commit_of_checkout

        self._directory = tempfile.TemporaryDirectory()
        file = Path(self._directory.name) / "commit.txt"
        file.write_text(commit_of_checkout(Path(self.root)) or "")
        build_data["force_include"][str(file)] = NAME
