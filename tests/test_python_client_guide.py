"""The guide docs/python.md on a real node that runs a WASM job, and what importing the client takes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .nodes import running_nodes

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs" / "python.md"
EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_examples_of_the_guide_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = EXAMPLE.findall(GUIDE.read_text())
    assert len(examples) == GUIDE.read_text().count("```python") >= 6
    monkeypatch.chdir(tmp_path)
    (tmp_path / "devnet").symlink_to(ROOT / "devnet")
    with running_nodes(tmp_path) as nodes:
        node = nodes.start("alone", "--no-mdns")
        monkeypatch.delenv("P2PNODE_API", raising=False)
        monkeypatch.setenv("P2PNODE_DATA_DIR", str(node.data_dir))
        names: dict[str, Any] = {"__name__": "guide"}
        for number, example in enumerate(examples, start=1):
            exec(compile(example, f"{GUIDE.name}, example {number}", "exec"), names)
        files = names["result"].files
    said = capsys.readouterr().out
    assert "Completed 0\n" in said and "no longer needed" in said and "bad-job" in said
    # On trio the job was run anew, and gives the same.
    assert "exitCode" in files and said.count(str(files)) == 2
    saved = {path.relative_to("word-count").as_posix() for path in Path("word-count").rglob("*")}
    assert set(files) <= saved


def test_importing_the_client_imports_nothing_that_verifies_or_waits() -> None:
    code = (
        "import sys, p2pnode.client as client\n"
        "heavy = {'trio', 'cbor2', 'httpcore', 'msgspec', 'p2pnode.ipfs'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
        "print([name for name in client.__all__ if getattr(client, name).__class__ is None])\n"
        "print('trio' in sys.modules, dir(client) == sorted(client.__all__))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]", "False True"]
