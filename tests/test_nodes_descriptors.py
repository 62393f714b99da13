"""A node that may open few files, and a stranger who opens every connection that it can get."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import wasmtime

from p2pnode.system import descriptors

from .nodes import Node, alive, running_nodes, until
from .programs import wasm_job

OPEN_FILES = 256
CONNECTIONS = 400
# The most that a node's owner waits for an answer while it is being flooded.
ANSWER_S = 5.0
QUICK = '(module (memory (export "memory") 1) (func (export "_start")))'


@contextmanager
def silent_connections(port: int) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        yield


def open_files(node: Node) -> int:
    assert node.process is not None
    return len(os.listdir(f"/proc/{node.process.pid}/fd"))


def test_a_node_outlives_the_connections_of_a_stranger_with_few_descriptors(tmp_path: Path) -> None:
    with running_nodes(tmp_path) as nodes:
        node = nodes.new("a")
        node.within = ("prlimit", f"--nofile={OPEN_FILES}")
        node.start()
        module = tmp_path / "quick.wasm"
        module.write_bytes(bytes(wasmtime.wat2wasm(QUICK)))
        cid = node.add(module)
        api_port = urlsplit(node.client.url).port or 0
        with silent_connections(api_port), silent_connections(node.port):
            started = time.monotonic()
            node.client.identity()
            assert time.monotonic() - started < ANSWER_S
            assert node.ended(node.submit(wasm_job(cid)))["state"] == "Completed"
            assert open_files(node) < OPEN_FILES * descriptors.TIGHT_PERCENT // 100 + 20
        until("the strangers are gone", lambda: open_files(node) < OPEN_FILES // 2)
        assert node.ended(node.submit(wasm_job(cid)))["state"] == "Completed"
        assert alive(node)
