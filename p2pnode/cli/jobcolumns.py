"""The columns of jobs, and of what is told of one: its executions, events and versions."""

from __future__ import annotations

from collections.abc import Sequence

from p2pnode.api.shapes import EventJson, ExecutionJson, JobJson, JobLineJson, VersionJson
from p2pnode.cli.forms import Column, column, labels_text, time_column, wide_column
from p2pnode.cli.output import clock_ms, rfc3339_ms, short_id, short_peer


def named(name: str, peer: str) -> str:
    """A peer by name and whole id."""
    return f"{name} ({peer})" if name else peer


def _name(one: JobJson | JobLineJson) -> str:
    """A job's name; its id is none, and stands beside it."""
    return "" if one["name"] == one["id"] else one["name"]


JOBS: Sequence[Column[JobJson]] = (
    column("ID", lambda one: short_id(one["id"]), lambda one: one["id"]),
    column("NAME", _name, lambda one: one["name"]),
    wide_column("NAMESPACE", lambda one: one["namespace"]),
    column("TYPE", lambda one: one["type"]),
    column("STATE", lambda one: one["state"]),
    wide_column("PRIORITY", lambda one: str(one["priority"])),
    wide_column("COUNT", lambda one: str(one["count"])),
    wide_column("VERSION", lambda one: str(one["version"])),
    wide_column("RUN", lambda one: str(one["run"])),
    time_column("CREATED", lambda one: one["created"]),
    time_column("MODIFIED", lambda one: one["modified"], in_table=False),
    wide_column("OWNER", lambda one: named(one["owner_name"], one["owner"])),
    wide_column("LABELS", lambda one: labels_text(one["spec"].get("Labels", {}))),
    column("REASON", lambda one: one["reason"]),
)
NETWORK_JOBS: Sequence[Column[JobLineJson]] = (
    column("ID", lambda one: short_id(one["id"]), lambda one: one["id"]),
    column("NAME", _name, lambda one: one["name"]),
    wide_column("NAMESPACE", lambda one: one["namespace"]),
    column("TYPE", lambda one: one["type"]),
    column("STATE", lambda one: one["state"]),
    wide_column("COUNT", lambda one: str(one["count"])),
    time_column("CREATED", lambda one: one["created"]),
    column(
        "OWNER",
        lambda one: one["owner_name"] or short_peer(one["owner"]),
        lambda one: named(one["owner_name"], one["owner"]),
    ),
    column("REASON", lambda one: one["reason"]),
)

_ID: Column[ExecutionJson] = column("ID", lambda one: short_id(one["id"]), lambda one: one["id"])
_PEER: Column[ExecutionJson] = column(
    "PEER",
    lambda one: one["peer_name"] or short_peer(one["peer"]),
    lambda one: named(one["peer_name"], one["peer"]),
)
_EXIT: Column[ExecutionJson] = column(
    "EXIT", lambda one: "" if one["exit_code"] is None else str(one["exit_code"])
)
_RECEIPT: Column[ExecutionJson] = wide_column("RECEIPT", lambda one: one["receipt_cid"] or "")
EXECUTIONS: Sequence[Column[ExecutionJson]] = (
    _ID,
    column("REPLICA", lambda one: str(one["replica"])),
    column("RUN", lambda one: str(one["run"])),
    column("VERSION", lambda one: str(one["version"])),
    wide_column("CURRENT", lambda one: "yes" if one["current"] else "no"),
    _PEER,
    column("STATE", lambda one: one["state"]),
    _EXIT,
    wide_column("FAULT", lambda one: one["fault"] or ""),
    time_column("CREATED", lambda one: one["created"]),
    time_column("MODIFIED", lambda one: one["modified"]),
    wide_column("RESULT", lambda one: one["result_cid"] or ""),
    _RECEIPT,
    column("REASON", lambda one: one["reason"]),
)
# As `job describe` shows them.
EXECUTIONS_BRIEFLY: Sequence[Column[ExecutionJson]] = (
    _ID,
    column("REPLICA", lambda one: str(one["replica"])),
    _PEER,
    column("STATE", lambda one: one["state"]),
    _EXIT,
    time_column("MODIFIED", lambda one: one["modified"]),
    column("REASON", lambda one: one["reason"]),
)
RESULTS: Sequence[Column[ExecutionJson]] = (
    _ID,
    column("RESULT", lambda one: one["result_cid"] or ""),
    _RECEIPT,
)

_TIME: Column[EventJson] = column("TIME", lambda one: clock_ms(one["at"]), lambda one: rfc3339_ms(one["at"]))
_EXECUTION: Column[EventJson] = column(
    "EXECUTION", lambda one: short_id(one["execution"]), lambda one: one["execution"]
)
_TOPIC: Column[EventJson] = column("TOPIC", lambda one: one["topic"])
_EVENT: Column[EventJson] = column("EVENT", lambda one: one["message"])
EVENTS: Sequence[Column[EventJson]] = (
    wide_column("NO", lambda one: str(one["number"])),
    _TIME,
    _EXECUTION,
    _TOPIC,
    column("STATE", lambda one: one["state"]),
    _EVENT,
)
EVENTS_BRIEFLY: Sequence[Column[EventJson]] = (_TIME, _EXECUTION, _TOPIC, _EVENT)


def versions(job: JobJson) -> Sequence[Column[VersionJson]]:
    """The columns of a job's versions."""
    return (
        column("VERSION", lambda one: str(one["version"])),
        time_column("SUBMITTED", lambda one: one["submitted"]),
        column("CURRENT", lambda one: "yes" if one["version"] == job["version"] else ""),
        column(
            "EXECUTIONS",
            lambda one: str(sum(execution["version"] == one["version"] for execution in job["executions"])),
        ),
        wide_column("SHA-256", lambda one: one["spec_hash"]),
    )
