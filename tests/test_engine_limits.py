"""An engine that cannot hold containers to their limits is offered to nobody."""

from __future__ import annotations

import json
from typing import Any

import h11
import pytest
import trio

from p2pnode.engines.docker import limits
from p2pnode.engines.docker.answers import Info, PodmanInfo, decode
from p2pnode.engines.docker.engine import DockerEngine

HAS = {"MemoryLimit": True, "CpuCfsQuota": True, "PidsLimit": True}
PODMAN = HAS | {"BuildahVersion": "1.28.2", "Rootless": True}
ALL = ["cpuset", "cpu", "io", "memory", "pids"]


@pytest.mark.parametrize(
    ("info", "controllers", "lacking"),
    [
        pytest.param(HAS, None, "", id="Docker with all of them"),
        pytest.param({}, None, "", id="one that does not speak of them"),
        pytest.param(HAS | {"MemoryLimit": False}, None, "memory", id="a kernel without that of memory"),
        pytest.param(HAS | {"CpuCfsQuota": False}, None, "cpu", id="a kernel without quotas"),
        pytest.param(dict.fromkeys(HAS, False), None, "cpu, memory, pids", id="Docker of a user, groups v1"),
        pytest.param(PODMAN, ALL, "", id="Podman as root, or with all delegated to it"),
        pytest.param(PODMAN, ["memory", "pids"], "cpu", id="Podman of a user without a delegated processor"),
        pytest.param(PODMAN, [], "cpu, memory, pids", id="Podman of a user, groups v1, which says otherwise"),
    ],
)
async def test_an_engine_without_a_limit_is_named_with_what_it_lacks(
    info: dict[str, Any], controllers: list[str] | None, lacking: str
) -> None:
    own = {"host": {"cgroupControllers": controllers}}
    podman = decode(json.dumps(own).encode(), PodmanInfo) if controllers is not None else None
    found = limits.told(decode(json.dumps(info).encode(), Info), podman)
    assert found == "" if not lacking else f"its control groups lack {lacking} (" in found
    problem = await offered_by({"/info": info, "/v3.0.0/libpod/info": own})
    assert (problem or "") == found


async def offered_by(answers: dict[str, Any]) -> str | None:
    """Why a node does not offer an engine that answers so."""

    async def answer(stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        async with stream:
            while not isinstance(event := connection.next_event(), h11.Request):
                connection.receive_data(await stream.receive_some())
            body = json.dumps(answers.get(event.target.decode(), {})).encode()
            head = [("Api-Version", "1.41"), ("Content-Length", str(len(body)))]
            sent = (h11.Response(status_code=200, headers=head), h11.Data(body), h11.EndOfMessage())
            await stream.send_all(b"".join(connection.send(one) or b"" for one in sent))

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        found = await DockerEngine("node", f"tcp://127.0.0.1:{listener.socket.getsockname()[1]}").available()
        nursery.cancel_scope.cancel()
    return found
