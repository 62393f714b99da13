"""`p2pnode --version`: version, commit and protocols, the same in all that is built."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from p2pnode import version
from p2pnode.core.wire import protocols

ROOT = Path(__file__).parent.parent


def git(directory: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    done = subprocess.run(
        ["git", "-C", str(directory), *who, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "pyproject.toml").write_text("")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    return tmp_path


def test_it_names_version_commit_and_every_protocol() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "p2pnode", "--version"], capture_output=True, text=True, check=True
    )
    first, second = done.stdout.splitlines()
    assert first.startswith("p2pnode 0.") and "(commit " in first
    assert second == "protocols: link/4, adverts/2, jobs/1, logs/1, log-order/1, exec/1, deputy/1"


@pytest.mark.parametrize("protocol", protocols.ALL)
def test_the_pages_name_the_protocol_in_this_version(protocol: str) -> None:
    assert f"stream `{protocol}`" in (ROOT / "protocols" / "README.md").read_text()


def test_the_page_of_roles_names_every_protocol() -> None:
    table = (ROOT / "protocols" / "README.md").read_text().partition("## Who must speak what")[2]
    assert all(f"`{one}`" in table for one in protocols.SPOKEN)


def test_a_checkout_names_its_commit_and_whether_it_was_changed(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "--short=12", "HEAD")
    assert version.commit_of_checkout(checkout) == commit
    (checkout / "pyproject.toml").write_text("#")
    assert version.commit_of_checkout(checkout) == f"{commit}-dirty"


def test_a_repository_around_an_installation_is_not_taken_for_its_own(checkout: Path) -> None:
    (checkout / "lib").mkdir()
    (checkout / "pyproject.toml").rename(checkout / "other")
    assert version.commit_of_checkout(checkout) is None
    assert version.commit_of_checkout(checkout / "lib") is None


def test_what_is_built_names_its_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "commit.txt").write_text("0123456789ab\n")
    monkeypatch.setattr(version, "COMMIT_FILE", tmp_path / "commit.txt")
    assert "(commit 0123456789ab)" in version.text()


def test_a_wheel_holds_the_commit(tmp_path: Path) -> None:
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, tmp_path], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("p2pnode/commit.txt").decode() == (version.commit_of_checkout(ROOT) or "")
        assert "p2pnode/cli/help.txt" in archive.namelist()
