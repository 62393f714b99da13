"""Links with peers that are killed, stopped or paused, each a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import trio

from p2pnode.core.link.failure_detector import (
    LinkDown,
    LinkSuspect,
)

from .network_support import Node, open_node, until

_NODE = """
import sys, trio
sys.path.insert(0, sys.argv[1])
from tests.network_support import open_node

async def main():
    async with open_node() as node:
        print(node.host.addresses()[0], flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


class Process:
    """A node in a process of its own, that can be stopped and killed."""

    def __init__(self) -> None:
        root = str(Path(__file__).parent.parent)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _NODE, root], stdout=subprocess.PIPE, text=True, cwd=root
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        self.peer = self.address.rpartition("/")[2]

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


async def linked(a: Node, process: Process) -> None:
    a.known[process.peer] = [process.address]
    a.links.keep(process.peer)
    await until(lambda: a.links.is_up(process.peer))


async def test_a_killed_peer_is_noticed_at_once() -> None:
    async with open_node() as a:
        with Process() as process:
            await linked(a, process)
            process.signal(signal.SIGKILL)
            assert await until(lambda: not a.links.is_up(process.peer)) < 1


async def test_a_stopped_peer_is_suspected_then_lost_and_found_again() -> None:
    async with open_node() as a:
        with Process() as process:
            await linked(a, process)
            a.events.clear()
            process.signal(signal.SIGSTOP)
            took_s = await until(lambda: len(a.comings) > 1)
            assert [type(event) for event in a.comings[:2]] == [LinkSuspect, LinkDown]
            assert 5 < took_s < 9
            process.signal(signal.SIGCONT)
            await until(lambda: a.links.is_up(process.peer))


async def test_a_pause_of_three_seconds_is_no_loss() -> None:
    async with open_node() as a:
        with Process() as process:
            await linked(a, process)
            a.events.clear()
            process.signal(signal.SIGSTOP)
            await trio.sleep(3)  # The pause itself, which no event announces.
            process.signal(signal.SIGCONT)
            a.links.send(process.peer, b"hello")
            await until(lambda: not a.links.waiting(process.peer))
            assert a.comings == []
