"""A node's answers, for what is made of them on a terminal: `top` and the block of a job."""

from __future__ import annotations

from typing import Any

from p2pnode.cli.top.seen import Seen
from p2pnode.cli.top.state import TopState

NOW = 1_000_000.0
OWN, OTHER = "12D3KooWSelf", "12D3KooWOther"


def resources(cpu_millis: int, memory_bytes: int) -> Any:
    return {"cpu_millis": cpu_millis, "memory_bytes": memory_bytes, "disk_bytes": 0, "gpus": 0}


def a_node(name: str, **changes: Any) -> Any:
    return {
        "peer": OTHER,
        "name": name,
        "engines": ["wasm", "docker"],
        "labels": {},
        "total": resources(4000, 8_000_000_000),
        "free": resources(1000, 8_000_000_000),
        "connected": True,
        "connection": "direct",
        "reach": "direct",
        "self": False,
        "scheduling": "schedulable",
        "problem": None,
        **changes,
    }


def an_execution(id: str, state: str, **changes: Any) -> Any:
    return {"id": id, "peer": OTHER, "peer_name": "ada", "state": state, **changes}


def a_job(name: str, *states: str, **changes: Any) -> Any:
    return {
        "id": f"j-{name}",
        "name": name,
        "type": "batch",
        "state": "Running",
        "reason": "",
        "count": 2,
        "created": NOW - 60,
        "owner": OWN,
        "owner_name": "me",
        "executions": [an_execution(f"e-{name}{index}", state) for index, state in enumerate(states)],
        **changes,
    }


def held(name: str, state: str) -> Any:
    return {"job": "j-held", "name": name, "state": state}


def seen(**changes: Any) -> Seen:
    """A node with one peer, and a job there."""
    made = {
        "identity": {"peer": OWN, "name": "me"},
        "nodes": [a_node("me", self=True, connected=False, connection="", peer=OWN), a_node("ada")],
        "live": [a_job("works", "Running", "Preparing")],
        "ended": [],
        "hosted": [],
        "problems": [],
    }
    return Seen(**(made | changes))


def state(**changes: Any) -> TopState:
    return TopState(seen(**changes), NOW)


def an_event(message: str, execution: str = "", state: str = "Preparing", at: float = 0.0) -> Any:
    return {
        "number": 1,
        "at": at,
        "topic": "Execution",
        "execution": execution,
        "message": message,
        "state": state,
    }
