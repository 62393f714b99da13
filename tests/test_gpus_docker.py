"""GPUs and the real engine: device nodes stand for cards; what it is sent is looked at on the way."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from p2pnode.core.values.cards import Card, Maker
from p2pnode.core.wire.spec import DockerTask, Resources
from p2pnode.core.wire.states import Fault
from p2pnode.engines.docker.engine import LABEL_NODE, DockerEngine
from p2pnode.engines.docker.gpus import Gpus

from .docker_engine import BUSYBOX, SOCKET, containers, require_docker
from .engine_support import Calls, id_prefix, make_workload, read, run

NODE = f"test-gpus-{os.getpid()}"
A = Card(id=f"GPU-{os.getpid():08}", maker=Maker.NVIDIA, model="NVIDIA H100")


@pytest.fixture
async def real_engine() -> AsyncIterator[None]:
    require_docker()
    if os.geteuid():
        pytest.skip("only root can make device nodes")
    yield
    left = containers(f"label={LABEL_NODE}={NODE}")
    await DockerEngine(NODE, SOCKET).reap(())
    assert left == []


def card_id(directory: Path, number: int) -> str:
    """Its own for each test: others run at the same time, and cards are the whole machine's."""
    return f"amd-{id_prefix(directory)}-{number}"


def cards_of(directory: Path, count: int) -> list[Card]:
    nodes = [str(directory / f"renderD{128 + number}") for number in range(count)]
    return [
        Card(id=card_id(directory, number), maker=Maker.AMD, model="MI", nodes=(node,))
        for number, node in enumerate(nodes)
    ]


def make_cards(directory: Path, count: int) -> list[Card]:
    found = cards_of(directory, count)
    for card in found:
        os.mknod(card.nodes[0], stat.S_IFCHR | 0o660, os.makedev(1, 3))
        os.chown(card.nodes[0], 0, 12345)
    return found


def engine_with(*there: Card) -> DockerEngine:
    return DockerEngine(NODE, SOCKET, gpus=Gpus(SOCKET, lambda: (list(there), [])))


def wants(script: str) -> DockerTask:
    return DockerTask(image=BUSYBOX, entrypoint=("/bin/sh", "-c", script))


RESOURCES = Resources(memory_bytes=64_000_000, gpus=1)
# Shows which of the cards' devices are there, and that they can be opened.
SHOW = "for one in {directory}/renderD*; do basename $one; echo x > $one && echo opened; done; id -G"


async def test_two_programs_have_a_card_each_and_a_third_is_told(real_engine: None, tmp_path: Path) -> None:
    engine, calls = engine_with(*make_cards(tmp_path, 2)), [Calls(), Calls()]
    script = f"{SHOW.format(directory=tmp_path)}; sleep 60"
    workloads = [make_workload(tmp_path, wants(script), resources=RESOURCES) for _ in range(2)]
    async with trio.open_nursery() as nursery:
        for workload, call in zip(workloads, calls, strict=True):
            nursery.start_soon(run, engine, workload, call)
        for workload, call in zip(workloads, calls, strict=True):
            await call.started_event.wait()
            while "12345" not in read(workload.stdout):  # noqa: ASYNC110 - a container writes it
                await trio.sleep(0.05)
        # Another node's engine object knows of them by the containers alone.
        for other in (engine, engine_with(*cards_of(tmp_path, 2))):
            late = make_workload(tmp_path, wants("true"), resources=RESOURCES)
            ended = await run(other, late)
            assert ended.fault is Fault.PEER
            assert ended.reason == "1 GPUs were reserved, but of the 2 that work here 2 are in use"
        nursery.cancel_scope.cancel()
    seen = {read(workload.stdout) for workload in workloads}
    assert seen == {f"renderD{number}\nopened\n0 12345\n" for number in (128, 129)}
    told = {call.progress[-2] for call in calls} | {call.progress[-1] for call in calls}
    assert {f"its GPU is {card_id(tmp_path, number)}" for number in range(2)} <= told
    free = make_workload(tmp_path, wants("true"), resources=RESOURCES)
    assert (await run(engine, free)).exit_code == 0


