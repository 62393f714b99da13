"""The tree is tidy: its import rule, its rooms, the size of its files, its comments, what names its parts."""

from __future__ import annotations

import ast
import importlib.util
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

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
_NO_SUBJECT = re.compile(r"(It|He|She|They|That|Those|There|Who|Whom|Whose|Of|What|Until)\b", re.IGNORECASE)
SOURCES = [path for room in ("p2pnode", "scripts", "tests") for path in sorted((ROOT / room).rglob("*.py"))]
# More than that is not read at once.
LINES_MAX = 400


def docstrings(text: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            yield getattr(node, "lineno", 1), ast.get_docstring(node) or ""


def comments(text: str) -> Iterator[tuple[int, str]]:
    """Full-line comments with their lines; of a block its first."""
    before = -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip():
            number = token.start[0]
            if number != before + 1:
                yield number, token.string.lstrip("#: ")
            before = number


def without_subject(text: str) -> list[tuple[int, str]]:
    return [one for one in (*docstrings(text), *comments(text)) if _NO_SUBJECT.match(one[1])]


def test_a_docstring_or_a_comment_begins_with_its_subject_or_its_verb() -> None:
    assert SOURCES
    found = [
        f"{path.relative_to(ROOT)}:{line} {words[:60]}"
        for path in SOURCES
        for line, words in without_subject(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('"""What a node does."""', [1]),
        ('"""The node\'s work."""', []),
        ('def f():\n    """It works."""', [1]),
        ("# Until it ends.\nx = 1", [1]),
        ("# The node waits,\n# until it ends.", []),
        ("x = 1  # of the node", []),
        ("x = 1\n# of the node\n", [2]),
        ("# Items of a list", []),
    ],
)
def test_words_without_a_subject_are_noticed(text: str, lines: list[int]) -> None:
    assert [line for line, _ in without_subject(text)] == lines


def test_no_file_is_longer_than_what_one_reads_at_once() -> None:
    lines = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: count for name, count in lines.items() if count > LINES_MAX} == {}


# Files and hosts, that look like a module of ours with something in it.
_NO_MODULE = re.compile(r"\.(c|fish|gz|json|max|tech|token|toml)$")
_ROOM_NAMES = "|".join(
    sorted({path.stem for path in (ROOT / "p2pnode").iterdir() if not path.stem.startswith("__")})
)
_DOTTED = re.compile(
    rf"`(\w+(?:\.\w+)+)(?:\(\))?`|(?<![\w./-])((?:p2pnode|{_ROOM_NAMES})(?:\.[A-Za-z_]\w*)+)"
)


def _names_in(body: list[ast.stmt]) -> dict[str, set[str]]:
    """The names that a module or class defines, each with its own if it is a class."""
    found: dict[str, set[str]] = {}
    for node in body:
        match node:
            case ast.ClassDef():
                fields = {
                    one.attr
                    for one in ast.walk(node)
                    if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store)
                }
                found[node.name] = {*_names_in(node.body), *fields}
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                found[node.name] = set()
            case ast.Assign() | ast.AnnAssign():
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found |= {one.id: set() for one in targets if isinstance(one, ast.Name)}
    return found


MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): _names_in(
        ast.parse(path.read_text()).body
    )
    for path in sorted((ROOT / "p2pnode").rglob("*.py"))
}
CLASSES = {name: own for names in MODULES.values() for name, own in names.items() if own}


def exists(name: str) -> bool:
    """Is this a module, or something in one, by its whole name or the end of it? Foreign names count, too."""
    parts = name.split(".")
    first, *rest = parts
    if first in CLASSES and rest[0] in CLASSES[first]:
        return True
    stems = {module.rpartition(".")[2] for module in MODULES}
    if first not in {*stems, *CLASSES}:
        return True
    for count in range(1, len(parts) + 1):
        module, inside = ".".join(parts[:count]), parts[count:]
        for known, names in MODULES.items():
            if f".{known}".endswith(f".{module}") and (
                not inside or (inside[0] in names and (len(inside) == 1 or inside[1] in names[inside[0]]))
            ):
                return True
    # A module of the client has the name of the library that it is for.
    if first == "trio" and hasattr(trio, rest[0]):
        return True
    return first in sys.stdlib_module_names and importlib.util.find_spec(name) is not None


