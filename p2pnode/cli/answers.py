"""The shapes of what commands print as JSON and YAML, where these are not the API's own.

docs/output.md is made of them; their fields are only ever added to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypedDict

from p2pnode.api.content_shapes import EntryJson, PinJson
from p2pnode.api.execution_shapes import ExecutionsJson, HostedExecutionsJson
from p2pnode.api.shapes import (
    EventJson,
    IdentityJson,
    JobJson,
    NetworkJobsJson,
    NetworkJson,
    NodeJson,
    PlanJson,
    ProblemsJson,
    SettingsJson,
    UnreachedJson,
    VersionJson,
)
from p2pnode.api.token_shapes import TokensJson


class OwnIdentityJson(IdentityJson):
    """The node that answers, and where."""

    api: Annotated[str, "The address of its API."]


class NodeListJson(TypedDict):
    """The nodes that this one knows, itself among them."""

    nodes: Annotated[list[NodeJson], "The node that answers first, the others by name."]
    unreached: Annotated[list[UnreachedJson], "Peers among the node's settings that are not connected."]


class JobListJson(TypedDict):
    """The jobs that a node owns or keeps a copy of."""

    jobs: Annotated[list[JobJson], "Newest first."]


class HistoryJson(TypedDict):
    """The history of a job."""

    events: Annotated[list[EventJson], "In order."]


class VersionsJson(TypedDict):
    """The versions of a job's file that are kept."""

    version: Annotated[int, "The newest."]
    versions: Annotated[list[VersionJson], "The oldest first."]


class FileProblemJson(TypedDict):
    """A mistake in a job file, or a warning."""

    file: Annotated[str, "The file as it was named; '<stdin>'."]
    line: Annotated[int, "From 1."]
    column: Annotated[int, "From 1."]
    field: Annotated[str, "The path of the field, such as Tasks[0].Engine."]
    severity: Annotated[str, "'error' or 'warning'."]
    message: Annotated[str, "A sentence with what to do."]


class ValidityJson(TypedDict):
    """Whether a job file can be submitted."""

    valid: Annotated[bool, "False: it has errors."]
    problems: Annotated[list[FileProblemJson], "Its errors; those of a valid file are warnings."]


class CheckJson(TypedDict):
    """A check of this machine or its node."""

    check: Annotated[str, "The name of what was looked at."]
    level: Annotated[str, "'ok', 'warn' or 'FAIL'."]
    text: Annotated[str, "What was found."]
    advice: Annotated[str, "What to do about it; '' for nothing."]


class ChecksJson(TypedDict):
    """All checks, in their order."""

    checks: Annotated[list[CheckJson], "In the order in which they were made."]


class ExplainedSettingJson(TypedDict):
    """A setting of a node, explained."""

    name: Annotated[str, "As in config.toml."]
    meaning: Annotated[str, "What it is for."]
    form: Annotated[str, "What is expected."]
    default: Annotated[str, "What holds where it is not given."]
    flag: Annotated[str, "As serve takes it."]
    repeated: Annotated[bool, "The flag may be given more than once."]
    variable: Annotated[str, "As the environment has it."]
    example: Annotated[str, "As config.toml has it."]
    value: Annotated[Any, "As it stands now; null: the node finds it by itself."]
    origin: Annotated[str, "'flag', 'env', 'file', 'profile' or 'default'."]
    where: Annotated[str, "The flag, the variable, PATH:LINE or the profile's name."]


class TakeRuleJson(TypedDict):
    """A rule on jobs; an empty list or object names nothing, so all fits it."""

    name: Annotated[str, "As refusals have it."]
    decision: Annotated[str, "'take' or 'refuse'."]
    requesters: Annotated[list[str], "Peers."]
    namespaces: Annotated[list[str], "Namespaces."]
    engines: Annotated[list[str], "Engines."]
    networks: Annotated[list[str], "Types of network."]
    images: Annotated[list[str], "Images."]
    modules: Annotated[list[str], "CIDs of WASM modules."]
    labels: Annotated[dict[str, str], "Labels of the job."]
    roles: Annotated[list[str], "Roles of the requester in the private network."]
    price: Annotated[str | None, "What an execution of such a job costs here; null: as any."]


class QuotaJson(TypedDict):
    """The most that a requester or namespace holds at once."""

    each: Annotated[str, "'requester' or 'namespace'."]
    of: Annotated[list[str], "Which of them; none named: all."]
    executions: Annotated[int | None, "Executions; null: any number."]
    resources: Annotated[dict[str, int], "By resource: cpu_millis, memory_bytes, disk_bytes, gpus."]


class PlaceJson(TypedDict):
    """Peers to which the node's own jobs go."""

    name: Annotated[str, "As 'plan' has it."]
    peers: Annotated[list[str], "Peers; none named: all."]
    labels: Annotated[dict[str, str], "Labels that a peer has to have."]
    roles: Annotated[list[str], "Roles in the private network, of which it has to have one."]
    price_max: Annotated[str | None, "The most that an execution costs there; null: any price."]


