"""The dependencies of p2pnode, named in several places, agree: each way of installing it works."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PACKAGING = ROOT / "scripts" / "packaging"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DEPENDENCIES = [Requirement(one) for one in PROJECT["project"]["dependencies"]]


def pins(file: Path) -> dict[str, str]:
    """Name -> version of each requirement in the file; every one must be an exact pin."""
    found = {}
    for line in file.read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", line
            found[canonicalize_name(requirement.name)] = specifier.version
    return found


LOCKED = pins(PACKAGING / "requirements.txt")
OVERRIDDEN = pins(PACKAGING / "overrides.txt")


@pytest.mark.parametrize("dependency", DEPENDENCIES, ids=lambda one: one.name)
def test_the_lock_holds_a_version_of_each_dependency_that_the_project_allows(dependency: Requirement) -> None:
    assert dependency.specifier.contains(LOCKED[canonicalize_name(dependency.name)]), (
        "run scripts/packaging/lock"
    )


def test_the_overrides_are_those_of_uv_and_of_the_lock() -> None:
    assert [f"{name}=={version}" for name, version in OVERRIDDEN.items()] == PROJECT["tool"]["uv"][
        "override-dependencies"
    ]
    assert OVERRIDDEN.items() <= LOCKED.items(), "run scripts/packaging/lock"


def test_the_project_pins_nothing_that_libp2p_pins_otherwise() -> None:
    """Plain pip knows no overrides: two pins of one package are a ResolutionImpossible to it."""
    ours = {canonicalize_name(one.name): one for one in DEPENDENCIES}
    for theirs in map(Requirement, requires("libp2p") or []):
        mine = ours.get(canonicalize_name(theirs.name))
        for specifier in mine.specifier if mine and theirs.marker is None else ():
            if specifier.operator == "==":
                assert theirs.specifier.contains(specifier.version), theirs
    assert not OVERRIDDEN.keys() & ours.keys()


def test_the_one_file_holds_each_file_that_stands_beside_the_code() -> None:
    script = (ROOT / "scripts/binary").read_text()
    given = re.findall(r'--add-data "\$PWD/([^:"]+):', script)
    beside = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "p2pnode").rglob("*")
        # Sources and the mark of types are not read by the program, and the commit is written by the build.
        if path.is_file()
        and path.suffix not in (".py", ".pyc", ".c")
        and path.name not in ("commit.txt", "py.typed")
    ]
    assert "p2pnode/api/page/index.html" in beside
    assert [
        one
        for one in beside
        if not any(fnmatch(one, place) or one.startswith(f"{place}/") for place in given)
    ] == []
