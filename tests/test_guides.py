"""Every command of the guides in docs/ does what they say, on machines in network namespaces of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .cut_network import CannotMake
from .docker_engine import cannot_run, require_docker
from .guide_machines import ROOT, Machines
from .guides import DOCS, GuideCommand, GuideFile, not_run, steps

GUIDES = sorted(path for path in DOCS.glob("*.md") if steps(path))
_NO_SYSTEMD = "no systemd runs where the tests do; test_packaging has systemd-analyze look at the unit"
_NO_CARD = "it takes a card and its vendor's tools"
_PACKAGES = "it builds or downloads for minutes; test_packaging and test_binary try what it makes"
# Commands of blocks `sh`, and why no test of the guides runs them.
NOT_RUN = {
    "systemctl enable --now p2pnode": _NO_SYSTEMD,
    "journalctl -u p2pnode -f": _NO_SYSTEMD,
    "nvidia-ctk cdi generate --device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml": _NO_CARD,
    "nvidia-ctk runtime configure --runtime=docker && systemctl restart docker": _NO_CARD,
    "git clone https://github.com/p2pnode/p2pnode && cd p2pnode": "the tests run in the clone",
    "./scripts/demo": "it installs first; first-network.md runs what it does then",
    './scripts/install && export PATH="$PWD/.venv/bin:$PATH"': "scripts/test begins with it",
    "pip install .": _PACKAGES,
    "pip install --no-deps -r scripts/packaging/requirements.txt .": _PACKAGES,
    "uv tool install --overrides scripts/packaging/overrides.txt .": _PACKAGES,
    "./scripts/binary": _PACKAGES,
    "./scripts/package": _PACKAGES,
    "docker build -f scripts/packaging/Dockerfile -t p2pnode build": _PACKAGES,
    "docker compose -f scripts/packaging/compose.yaml up": "docker compose is no package of Debian 12",
}


@contextmanager
def machines(directory: Path) -> Iterator[Machines]:
    """Skips (fails where CI is set) where none can be made."""
    if os.geteuid() or not shutil.which("ip"):
        cannot_run("network namespaces take root and the command ip")
    made = Machines(directory)
    try:
        try:
            made.make()
        except CannotMake as error:
            cannot_run(str(error))
        yield made
    finally:
        made.remove()


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_a_guide_s_commands_do_what_it_shows(guide: Path, tmp_path: Path) -> None:
    if "docker" in guide.read_text():
        require_docker()
    with machines(tmp_path) as made:
        found = steps(guide)
        for number, step in enumerate(found):
            if isinstance(step, GuideFile):
                user = next(one.machine for one in found[number:] if isinstance(one, GuideCommand))
                made.write(user, step)
            else:
                made.follow(step)


def test_what_is_not_run_is_not_run_for_a_reason() -> None:
    found = {command for guide in DOCS.glob("*.md") for command in not_run(guide)}
    assert found == set(NOT_RUN)


def test_the_site_has_no_broken_link(tmp_path: Path) -> None:
    """Sphinx fails on a warning."""
    made = subprocess.run(
        [ROOT / "scripts/docs", tmp_path / "site"], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "site/docs/first-network.html").exists()
