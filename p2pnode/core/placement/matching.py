"""Whether a peer can run a job, and if not, why: pure functions that both sides use.

The requester applies them to adverts, to choose whom to ask; the compute peer applies
them to its own truth, to decide whether to bid. Reasons are written to be counted: the
same cause gives the same text on every peer ("97 of 100: no docker engine").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from msgspec import UNSET

from p2pnode.core.records import membership as memberships
from p2pnode.core.records.membership import Right
from p2pnode.core.values import capabilities
from p2pnode.core.values.units import about_bytes, format_cpu
from p2pnode.core.wire import extensions, protocols
from p2pnode.core.wire.messages import Advert, Capacity, Directory, Requirements
from p2pnode.core.wire.spec import (
    Constraint,
    DockerTask,
    JobSpec,
    NetworkType,
    Operator,
    OtherTask,
    Resources,
    SomeEngine,
    Source,
    Task,
    WasmTask,
)
from p2pnode.core.wire.states import RefusalKind, Scheduling

from . import forwarding
from .constraints import preferences, requirements
from .constraints import why_not as constraint_why_not
from .locality import cache_keys_of

RESOURCE_NAMES = ("cpu_millis", "memory_bytes", "disk_bytes", "gpus")
# Peers that a line of history names, of those that were asked.
NAMED_MAX = 8
NOTHING = Resources(cpu_millis=0, memory_bytes=0)

SCHEDULING_REASONS = {
    Scheduling.CORDONED: "cordoned: its operator lets it take nothing new",
    Scheduling.DRAINING: "is being drained",
}


@dataclass(frozen=True, slots=True)
class Infeasible:
    """A reason why not, and whether it is one that passes."""

    refusal_kind: RefusalKind
    reason: str
    # Whether the peer may be asked all the same: the ask waits there.
    askable: bool = False


def requirements_of(spec: JobSpec) -> Requirements:
    """The part of a job that an ask tells: all that decides, and nothing that is private to it."""
    task = spec.task
    return Requirements(
        engine=engine_name(task.engine),
        resources=task.resources,
        constraints=(*spec.constraints, *_capabilities(task.engine)),
        network=task.network.type,
        publisher=task.publisher.type if task.publisher else "",
        sources=tuple(sorted({one.source.type for one in task.inputs} | _of_environment(task))),
        cache_keys=cache_keys_of(task),
        directories=tuple(_directory(one.source) for one in task.inputs if one.source.type == "local"),
        must=extensions.musts(spec, task) or UNSET,
    )


def engine_name(engine: SomeEngine) -> str:
    """As adverts have it."""
    match engine:
        case DockerTask():
            return "docker"
        case WasmTask():
            return "wasm"
        case OtherTask(name=name):
            return name


def _of_environment(task: Task) -> set[str]:
    """Which variables it asks for is private to the job until its award."""
    return {forwarding.SOURCE} if forwarding.wanted(task.environment) else set()


def _capabilities(engine: SomeEngine) -> list[Constraint]:
    """The capabilities that a peer must allow, as constraints on its labels."""
    asked = capabilities.asked_in(engine.meta) if isinstance(engine, DockerTask) else frozenset[str]()
    names = sorted(asked - capabilities.DEFAULT)
    return [Constraint(key=capabilities.label_of(name), operator=Operator.EXISTS) for name in names]


def _directory(source: Source) -> Directory:
    writable = source.params.get("ReadWrite") is True
    made = writable and source.params.get("CreateAs") != "noCreate"
    return Directory(path=str(source.params["SourcePath"]), writable=writable, made=made)


def why_not_peer(need: Requirements, advert: Advert) -> Infeasible | None:
    """Why this peer is not asked to run a job with these requirements, or not for now; None where it is."""
    silent = why_none_run(advert)
    return Infeasible(RefusalKind.UNSUITABLE, silent) if silent else why_not(need, advert.capacity)


def why_none_run(advert: Advert) -> str | None:
    """Why nothing at all can be run on this peer, whatever it offers; None where something can."""
    return protocols.why_no_link(advert.protocols) or memberships.why_may_not(advert, Right.COMPUTE)


def infeasible_peer_reason(need: Requirements, advert: Advert) -> str | None:
    """Why this peer could not run such a job even if it were idle; None where it could."""
    return why_none_run(advert) or infeasible_reason(need, advert.capacity)


def why_not(need: Requirements, capacity: Capacity) -> Infeasible | None:
    """Why a peer that offers this can't run a job with these requirements; None where it can.

    A lack that passes (of room, or of its operator's leave) is `BUSY`, everything else `UNSUITABLE`.
    """
    reason = infeasible_reason(need, capacity)
    if reason is not None:
        return Infeasible(RefusalKind.UNSUITABLE, reason)
    if capacity.scheduling is not Scheduling.SCHEDULABLE:
        return Infeasible(RefusalKind.BUSY, SCHEDULING_REASONS[capacity.scheduling])
    if not fits(need.resources, capacity.free):
        return Infeasible(RefusalKind.BUSY, "busy: " + _lack(need.resources, capacity.free, "free"))
    return None


def fits(need: Resources, room: Resources) -> bool:
    return all(getattr(need, name) <= getattr(room, name) for name in RESOURCE_NAMES)


def minus(room: Resources, used: Iterable[Resources]) -> Resources:
    """The rest of `room`; a reservation that outgrew it (the machine shrank) leaves 0, not less."""
    left = {name: getattr(room, name) for name in RESOURCE_NAMES}
    for resources in used:
        for name in RESOURCE_NAMES:
            left[name] -= getattr(resources, name)
    return Resources(**{name: max(0, value) for name, value in left.items()})


def plus(one: Resources, other: Resources) -> Resources:
    return Resources(**{name: getattr(one, name) + getattr(other, name) for name in RESOURCE_NAMES})


def favours(need: Requirements, capacity: Capacity) -> int:
    """How many of the job's preferences (`favour_` constraints) the peer meets."""
    return sum(constraint_why_not(one, capacity.labels) is None for one in preferences(need.constraints))


def grouped(reasons: Iterable[str], total: int) -> str:
    """Reasons of many peers in one line, the most frequent first: "2 of 3: no docker engine"."""
    counts = sorted(Counter(reasons).items(), key=lambda item: (-item[1], item[0]))
    return "; ".join(f"{count} of {total}: {reason}" for reason, count in counts)


def listed(peers: Sequence[str]) -> str:
    """So many peers, and who the first of them are."""
    named = ", ".join(peers[:NAMED_MAX])
    more = f" and {len(peers) - NAMED_MAX} more" if len(peers) > NAMED_MAX else ""
    return f"{len(peers)} peer{'s' if len(peers) > 1 else ''}: {named}{more}"


def infeasible_reason(need: Requirements, capacity: Capacity) -> str | None:
    """Why a peer could not run such a job even if it were idle; None where it could."""
    if need.engine not in capacity.engines:
        return f"no {need.engine} engine"
    if need.network is not NetworkType.NONE:
        # WASI gives a program no sockets; a peer's network types are those of its containers.
        if need.engine == "wasm":
            return f"no network of type {need.network} for WASM programs"
        if need.network not in capacity.networks:
            return no_network(need.network)
    if need.publisher not in ("", *capacity.publishers):
        return f"no {need.publisher} publisher"
    missing = [source for source in need.sources if source not in capacity.sources]
    if missing == [forwarding.SOURCE]:
        return forwarding.NO_SOURCE
    if missing:
        return f"no input source of type {missing[0]}"
    for constraint in requirements(need.constraints):
        reason = constraint_why_not(constraint, capacity.labels)
        if reason is not None:
            name = capabilities.of_label(constraint.key)
            return capabilities.not_allowed(name) if name else reason
    if not fits(need.resources, capacity.total):
        return "too small: " + _lack(need.resources, capacity.total, "in all")
    return None


def no_network(kind: NetworkType) -> str:
    """Why a peer's containers do not get a network of this type, and who can change it."""
    if kind is NetworkType.HTTP:
        return f"no network of type {kind}"
    # Podman has no bridge that a node can fence in.
    where = ", with Docker as its engine" * (kind is NetworkType.BRIDGE)
    remedy = f"its operator can allow it with serve --allow-network {kind}{where}"
    return f"network {kind} is not offered ({remedy})"


def _lack(need: Resources, room: Resources, which: str) -> str:
    shown: dict[str, tuple[str, Callable[[int], str]]] = {
        "cpu_millis": ("CPU", format_cpu),
        "memory_bytes": ("memory", about_bytes),
        "disk_bytes": ("disk", about_bytes),
        "gpus": ("GPU", str),
    }
    return ", ".join(
        f"{label} {form(getattr(need, name))} asked, {form(getattr(room, name))} {which}"
        for name, (label, form) in shown.items()
        if getattr(need, name) > getattr(room, name)
    )
