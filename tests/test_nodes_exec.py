"""Programs begun in executions on real nodes, by a controller of the job whose node is the test itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from p2pnode.core.records import mandate
from p2pnode.core.wire import codec
from p2pnode.core.wire.exec import ExecBody, ExecEnd
from p2pnode.core.wire.signing import EXEC_DOMAIN
from p2pnode.core.worker import entering
from p2pnode.core.worker.entering import CannotEnter, Entered
from p2pnode.identity import Identity
from p2pnode.network.host import open_host
from p2pnode.network.protocols import exec
from p2pnode.system.audit_log import FILE_NAME

from .docker_engine import BUSYBOX, require_docker
from .network_support import LOOPBACK, WAIT_S, new_identity
from .nodes import Node, Nodes, know_each_other, running_nodes, until
from .own_programs import MARK, marked
from .programs import WAITING_SHELL, docker_job

CONTROLLER = new_identity()
SCRIPT = "echo hi; cat; exit 7"


class Network:
    """`a` submits, and has the test for its controller; `open` lets people in, and `shut` does not."""

    def __init__(self, nodes: Nodes) -> None:
        self.a = nodes.start("a", "--no-compute", "--operator", CONTROLLER.peer_id)
        self.open = nodes.start("open", "--allow-exec", "--label", "door=open", peers=(self.a,))
        self.shut = nodes.start("shut", "--label", "door=shut", peers=(self.a,))
        know_each_other(*nodes.all)

    def begin(self, node: Node) -> ExecBody:
        """Have a job run on a node; the wish to enter its execution."""
        door = [{"Key": "door", "Operator": "=", "Values": [node.name]}]
        job = self.a.submit(docker_job(BUSYBOX, WAITING_SHELL, Constraints=door))
        execution = self.a.execution(job, "Running", node.peer)
        node.begun(execution["id"])
        return ExecBody(
            job=job,
            execution=execution["id"],
            peer=node.peer,
            controller=CONTROLLER.peer_id,
            command=("sh", "-c", SCRIPT),
            terminal=None,
            stdin=True,
        )


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    require_docker()
    with running_nodes(tmp_path_factory.mktemp("nodes")) as nodes:
        yield Network(nodes)


@asynccontextmanager
async def entered(node: Node, body: ExecBody, me: Identity = CONTROLLER) -> AsyncIterator[Entered]:
    async with open_host(me, [LOOPBACK]) as host:
        with trio.fail_after(WAIT_S):
            await host.connect(body.peer, [node.address.rpartition("/p2p/")[0]], WAIT_S)
            signed = mandate.sign(me, EXEC_DOMAIN, body)
            async with exec.entered(host, body.peer, signed) as program:
                yield program


def refusal(node: Node, body: ExecBody, me: Identity = CONTROLLER) -> str:
    async def enter() -> None:
        async with entered(node, body, me):
            pytest.fail("it began")

    with pytest.raises(CannotEnter) as refused:
        trio.run(enter)
    return str(refused.value)


def audited(node: Node) -> list[dict[str, Any]]:
    path = node.data_dir / FILE_NAME
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [one for one in lines if one["action"] == "exec"]


def test_a_controller_enters_speaks_with_its_program_and_gets_its_exit_code(network: Network) -> None:
    body, before = network.begin(network.open), len(audited(network.open))

    async def talk() -> tuple[bytes, ExecEnd]:
        async with entered(network.open, body) as program:
            got = b""
            await program.write(b"from far away\n")
            await program.end_input()
            while piece := await program.read():
                got += piece[1]
            return got, await program.ended()

    assert trio.run(talk) == (b"hi\nfrom far away\n", ExecEnd(exit_code=7, reason=""))
    [line] = audited(network.open)[before:]
    assert line.pop("at") and line == {
        "caller": f"peer {CONTROLLER.peer_id}",
        "action": "exec",
        "job": body.job,
        "execution": body.execution,
        "command": f"sh -c '{SCRIPT}'",
        "terminal": False,
        "result": "done",
    }
    network.open.finish(body.execution)
    ended = network.a.ended(body.job)
    assert ended["state"] == "Completed", "whoever was in it changes nothing for the job"
    assert "no execution" in refusal(network.open, body) or "while it is running" in refusal(
        network.open, body
    )


def test_a_node_that_lets_nobody_in_says_what_its_operator_has_to_do(network: Network) -> None:
    body = network.begin(network.shut)
    assert refusal(network.shut, body) == entering.NOT_ALLOWED
    assert audited(network.shut) == []
    network.shut.finish(body.execution)


def test_a_third_node_learns_not_even_that_the_execution_is_there(network: Network) -> None:
    body, third = network.begin(network.open), new_identity()
    own = codec.replace(body, controller=third.peer_id)
    absent = codec.replace(own, execution="e-" + "0" * 32)
    assert refusal(network.open, own, third).replace(own.execution, absent.execution) == refusal(
        network.open, absent, third
    )
    # In the name of the controller, by another key: no request at all.
    assert "lost" in refusal(network.open, body, third)
    network.open.finish(body.execution)


@pytest.mark.parametrize("command", [("sleep", "{}"), ("sh", "-c", "trap '' HUP; sleep {}; sleep {}")])
def test_a_controller_that_vanishes_takes_its_program_along(
    network: Network, command: tuple[str, ...]
) -> None:
    body = network.begin(network.open)
    body = codec.replace(body, command=tuple(one.replace("{}", MARK) for one in command))

    async def vanish() -> None:
        async with entered(network.open, body):
            while not marked():  # noqa: ASYNC110
                await trio.sleep(0.02)

    trio.run(vanish)
    until("the program is gone", lambda: not marked())
    network.open.finish(body.execution)
    assert network.a.ended(body.job)["state"] == "Completed"


def test_an_execution_has_room_for_a_few_programs_and_again_once_one_has_left(network: Network) -> None:
    body = codec.replace(network.begin(network.open), command=("cat",))
    signed = mandate.sign(CONTROLLER, EXEC_DOMAIN, body)

    async def crowd() -> None:
        async with open_host(CONTROLLER, [LOOPBACK]) as host, trio.open_nursery() as nursery:

            async def hold(task_status: trio.TaskStatus[None]) -> None:
                async with exec.entered(host, body.peer, signed):
                    task_status.started()
                    await trio.sleep_forever()

            with trio.fail_after(WAIT_S):
                await host.connect(body.peer, [network.open.address.rpartition("/p2p/")[0]], WAIT_S)
                for _ in range(entering.ENTERED_PER_EXECUTION_MAX - 1):
                    await nursery.start(hold)
                async with exec.entered(host, body.peer, signed) as last:
                    with pytest.raises(CannotEnter, match="end one of them first"):
                        await nursery.start(hold)
                    await last.end_input()
                    assert await last.read() is None
                await nursery.start(hold)
            nursery.cancel_scope.cancel()

    trio.run(crowd)
    network.open.finish(body.execution)
