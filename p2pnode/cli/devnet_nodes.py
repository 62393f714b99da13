"""The nodes of a devnet: processes of `p2pnode serve`, and a file that names them.

DIR/devnet.json   the nodes: name, pid, start time of the process, data directory
DIR/NAME/         a node's data directory, with its settings and its log
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2pnode import config
from p2pnode.cli import processes
from p2pnode.cli.ownfiles import check_directory
from p2pnode.cli.processes import ProcessName
from p2pnode.cli.status import CommandError, Status
from p2pnode.client.calls import Client
from p2pnode.client.finding import find, running_node

STATE_FILE = "devnet.json"
LOG_FILE = "node.log"
LOG_TAIL_SIZE_BYTES = 2_000


@dataclass(frozen=True, slots=True)
class DevnetNode:
    name: str
    data_dir: Path
    process: ProcessName

    @property
    def api(self) -> Mapping[str, Any] | None:
        """The facts that the node wrote of itself when it was ready; None while it is not running."""
        written = running_node(self.data_dir)
        return written if written and written["pid"] == self.process.pid and self.process.alive else None

    @property
    def client(self) -> Client | None:
        return find(self.data_dir, {}) if self.api else None

    @property
    def state(self) -> str:
        return "ready" if self.api else "starting" if self.process.alive else "ended"


def hints() -> tuple[str, ...]:
    """Lines that lead to the user's devnet where it runs, for one who named no node."""
    try:
        runs = any(one.api for one in read(config.default_devnet_dir()))
    except CommandError:
        # No devnet of this user's: the directory is another's, or is no directory.
        runs = False
    return ('use the devnet that runs here:  eval "$(p2pnode devnet env)"',) if runs else ()


def read(directory: Path) -> list[DevnetNode]:
    """The nodes that were started last in a directory, running or not."""
    check_directory(directory)
    path = directory / STATE_FILE
    try:
        written = json.loads(path.read_text())
        return [
            DevnetNode(one["name"], Path(one["data_dir"]), ProcessName(one["pid"], one["started"]))
            for one in written["nodes"]
        ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(Status.FAILED, f"{path} cannot be read: {error!r}; remove it") from error


def remove_old(directory: Path) -> None:
    """Remove what the last devnet here left, and nothing else."""
    for node in read(directory):
        if node.data_dir.parent == directory:
            shutil.rmtree(node.data_dir, ignore_errors=True)
    (directory / STATE_FILE).unlink(missing_ok=True)


def start(directory: Path, data_dirs: list[Path]) -> list[DevnetNode]:
    """Start a node on each data directory, and write them all down."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("P2PNODE_")}
    nodes = []
    for data_dir in data_dirs:
        with (data_dir / LOG_FILE).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "p2pnode", "serve", "--data-dir", str(data_dir)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                # Ctrl-C is for `up`, which then ends them in order.
                start_new_session=True,
            )
        nodes.append(DevnetNode(data_dir.name, data_dir, processes.name_of(process.pid)))
        # After each, so that `down` finds all that were started whatever happens to this process.
        _write(directory, nodes)
    return nodes


def _write(directory: Path, nodes: list[DevnetNode]) -> None:
    written = [
        {
            "name": node.name,
            "pid": node.process.pid,
            "started": node.process.started,
            "data_dir": str(node.data_dir),
        }
        for node in nodes
    ]
    part = directory / f"{STATE_FILE}.part"
    part.write_text(json.dumps({"nodes": written}))
    part.replace(directory / STATE_FILE)


def log_tail(node: DevnetNode) -> list[str]:
    """The lines that a node said last."""
    said = (node.data_dir / LOG_FILE).read_bytes()[-LOG_TAIL_SIZE_BYTES:]
    lines = said.decode(errors="replace").strip().split("\n")
    return lines if lines != [""] else [f"its log {node.data_dir / LOG_FILE} is empty"]