async def test_without_a_request_there_is_no_card(real_engine: None, tmp_path: Path) -> None:
    engine = engine_with(*make_cards(tmp_path, 1))
    workload = make_workload(tmp_path, wants(f"ls {tmp_path}"))
    assert (await run(engine, workload)).exit_code != 0
    assert "renderD" not in read(workload.stdout)


async def test_a_restarted_node_remembers_by_its_containers_who_has_which_card(
    real_engine: None, tmp_path: Path
) -> None:
    first, second = make_cards(tmp_path, 2)
    workload = make_workload(tmp_path, wants(""), resources=RESOURCES)
    labels = {"node": NODE, "execution": workload.execution_id, "gpus": first.id}
    options = [f"--label=p2pnode.{key}={text}" for key, text in labels.items()]
    left = ["docker", "run", "-d", "--name", workload.execution_id, *options, BUSYBOX, "sleep", "2"]
    await trio.run_process(left, capture_stdout=True)
    new = make_workload(tmp_path, wants("true"), resources=RESOURCES)
    calls = Calls()
    assert (await run(engine_with(first, second), new, calls)).exit_code == 0
    assert f"its GPU is {second.id}" in calls.progress
    calls = Calls()
    assert (await run(engine_with(second), workload, calls)).exit_code == 0
    assert calls.progress == [f"its GPU {first.id} is missing, or has failed, since this peer's restart"]


@pytest.mark.parametrize(
    ("says", "asked"),
    [
        (
            f'{{"DiscoveredDevices": [{{"Source": "cdi", "ID": "nvidia.com/gpu={A.id}"}}]}}',
            {"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={A.id}"], "Capabilities": []},
        ),
        (
            '{"Runtimes": {"nvidia": {}}}',
            {"Driver": "nvidia", "DeviceIDs": [A.id], "Capabilities": [["gpu"]]},
        ),
    ],
    ids=["by CDI", "by the runtime"],
)
async def test_the_engine_is_sent_the_names_of_cards(
    says: str, asked: dict[str, object], real_engine: None, tmp_path: Path
) -> None:
    """The real engine has no such device and refuses to start; what it was sent is seen on the way."""
    path, sent = str(tmp_path / "docker.sock"), bytearray()

    async def between(client: trio.SocketStream) -> None:
        async with client, await trio.open_unix_socket(SOCKET) as engine, trio.open_nursery() as nursery:
            first = await client.receive_some(65_536)
            if first.startswith(b"GET /info "):
                await client.send_all(f"HTTP/1.0 200 OK\r\n\r\n{says}".encode())
                return
            sent.extend(first)
            await engine.send_all(first)
            nursery.start_soon(copy, client, engine)
            await copy(engine, client)
            nursery.cancel_scope.cancel()

    async def copy(source: trio.SocketStream, target: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            while data := await source.receive_some(65_536):
                sent.extend(data)
                await target.send_all(data)

    listening = trio.socket.socket(socket.AF_UNIX)
    await listening.bind(path)
    listening.listen()
    workload = make_workload(tmp_path, wants("true"), resources=RESOURCES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, between, [trio.SocketListener(listening)])
        ended = await run(DockerEngine(NODE, path, gpus=Gpus(path, lambda: ([A], []))), workload)
        nursery.cancel_scope.cancel()
    assert ended.fault is Fault.PEER
    # An engine that knows CDI looks for the device, an older one for somebody who knows it.
    assert "could not select device driver" in ended.reason or "unresolvable CDI devices" in ended.reason
    request = bytes(sent).partition(b'"DeviceRequests": ')[2]
    assert json.JSONDecoder().raw_decode(request.decode(errors="replace"))[0] == [
        {**asked, "Count": 0, "Options": {}}
    ]