def stale_names(text: str) -> list[tuple[int, str]]:
    """The dotted names in docstrings and comments that are nothing of this tree, with their lines."""
    remarks = [
        (token.start[0], token.string)
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    ]
    names = [
        (line, found[1] or found[2])
        for line, words in (*docstrings(text), *remarks)
        for found in _DOTTED.finditer(words)
    ]
    return [(line, name) for line, name in names if not _NO_MODULE.search(name) and not exists(name)]


def test_a_name_in_a_docstring_or_a_comment_is_there() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in SOURCES
        if path.is_relative_to(ROOT / "p2pnode")
        for line, name in stale_names(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("# by core.values.units\n", []),
        ("# by `units.format_bytes`\n", []),
        ("# by `p2pnode.core.node.Core.handle`\n", []),
        ("# by `Core.handle()`\n", []),
        ("# in config.toml\n", []),
        ("# by `http.client`\n", []),
        ("# by `trio.sleep`\n", []),
        ("# by core.units\n", ["core.units"]),
        ("x = 1  # by `units.format_weight`\n", ["units.format_weight"]),
        ("# by `Core.manage`\n", ["Core.manage"]),
        ('"""By `core.node.Heart`."""\n', ["core.node.Heart"]),
    ],
)
def test_a_name_of_nothing_is_noticed(text: str, names: list[str]) -> None:
    assert [name for _, name in stale_names(text)] == names


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    part = (ROOT / page).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [line.strip("|").split("|") for line in part.splitlines() if line.startswith("| ")][1:]


DECIDED = rows("ARCHITECTURE.md", "Where a thing is decided")


@pytest.mark.parametrize(("question", "where"), DECIDED, ids=[row[0].strip() for row in DECIDED])
def test_where_a_thing_is_decided_is_there(question: str, where: str) -> None:
    assert question.strip().endswith("?")
    named = re.findall(r"`([\w/]+)\.py:([\w.]+)`", where)
    assert 1 <= len({path for path, _ in named}) <= 2
    assert len(named) == where.count("`") / 2
    for path, name in named:
        module = "p2pnode." + path.removesuffix("/__init__").replace("/", ".")
        assert module in MODULES and exists(f"{module}.{name}")


def test_the_places_of_decisions_are_those_that_newcomers_asked_for() -> None:
    assert len(DECIDED) == 13


def not_there(places: str, what: str) -> list[str]:
    """The names in a row of ARCHITECTURE's map that are not in the rooms that it is about."""
    tops = (ROOT, ROOT / "p2pnode", ROOT / "p2pnode" / "core")
    rooms = [top / place for top in tops for place in re.findall(r"`([\w/.]+)`", places)]
    return [
        name
        for name in re.findall(r"`(\w+(?:/\w+)*/?(?:\.py)?)`", what)
        if not any((room / one).exists() for room in (*rooms, *tops) for one in (name, f"{name}.py"))
    ]


MAP = [row for row in rows("ARCHITECTURE.md", "The map") if re.match(r" `(p2pnode|core)/", row[0])]


@pytest.mark.parametrize(("places", "what"), MAP, ids=[row[0].strip() for row in MAP])
def test_what_the_map_names_is_there(places: str, what: str) -> None:
    assert not_there(places, what) == []


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("`asking`, `machine` (one job)", []),
        ("`nothing`, `asking`", ["nothing"]),
        ("`core/nod.py`", ["core/nod.py"]),
    ],
)
def test_what_the_map_names_and_is_not_there_is_noticed(what: str, names: list[str]) -> None:
    assert not_there(" `core/job/` ", what) == names
