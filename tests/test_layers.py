"""The import rule of pyproject.toml is kept, and would notice if it were not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINTER = Path(sys.executable).with_name("lint-imports")


def test_the_import_rule_is_kept() -> None:
    done = subprocess.run([LINTER], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("core/values/units.py", "import time"),
        ("engines/workload.py", "import p2pnode.data"),
        ("cli/output.py", "import trio"),
        ("ipfs/cid.py", "import base58"),
        ("newcomer.py", "import math"),
    ],
)
def test_a_forbidden_import_or_an_unplaced_module_is_noticed(tmp_path: Path, module: str, line: str) -> None:
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    for path in (ROOT / "p2pnode").rglob("*.py"):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    with (tmp_path / "p2pnode" / module).open("a") as file:
        file.write(f"\n{line}\n")
    done = subprocess.run([LINTER, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "BROKEN" in done.stdout or "newcomer" in done.stdout + done.stderr
