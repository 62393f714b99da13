"""A node that is not root: what a container's users made is read and removed all the same.

Each test runs a real node as nobody, who is in the group of the engine's socket.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .docker_engine import BUSYBOX, SOCKET, cannot_run, require_docker
from .nodes import Node, Nodes, known, running_nodes, until
from .programs import docker_job

NOBODY = 65534


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    require_docker()
    if os.geteuid() or not shutil.which("setpriv"):
        cannot_run("only root can start a node as another user")
    # Not below pytest's own directories, which only root may enter.
    with tempfile.TemporaryDirectory(prefix="p2pnode-nonroot-") as made:
        Path(made).chmod(0o755)
        with running_nodes(Path(made)) as nodes:
            node = _as_nobody(nodes, "plain")
            until("the engine is offered", lambda: known(node))
            yield node


def _as_nobody(nodes: Nodes, name: str) -> Node:
    node = nodes.new(name)
    group = Path(SOCKET).stat().st_gid
    become = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", f"--groups={group}")
    node.within = ("unshare", "--mount", "sh", "-euc", _reachable(), str(nodes.directory / "kept"), *become)
    node.data_dir.mkdir(mode=0o700, exist_ok=True)
    os.chown(node.data_dir, NOBODY, NOBODY)
    return node.start()


def _closed(path: Path) -> Path | None:
    """The topmost directory on the way to a path that others may not enter."""
    way = reversed((path, *path.parents))
    return next((one for one in way if not one.stat().st_mode & stat.S_IXOTH), None)


def _reachable() -> str:
    """A script that runs a command in which nobody sees the interpreter and this checkout, wherever they lie.

    Root's home, for one, is closed to others: for this process it is another, with nothing else in it.
    """
    needed = {path: _closed(path) for path in (Path(sys.base_prefix), Path(__file__).parent.parent)}
    hidden = {path: closed for path, closed in needed.items() if closed}
    kept = [f"mkdir -p $0{path}; mount --bind {path} $0{path}" for path in hidden]
    covers = [f"mount -t tmpfs -o mode=755 none {closed}" for closed in sorted(set(hidden.values()))]
    shown = [f"mkdir -p {path}; mount --bind $0{path} {path}" for path in hidden]
    return "\n".join((*kept, *covers, *shown, 'exec "$@"'))


MADE = {
    "a file that only root may read": ("echo a > a; chmod 600 a", {"a": "a\n"}),
    "a folder that only root may enter": (
        "mkdir -p d/e; echo a > d/e/a; chmod 600 d/e/a; chmod 700 d/e d",
        {"d/e/a": "a\n"},
    ),
    "another user's": (
        "mkdir d; echo a > d/a; chmod 700 d; chown -R 1234:1234 d 2>/dev/null; true",
        {"d/a": "a\n"},
    ),
    "a sticky folder": ("mkdir d; echo a > d/a; chmod 1777 d", {"d/a": "a\n"}),
    "hard links": ("echo a > a; ln a b; chmod 400 a", {"a": "a\n", "b": "a\n"}),
    "odd names": ("mkdir -p 'ä \n'; echo a > 'ä \n/a'; chmod 700 'ä \n'", {"ä \n/a": "a\n"}),
    "the result's own folder closed": ("echo a > a; chmod 0 . 2>/dev/null; true", {"a": "a\n"}),
    "a link to a file of the machine": ("ln -s /etc/shadow a; echo b > b; chmod 600 b", {"b": "b\n"}),
}


@pytest.mark.parametrize(("script", "files"), MADE.values(), ids=MADE)
def test_a_result_is_read_and_its_folder_removed(
    node: Node, tmp_path: Path, script: str, files: dict[str, str]
) -> None:
    job = docker_job(BUSYBOX, f"cd /outputs; {script}")
    id = node.submit(job)
    node.execution(id, "Completed")
    got = tmp_path / "got"
    done = node.cli("get", id, "--output", str(got))
    assert done.returncode == 0, done.stderr
    for path, text in files.items():
        (found,) = got.rglob(f"outputs/{path}")
        assert found.read_text() == text
    until("all is removed", lambda: not os.listdir(node.data_dir / "executions"))


DEEP = """
i=0; while [ $i -lt 40 ]; do n=$(printf %0200d $i); mkdir $n; cd $n; i=$((i+1)); done; echo a > a
chmod 700 .
"""


def test_what_is_deeper_than_a_path_is_long_is_removed(node: Node) -> None:
    job = docker_job(BUSYBOX, f"cd /outputs; {DEEP}")
    node.submit(job)
    until("all is removed", lambda: not os.listdir(node.data_dir / "executions"))


def test_what_a_crash_left_is_removed_at_the_next_start(node: Node) -> None:
    left = node.data_dir / "executions" / "e-00000000000000000000000000000000"
    node.end()
    subprocess.run(["install", "-d", "-o", "nobody", str(left)], check=True)
    (left / "results").mkdir()
    (left / "results" / "out").mkdir(mode=0o700)
    node.start()
    until("all is removed", lambda: not left.exists())
