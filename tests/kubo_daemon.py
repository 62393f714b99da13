"""A real Kubo daemon with its RPC, for tests: the program `ipfs`, as `scripts/kubo` builds it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
END_TIMEOUT_S = 10
COMMAND_TIMEOUT_S = 30


def program() -> str:
    """The path of `ipfs`; skips the test where there is none (not in CI)."""
    built = ROOT / ".venv" / "kubo" / "ipfs"
    found = str(built) if built.exists() else shutil.which("ipfs")
    if found is None:
        reason = "there is no Kubo daemon: run scripts/kubo (needs Go)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def environment(directory: Path) -> dict[str, str]:
    """For `ipfs` on the repository in `directory`."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "IPFS_PATH": str(directory / "repository"),
        "IPFS_TELEMETRY": "off",
    }


@contextmanager
def running_daemon(
    directory: Path,
    swarm_key: bytes | None = None,
    *,
    relays: bool = False,
    dht: bool = False,
    listen: str = "",
    relay: str = "",
    web: bool = False,
) -> Iterator[str]:
    """Runs it on a repository in `directory`, which may be there from before; gives its API's multiaddr.

    With `swarm_key` it is in that private network; if it `relays`, it is a relay of others, and dials
    them back; with `dht` it is in the DHT of those that it is connected with. It listens on loopback,
    or on that address, with `web` for WebSocket alone; with `relay` it lives by that one.
    """
    ipfs = program()
    repository = directory / "repository"
    if not repository.exists():
        # The profile has ports of its own on loopback, and no mDNS.
        subprocess.run(
            [ipfs, "init", "--profile", "test"], env=environment(directory), check=True, capture_output=True
        )
        config = json.loads((repository / "config").read_text())
        config |= {"Bootstrap": [], "Routing": {"Type": "none"}, "AutoConf": {"Enabled": False}}
        if dht:
            config["Routing"] = {"Type": "dht"}
        if relays:
            config["Swarm"]["RelayService"] = {"Enabled": True}
            # Else it is a relay once others have told it that they reach it.
            config["Internal"] = {"Libp2pForceReachability": "public"}
        if relay:
            config["Swarm"]["RelayClient"] = {"Enabled": True, "StaticRelays": [relay]}
            config["Internal"] = {"Libp2pForceReachability": "private"}
        if listen or web:
            config["Addresses"]["Swarm"] = [f"/ip4/{listen or '127.0.0.1'}/tcp/0{'/ws' if web else ''}"]
        (repository / "config").write_text(json.dumps(config))
    if swarm_key is not None:
        (repository / "swarm.key").write_text(f"/key/swarm/psk/1.0.0/\n/base16/\n{swarm_key.hex()}\n")
    with open(directory / "daemon.log", "w") as log:
        daemon = subprocess.Popen(
            [ipfs, "daemon"], env=environment(directory), stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert daemon.stdout is not None
    try:
        said = []
        for line in daemon.stdout:
            said.append(line)
            if "Daemon is ready" in line:
                break
        else:
            pytest.fail(f"the daemon ended: {''.join(said)}{(directory / 'daemon.log').read_text()}")
        yield (repository / "api").read_text().strip()
    finally:
        daemon.terminate()
        try:
            daemon.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        daemon.stdout.close()


def told(directory: Path, *arguments: str, given: str = "") -> str:
    """Gives what a command prints that is given to the daemon in `directory`."""
    done = subprocess.run(
        [program(), *arguments],
        env=environment(directory),
        input=given,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def address_of(directory: Path) -> str:
    """Where the daemon in `directory` is, with its peer id."""
    found = json.loads(told(directory, "id"))["Addresses"]
    return next(one for one in found if one.startswith("/ip4/127.0.0.1/tcp/") and one.count("/") == 6)
