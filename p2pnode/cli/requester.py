"""The node that a command talks to: the one that runs, or one started for one command.

A requester is `p2pnode serve --no-compute --no-deputy` on the user's own data directory, so that the
job and its results are there again when a node runs on it later. A node of `--here` knows no
others and runs the job itself, in a directory that is removed with it.
Only what starts one imports the settings.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from p2pnode.api.shapes import ServiceError, UnreachedJson
from p2pnode.cli import devnet_nodes
from p2pnode.cli.output import say
from p2pnode.cli.ownfiles import make_directory
from p2pnode.cli.status import CommandError, Status
from p2pnode.client.calls import Client
from p2pnode.client.errors import NodeUnreachable
from p2pnode.client.finding import find, running_node
from p2pnode.config import (
    CONFIG_FILE,
    DATA_DIR_VARIABLE,
    PROFILE_VARIABLE,
    default_data_dir,
    place_of,
)

if TYPE_CHECKING:
    from p2pnode.config.settings import NodeConfig

READY_TIMEOUT_S = 30.0
# A dial takes a quarter of a second, and is given up after 5 s: so each is tried more than once.
JOIN_TIMEOUT_S = 15.0
# mDNS took up to 7 s in our measurements.
MDNS_JOIN_TIMEOUT_S = 8.0
# Nobody is named, and nobody is looked for: only peers of earlier runs may answer.
REMEMBERED_JOIN_TIMEOUT_S = 2.0
# One peer is there: what becomes of the other dials is waited for no longer than this.
UNDECIDED_S = 1.0
END_TIMEOUT_S = 10.0
# A node that starts can be asked nothing yet: its file, or its end, is looked for.
POLL_INTERVAL_S = 0.05
ERROR_SIZE_BYTES_MAX = 2_000
# In the data directory: a node of `--here` is on the disk, and where Docker may mount from.
HERE_FOLDER = "here"
# A node for one command is its user's alone.
LOOPBACK = "127.0.0.1"
HERE_LISTEN = "/ip4/127.0.0.1/tcp/0"
# Settings of the user's node that would have one of `--here` meet others, or do without work.
_NOT_HERE = frozenset(
    {"listen", "peers", "mdns", "api_host", "api_port", "api_cert", "api_key", "compute"}
    | {"on_job_end", "job_end_webhooks"}
)
_HERE_HINT = "to run it on this machine alone, add --here"


@dataclass(frozen=True, slots=True)
class Requester:
    """A node to talk to. `ephemeral`: it was started for this command and ends with it.

    `here`: what it holds is removed when it ends.
    """

    client: Client
    ephemeral: bool
    here: bool = False


def running() -> Client:
    """The node that runs; raises `NodeUnreachable`."""
    return find(default_data_dir(), os.environ)


@contextmanager
def any_node(peers: Sequence[str], keeps_on: bool = False, has_here: bool = False) -> Iterator[Requester]:
    """The node that runs, connected to `peers`, or else a requester that joined through them.

    `keeps_on`: the caller needs a node that goes on after the command. `has_here`: it has the flag --here.
    Raises `NodeUnreachable`.
    """
    data_dir = default_data_dir()
    if os.environ.get("P2PNODE_API") or _runs(data_dir):
        client = running()
        _connect(client, peers)
        yield Requester(client, ephemeral=False)
        return
    if keeps_on:
        raise CommandError(
            Status.UNREACHABLE,
            f"no node runs on {data_dir}, and one has to go on after this command",
            "start one with: p2pnode serve",
        )
    from p2pnode.config import loading

    settings = loading.load({"peers": list(peers)})
    hints = (_HERE_HINT,) if has_here else ()
    say(f"no node runs on {data_dir}: starting one until this command ends")
    for hint in devnet_nodes.hints():
        say(hint)
    if not _names_peers(settings):
        place = "on this LAN and " if settings.mdns else ""
        say(f"no peer is named: looking {place}among those of earlier runs")
        for hint in hints:
            say(hint)
    arguments = ["--no-compute", "--no-deputy", *(part for peer in peers for part in ("--peer", peer))]
    with _node(data_dir, arguments, os.environ) as client:
        _joined(client, settings, hints)
        yield Requester(client, ephemeral=True)


@contextmanager
def own_node() -> Iterator[Requester]:
    """A node of this command alone, which has the user's settings, meets nobody and leaves nothing."""
    from p2pnode.config import loading

    own = place_of(os.environ)
    make_directory(own.data_dir / HERE_FOLDER)
    settings = loading.settings_in(own.config_file)
    environ = {
        name: value
        for name, value in os.environ.items()
        if name.removeprefix("P2PNODE_").lower() not in _NOT_HERE and name != PROFILE_VARIABLE
    }
    with tempfile.TemporaryDirectory(dir=own.data_dir / HERE_FOLDER, ignore_cleanup_errors=True) as directory:
        kept = {name: value for name, value in settings.items() if name not in _NOT_HERE}
        (Path(directory) / CONFIG_FILE).write_text(loading.to_toml(kept))
        say("starting a node on this machine alone until this command ends")
        environ[DATA_DIR_VARIABLE] = directory
        with _node(Path(directory), ["--no-mdns", "--no-deputy", "--listen", HERE_LISTEN], environ) as client:
            yield Requester(client, ephemeral=True, here=True)


