"""Completion: of commands, and of jobs' ids, in a shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from p2pnode.cli.main import main
from tests.fake_node import Served

Output = pytest.CaptureFixture[str]
JOB = "Name: works\nType: batch\nTasks:\n- Engine: {Type: docker, Params: {Image: busybox}}\n"


def submit() -> None:
    Path("works.yaml").write_text(JOB)
    main(["submit", "--no-wait", "works.yaml"])


@pytest.mark.parametrize(("typed", "completed"), [("val", "validate"), ("job des", "describe")])
def test_shells_complete_commands(typed: str, completed: str) -> None:
    words = {"COMP_WORDS": f"p2pnode {typed}", "COMP_CWORD": str(len(typed.split()))}
    done = subprocess.run(
        [Path(sys.executable).with_name("p2pnode")],
        env={**os.environ, **words, "_P2PNODE_COMPLETE": "bash_complete"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"plain,{completed}\n"


@pytest.mark.parametrize("command", ["job describe", "get"])
def test_shells_complete_the_ids_of_jobs(
    served: Served, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    submit()
    id = served.node.newest()[0]["id"]
    typed = f"p2pnode {command} j-"
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    monkeypatch.setenv("_P2PNODE_COMPLETE", "bash_complete")

    def completed() -> str:
        words = [Path(sys.executable).with_name("p2pnode")]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    assert completed() == f"plain,{id[:10]}\n"
    monkeypatch.setenv("P2PNODE_API", "http://127.0.0.1:9")
    assert completed().strip() == ""


def test_shells_complete_the_ids_of_a_profiles_jobs(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    submit()
    id = served.node.newest()[0]["id"]
    profiles = tmp_path / "homes" / "p2pnode" / "profiles"
    profiles.mkdir(parents=True)
    (profiles / "lab").symlink_to(os.environ["P2PNODE_DATA_DIR"])
    typed = "p2pnode --profile lab job describe j-"
    done = subprocess.run(
        [Path(sys.executable).with_name("p2pnode")],
        env={
            **os.environ,
            "XDG_DATA_HOME": str(tmp_path / "homes"),
            "P2PNODE_DATA_DIR": str(tmp_path / "other"),
            "COMP_WORDS": typed,
            "COMP_CWORD": str(len(typed.split()) - 1),
            "_P2PNODE_COMPLETE": "bash_complete",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"plain,{id[:10]}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell: str, capfd: Output) -> None:
    assert main(["completion", shell]) == 0
    assert f"_P2PNODE_COMPLETE={shell}_complete" in capfd.readouterr().out
