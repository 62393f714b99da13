"""The shapes of executions in lists: those of one job, and those that this node runs for anybody."""

from __future__ import annotations

from typing import Annotated, TypedDict

from p2pnode.core.records.reservations import ReservationState

from .shapes import ExecutionJson, ResourcesJson


class ExecutionsJson(TypedDict):
    """The executions of a job."""

    executions: Annotated[list[ExecutionJson], "In the order of their awards."]


class HostedJson(TypedDict):
    """An execution that holds resources of this node, or waits for them."""

    id: Annotated[str, "The execution's id, e-..."]
    job: Annotated[str, "The job's id, j-..."]
    name: Annotated[str, "The job's name; '' before the execution is awarded, which brings the job's file."]
    type: Annotated[str, "The job's type; '' before the award."]
    engine: Annotated[str, "What runs it, such as wasm or docker."]
    state: Annotated[ReservationState, "How far it is."]
    owner: Annotated[str, "The peer that looks after the job now."]
    owner_name: Annotated[str, "'' where it is not known."]
    priority: Annotated[int, "The job's Priority."]
    resources: Annotated[ResourcesJson, "What it holds, or waits for."]
    created: Annotated[float, "When this node was asked."]


class HostedExecutionsJson(TypedDict):
    executions: Annotated[list[HostedJson], "The newest first."]
