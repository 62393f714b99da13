"""The import rule of pyproject.toml is kept, and would notice if it were not."""

from __future__ import annotations

import ast
import re
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


ROOMS = [
    path.parent
    for path in sorted((ROOT / "p2pnode").rglob("__init__.py"))
    if path.parent.name not in ("p2pnode", "core", "jobfile")
    if path.parent.parts[-2:] != ("wasm", "worker")
]


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.relative_to(ROOT).as_posix())
def test_a_room_says_what_is_in_it_what_it_may_know_and_what_may_know_it(room: Path) -> None:
    text = (room / "__init__.py").read_text()
    assert text.startswith('"""')
    assert "May know " in text
    assert "Known to " in text or "Known by" in text


def test_no_class_name_is_defined_twice_for_different_things() -> None:
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "p2pnode").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


# "What runs and should not" tells of the world; a docstring tells what the thing is, or does to what.
_NO_SUBJECT = re.compile(r"(It|That|Who|Whom|Whose|Of|What|Until|They|Those|There)\b")


def test_a_docstring_begins_with_its_subject_or_its_verb() -> None:
    found = []
    for path in sorted((ROOT / "p2pnode").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
                text = ast.get_docstring(node) or ""
                if _NO_SUBJECT.match(text):
                    found.append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)} {text[:60]}")
    assert found == []