class PolicyJson(TypedDict):
    """The policy of a node."""

    file: Annotated[str, "Where it is from."]
    exists: Annotated[bool, "False: there is no such file, and no rule."]
    take: Annotated[list[TakeRuleJson], "In order; the first that fits decides."]
    otherwise: Annotated[str, "'take' or 'refuse'."]
    price: Annotated[str, "What an execution costs here, in the unit that the network's members agree on."]
    quotas: Annotated[list[QuotaJson], "All hold."]
    places: Annotated[list[PlaceJson], "One has to fit; none: jobs go anywhere."]


class PolicyDecisionJson(TypedDict):
    """A decision on a job."""

    decision: Annotated[str, "'taken', 'refused' or 'open': it takes more than an ask tells."]
    rule: Annotated[str, "The rule that decides, or that may; '': none fits."]
    reason: Annotated[str, "As a refusal has it; '' where it is not refused."]


class PolicyCheckJson(TypedDict):
    """The word of a node's policy on a job."""

    file: Annotated[str, "The policy's."]
    requester: Annotated[str, "The peer that asks; '': one that no rule names."]
    role: Annotated[str, "Its role in the private network; '': none."]
    unfit: Annotated[list[str], "Rules and places that name roles, and fit nobody in the open network."]
    price: Annotated[str, "What an execution of it costs here."]
    ask: Annotated[PolicyDecisionJson, "By what an ask tells."]
    award: Annotated[PolicyDecisionJson, "By the whole job."]


class ProfileJson(TypedDict):
    """A profile, and the node that runs on it."""

    profile: Annotated[str, "What '--profile' takes."]
    name: Annotated[str, "The node's name; '': none runs."]
    peer: Annotated[str, "The node's id; '': none runs."]
    api: Annotated[str, "The address of its API; '': none runs."]
    data_dir: Annotated[str, "Its data directory."]
    config_file: Annotated[str, "Its file of settings, which may not exist."]


class ProfilesJson(TypedDict):
    """The profiles of this user."""

    profiles: Annotated[list[ProfileJson], "By name."]


class NetworkKeyJson(TypedDict):
    """A key of a private network, without the key."""

    since: Annotated[float | None, "When it was made; null: before this node joined."]
    until: Annotated[float | None, "Until when it lets in; null: it is the newest."]


class OwnNetworkJson(TypedDict):
    """The network that a node's data directory is in."""

    network: Annotated[NetworkJson | None, "Null: the open network."]
    joined: Annotated[float | None, "When this node joined; null: the open network."]
    may: Annotated[list[str], "What its role may do there."]
    addresses: Annotated[list[str], "The nodes that it connects to first, beside its settings' peers."]
    invites: Annotated[bool, "True: the operator's key is here, so that network invite works."]
    invitation: Annotated[
        str | None, "The number of the invitation that it joined by; null: the open network."
    ]
    keys: Annotated[list[NetworkKeyJson], "The network's keys that let in, the newest first."]
    expelled: Annotated[list[str], "The peers that the operator has expelled, as far as is known here."]
    expelled_invitations: Annotated[list[str], "The numbers of invitations by which nobody is in any more."]


class DevnetNodeJson(TypedDict):
    """A node of a devnet."""

    name: Annotated[str, "Its name."]
    peer: Annotated[str | None, "Its id; null: it is not ready."]
    pid: Annotated[int, "Its process."]
    api: Annotated[str | None, "The address of its API; null: it is not ready."]
    data_dir: Annotated[str, "Its data directory."]
    state: Annotated[str, "'starting', 'ready' or 'ended'."]


class DevnetJson(TypedDict):
    """A devnet."""

    nodes: Annotated[list[DevnetNodeJson], "As they were started."]


# Each command that gives JSON, and the shape of that.
ANSWERS: Mapping[str, Any] = {
    "submit": JobJson,
    "docker run": JobJson,
    "wasm run": JobJson,
    "job list": JobListJson,
    "job list --network": NetworkJobsJson,
    "job describe": JobJson,
    "job rerun": JobJson,
    "job history": HistoryJson,
    "job executions": ExecutionsJson,
    "job versions": VersionsJson,
    "validate": ValidityJson,
    "plan": PlanJson,
    "id": OwnIdentityJson,
    "node list": NodeListJson,
    "node executions": HostedExecutionsJson,
    "node problems": ProblemsJson,
    "ipfs ls": list[EntryJson],
    "ipfs pin ls": list[PinJson],
    "config list": SettingsJson,
    "config explain": ExplainedSettingJson,
    "config profiles": ProfilesJson,
    "policy show": PolicyJson,
    "policy check": PolicyCheckJson,
    "doctor": ChecksJson,
    "token list": TokensJson,
    "network show": OwnNetworkJson,
    "devnet status": DevnetJson,
}
