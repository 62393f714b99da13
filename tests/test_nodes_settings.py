"""Settings, profiles and the doctor, by the real program and on nodes that run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pnode.client.calls import ALIVE_TIMEOUT_S
from p2pnode.client.finding import running_node
from p2pnode.config import CONFIG_FILE
from p2pnode.doctor import probes

from .kubo_daemon import running_daemon
from .nodes import EXIT_TIMEOUT_S, WAIT_S, Node, running_nodes, until


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running_nodes(tmp_path_factory.mktemp("nodes")) as nodes:
        yield nodes.start("a", "--no-deputy", "--max-stop-grace", "90s")


def checked(node: Node) -> dict[str, list[tuple[str, str]]]:
    """The levels and texts of the doctor's lines, by check."""
    done = node.cli("doctor", "-o", "json")
    checks = json.loads(done.stdout)["checks"]
    assert done.returncode == any(one["level"] == "FAIL" for one in checks), done.stderr
    found: dict[str, list[tuple[str, str]]] = {}
    for one in checks:
        found.setdefault(one["check"], []).append((one["level"], one["text"]))
    return found


def test_a_node_tells_its_settings_and_what_each_is_from(node: Node) -> None:
    found = {one["name"]: one for one in node.client.settings()}
    shown = {name: (one["value"], one["origin"], one["where"]) for name, one in found.items()}
    assert shown["deputy"] == (False, "flag", "--no-deputy")
    assert shown["max_stop_grace"] == ("1m30s", "flag", "--max-stop-grace")
    assert shown["mdns"] == (False, "env", "P2PNODE_MDNS")
    assert shown["data_dir"] == (str(node.data_dir), "flag", "--data-dir")
    assert shown["compute"] == (True, "default", "")
    done = node.cli("config", "list", "--running", "-o", "json")
    assert json.loads(done.stdout)["settings"] == list(found.values())


def test_what_is_set_stands_at_the_next_start(node: Node) -> None:
    done = node.cli("config", "set", "labels", "zone=north")
    assert done.stderr.endswith("the node that runs goes on as before: start it again\n")
    assert node.end() == 0
    node.start()
    assert node.client.identity()["labels"]["zone"] == "north"
    found = next(one for one in node.client.settings() if one["name"] == "labels")
    assert (found["origin"], found["where"]) == ("file", f"{node.data_dir / CONFIG_FILE}:1")
    done = node.cli("config", "unset", "labels")
    assert "start it again" in done.stderr
    assert (node.data_dir / CONFIG_FILE).read_text() == ""


def test_the_doctor_tells_of_a_node_that_runs_and_of_one_that_is_stuck(node: Node) -> None:
    port = int(node.client.url.rpartition(":")[2])
    node.cli("config", "set", "api_port", str(port))
    found = checked(node)
    assert found["ports"][0] == ("ok", f"api_port {port}: held by the node that runs")
    assert found["node"] == [("ok", f"a answers: {node.peer}")]
    assert found["wasm"] == [("ok", "a module runs")]
    assert found["peers"][0][0] == "warn"
    node.pause()
    try:
        (level, text), *_ = checked(node)["node"]
    finally:
        node.go_on()
    assert (level, "timed out" in text) == ("FAIL", True)
    assert ALIVE_TIMEOUT_S < WAIT_S


def test_two_profiles_are_two_nodes(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("P2PNODE_")}
    xdg = {"XDG_DATA_HOME": str(tmp_path / "data"), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    environ = kept | xdg | {"P2PNODE_MDNS": "false", "P2PNODE_LISTEN": "/ip4/127.0.0.1/tcp/0"}

    def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "p2pnode", *arguments]
        return subprocess.run(
            command, env=environ, capture_output=True, text=True, check=False, timeout=WAIT_S
        )

    started = []
    try:
        for name in ("lab", "home"):
            assert cli("config", "set", "name", f"of-{name}", "--profile", name).returncode == 0
            command = [sys.executable, "-m", "p2pnode", "serve", "--no-compute", "--profile", name]
            started.append(subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL))
        for name in ("lab", "home"):
            data_dir = tmp_path / "data" / "p2pnode" / "profiles" / name
            until(f"{name} is ready", lambda place=data_dir: running_node(place))  # type: ignore[misc]
        found = json.loads(cli("config", "profiles", "-o", "json").stdout)["profiles"]
        assert [(one["profile"], one["name"]) for one in found] == [("home", "of-home"), ("lab", "of-lab")]
        assert len({one["peer"] for one in found}) == 2
        assert json.loads(cli("--profile", "lab", "id", "--json").stdout)["name"] == "of-lab"
        assert cli("id").returncode == 6
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(EXIT_TIMEOUT_S) for process in started] == [0, 0]


def test_a_kubo_daemon_is_asked_for_its_version(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as api:
        version, problem = probes.kubo(api)
    assert (version.split(".")[0], problem) == ("0", "")
    version, problem = probes.kubo(api)
    assert version == "" and f"no Kubo daemon answers at {api}" in problem
