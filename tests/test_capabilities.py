"""Linux capabilities: what a file asks for, what a peer tells and allows."""

from __future__ import annotations

import pytest

from p2pnode.core.jobfile import parse
from p2pnode.core.jobfile.problems import JobFileError
from p2pnode.core.placement import matching
from p2pnode.core.values import capabilities
from p2pnode.core.wire.messages import Capacity
from p2pnode.core.wire.spec import JobSpec, NetworkType, Resources


def asking(*names: str) -> JobSpec:
    engine = f"{{Type: docker, Params: {{Image: x, CapAdd: [{', '.join(names)}]}}}}"
    return parse(f"Type: batch\nTasks:\n- Engine: {engine}\n", "f").spec


def offering(*words: str) -> Capacity:
    return Capacity(
        engines=("docker",),
        publishers=(),
        sources=(),
        networks=(NetworkType.NONE,),
        labels=capabilities.labels(capabilities.allowed_by(words)),
        total=Resources(cpu_millis=1000, memory_bytes=10**9),
        free=Resources(cpu_millis=1000, memory_bytes=10**9),
    )


@pytest.mark.parametrize(
    ("asked", "allowed", "lacks"),
    [
        ((), (), ""),
        (("CHOWN",), (), ""),
        (("cap_net_raw",), (), "NET_RAW"),
        (("NET_RAW",), ("NET_RAW",), ""),
        (("NET_RAW", "SYS_PTRACE"), ("NET_RAW",), "SYS_PTRACE"),
    ],
)
def test_a_peer_takes_what_it_allows_and_else_names_the_flag(
    asked: tuple[str, ...], allowed: tuple[str, ...], lacks: str
) -> None:
    reason = matching.infeasible_reason(matching.requirements_of(asking(*asked)), offering(*allowed))
    assert reason == (capabilities.not_allowed(lacks) if lacks else None)


def test_a_name_that_is_none_is_an_error_of_the_file() -> None:
    with pytest.raises(JobFileError, match='"NET_ROW" is no Linux capability'):
        asking("NET_ROW")


def test_the_usual_ones_reach_nothing_outside_of_a_container() -> None:
    assert not capabilities.DEFAULT & {"NET_RAW", "MKNOD", "SETFCAP", "SYS_CHROOT", "AUDIT_WRITE"}