def _runs(data_dir: Path) -> bool:
    try:
        find(data_dir, {}).identity()
    except NodeUnreachable:
        return False
    return True


@contextmanager
def _node(data_dir: Path, arguments: Sequence[str], environ: Mapping[str, str]) -> Iterator[Client]:
    """A node on the data directory that the environment names."""
    command = [sys.executable, "-m", "p2pnode", "serve", "--api-host", LOOPBACK, "--api-port", "0"]
    # Words for people: its last line is what is shown where it does not start.
    command += ["--log-format", "text"]
    with tempfile.TemporaryFile() as errors:
        # A session of its own: Ctrl-C is ours to handle, and the node must outlive it for a moment.
        process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            start_new_session=True,
            env=environ,
        )
        try:
            yield _ready(process, data_dir, errors)
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


def _joined(client: Client, settings: NodeConfig, hints: Sequence[str]) -> None:
    """Waits until the node knows another; raises `CommandError`."""
    if _names_peers(settings):
        timeout_s = JOIN_TIMEOUT_S
    else:
        timeout_s = MDNS_JOIN_TIMEOUT_S if settings.mdns else REMEMBERED_JOIN_TIMEOUT_S
    began = time.monotonic()
    told: set[str] = set()
    while (waited_s := time.monotonic() - began) < timeout_s:
        unreached = client.unreached()
        for given in unreached:
            if given["reason"] and (line := not_reached(given)) not in told:
                told.add(line)
                say(line)
        undecided = any(not given["reason"] for given in unreached)
        joined = any(not node["self"] for node in client.nodes())
        if joined and (not undecided or waited_s >= UNDECIDED_S):
            return
        time.sleep(POLL_INTERVAL_S)
    raise CommandError(
        Status.UNREACHABLE,
        f"no peer was found within {timeout_s:.0f} s",
        "name one with --peer, or in the setting `peers` (p2pnode serve --help)",
        *hints,
    )


def _names_peers(settings: NodeConfig) -> bool:
    """Whether the settings, or the private network that was joined, name peers to begin with."""
    from p2pnode import own_network

    try:
        own = own_network.load(settings.data_dir)
    except own_network.OwnNetworkError as error:
        raise CommandError(Status.FAILED, str(error)) from error
    return bool(settings.peers or settings.peers_file or (own and own.addresses))


def not_reached(given: UnreachedJson) -> str:
    """A line about a given peer that is not connected."""
    # A name in DNS, or a file, has none.
    address = f"{given['addresses'][0]}/p2p/{given['peer']}" if given["addresses"] else given["peer"]
    return f"not connected with {address}: {given['reason'] or 'no answer yet'}"


def _connect(client: Client, peers: Sequence[str]) -> None:
    """Connects the node with the peers that can be reached; raises `ServiceError` if that is none of them."""
    failures = []
    for peer in peers:
        try:
            client.connect(peer)
        except ServiceError as error:
            failures.append(error)
            if len(failures) == len(peers):
                raise
            say(str(error))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
