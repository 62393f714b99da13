"""The node that a command talks to: the one that runs, or a requester started for one command.

The requester is `p2pnode serve --no-compute` on the user's own data directory, so that the
job and its results are there again when a node runs on it later.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from p2pnode.api.client import Client, NodeUnreachable, find, running_node
from p2pnode.cli.output import say
from p2pnode.cli.status import CommandError, Status
from p2pnode.config import default_data_dir

READY_TIMEOUT_S = 30.0
# mDNS took up to 7 s in our measurements; a dial takes a quarter of a second.
JOIN_TIMEOUT_S = 15.0
END_TIMEOUT_S = 10.0
POLL_INTERVAL_S = 0.05
ERROR_SIZE_BYTES_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Door:
    """A node to talk to. `lent`: it was started for this command and ends with it."""

    client: Client
    lent: bool


def running() -> Client:
    """The node that runs; raises `NodeUnreachable`."""
    return find(default_data_dir(), os.environ)


@contextmanager
def any_node(peers: Sequence[str], keeps_on: bool = False) -> Iterator[Door]:
    """The node that runs, connected to `peers`, or else a requester that joined through them.

    `keeps_on`: the caller needs a node that goes on after the command. Raises `NodeUnreachable`.
    """
    data_dir = default_data_dir()
    if os.environ.get("P2PNODE_API") or _runs(data_dir):
        client = running()
        for peer in peers:
            client.connect(peer)
        yield Door(client, lent=False)
        return
    if keeps_on:
        raise CommandError(
            Status.UNREACHABLE,
            f"no node runs on {data_dir}, and one has to go on after this command",
            "start one with: p2pnode serve",
        )
    with _requester(data_dir, peers) as client:
        yield Door(client, lent=True)


def _runs(data_dir: Path) -> bool:
    try:
        find(data_dir, {}).identity()
    except NodeUnreachable:
        return False
    return True


@contextmanager
def _requester(data_dir: Path, peers: Sequence[str]) -> Iterator[Client]:
    command = [sys.executable, "-m", "p2pnode", "serve", "--no-compute", "--api-port", "0"]
    command += ["--data-dir", str(data_dir), *(part for peer in peers for part in ("--peer", peer))]
    say(f"no node runs on {data_dir}: starting one until this command ends")
    with tempfile.TemporaryFile() as errors:
        # A session of its own: Ctrl-C is ours to handle, and the node must outlive it for a moment.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True
        )
        try:
            client = _ready(process, data_dir, errors)
            _joined(client)
            yield client
        finally:
            _end(process)


def _ready(process: subprocess.Popen[bytes], data_dir: Path, errors: BinaryIO) -> Client:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        node = running_node(data_dir)
        if node is not None and node["pid"] == process.pid:
            return find(data_dir, {})
        time.sleep(POLL_INTERVAL_S)
    errors.seek(0)
    said = errors.read()[-ERROR_SIZE_BYTES_MAX:].decode(errors="replace").strip().splitlines()
    *before, last = said or ["it was not ready in time"]
    raise CommandError(Status.UNREACHABLE, f"the node did not start: {last}", *before)


def _joined(client: Client) -> None:
    deadline = time.monotonic() + JOIN_TIMEOUT_S
    while time.monotonic() < deadline:
        if any(not node["self"] for node in client.nodes()):
            return
        time.sleep(POLL_INTERVAL_S)
    raise CommandError(
        Status.UNREACHABLE,
        f"no peer was found within {JOIN_TIMEOUT_S:.0f} s",
        "name one with --peer, or in the setting `peers` (p2pnode serve --help)",
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
