"""What tests of the command line share: a fake node that it talks to, in a directory of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_node import Served


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    monkeypatch.delenv("P2PNODE_API", raising=False)
    monkeypatch.setenv("P2PNODE_DATA_DIR", str(data_dir))
    monkeypatch.chdir(tmp_path)
    with Served(data_dir).running() as running:
        yield running
