"""Any record of the wire that its type allows, drawn by Hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from p2pnode.core.wire import fields, mandates, messages, spec, states
from p2pnode.core.wire.exec import (
    ExecBody,
    ExecEnd,
    ExecInput,
    ExecOutput,
    ExecRequest,
    ExecResize,
    ExecTaken,
    Terminal,
)
from p2pnode.core.wire.inquiries import LogsPiece, LogsRequest
from p2pnode.core.wire.mandates import NONCE_SIZE_BYTES, Charter, CommandBody, Extension, Mandate
from p2pnode.core.wire.messages import Advert, Capacity, Receipt
from p2pnode.core.wire.places import PlacesTold, PlaceTold
from p2pnode.core.wire.signing import Signed
from p2pnode.core.wire.spec import JobSpec, NetworkType, Resources
from p2pnode.core.wire.states import ExecutionState, JobState, Outcome

from .wire_network_records import NETWORK_RECORDS

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
_SOME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
_NATURALS = st.integers(0, fields.INTEGER_MAX)
_COUNTERS = st.integers(0, fields.COUNTER_MAX)
_MOMENTS = st.integers(0, fields.MOMENT_MS_MAX)
_SIZE_CLASSES = st.integers(0, fields.SIZE_CLASS_MAX)
_AMOUNTS = st.integers(0, 2**53 - 1)
_MAPS = st.dictionaries(_TEXTS, _TEXTS, max_size=2)


def hexadecimal(prefix: str, digits: int) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=digits, max_size=digits).map(lambda text: prefix + text)


def some(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=3).map(tuple)


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


_EXECUTIONS, _JOBS, _DIGESTS = hexadecimal("e-", 32), hexadecimal("j-", 32), hexadecimal("", 64)
_RESOURCES = st.builds(
    Resources,
    cpu_millis=_AMOUNTS,
    memory_bytes=_AMOUNTS,
    disk_bytes=_AMOUNTS,
    gpus=st.integers(0, 1024),
)
_CONSTRAINTS = some(
    st.builds(spec.Constraint, key=_SOME, operator=st.sampled_from(spec.Operator), values=some(_TEXTS))
)
_SCALARS = _TEXTS | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1)
_SOURCES = st.builds(
    spec.Source,
    type=_SOME,
    params=st.dictionaries(_SOME, _SCALARS | st.dictionaries(_SOME, _SCALARS, max_size=2), max_size=2),
)
_ENGINES = st.builds(
    spec.DockerTask,
    image=_SOME,
    entrypoint=optional(some(_TEXTS)),
    parameters=some(_TEXTS),
    environment=_MAPS,
    working_directory=_TEXTS,
    meta=_MAPS,
) | st.builds(
    spec.WasmTask,
    entry_module=_SOME,
    entrypoint=_SOME,
    parameters=some(_TEXTS),
    import_modules=some(_TEXTS),
    environment=_MAPS,
)
_PORTS = st.builds(
    spec.Port,
    name=_SOME,
    static=optional(st.integers(1, 65_535)),
    target=optional(st.integers(1, 65_535)),
    host_network=_TEXTS,
)
_SECONDS = optional(st.integers(0, 315_360_000))
_TASKS = st.builds(
    spec.Task,
    engine=_ENGINES,
    name=_SOME,
    publisher=optional(_SOURCES),
    environment=_MAPS,
    meta=_MAPS,
    inputs=some(st.builds(spec.InputSource, source=_SOURCES, target=_SOME, alias=_TEXTS)),
    results=some(st.builds(spec.ResultPath, name=_SOME, path=_SOME)),
    resources=_RESOURCES,
    network=st.builds(
        spec.Network, type=st.sampled_from(NetworkType), domains=some(_TEXTS), ports=some(_PORTS)
    ),
    timeouts=st.builds(
        spec.Timeouts, execution_s=_SECONDS, queue_s=_SECONDS, total_s=_SECONDS, stop_grace_s=_SECONDS
    ),
)
_SPECS = st.builds(
    JobSpec,
    type=st.sampled_from(spec.JobType),
    task=_TASKS,
    name=_TEXTS,
    namespace=_SOME,
    priority=st.integers(-(2**53) + 1, 2**53 - 1),
    count=st.integers(0, spec.REPLICAS_MAX),
    deputies=st.integers(0, spec.DEPUTIES_NAMED_MAX),
    constraints=_CONSTRAINTS,
    meta=_MAPS,
    labels=_MAPS,
)
_OFFERS = st.builds(
    Capacity,
    engines=some(_SOME),
    publishers=some(_SOME),
    sources=some(_SOME),
    networks=some(st.sampled_from(NetworkType)),
    labels=st.dictionaries(_SOME, _TEXTS, max_size=3),
    total=_RESOURCES,
    free=_RESOURCES,
    price_micros=_NATURALS,
    scheduling=st.sampled_from(states.Scheduling),
    cached=some(st.tuples(st.integers(0, 2**48 - 1), _SIZE_CLASSES)),
    fetch_rate=_SIZE_CLASSES,
)
_SIGNED = st.builds(Signed, body=st.binary(max_size=9), signature=st.binary(min_size=64, max_size=64))
_MANDATES = st.builds(Mandate, charter=_SIGNED, chain=some(_SIGNED))
_MEMBERS = st.lists(_SOME, min_size=1, max_size=3).map(tuple)
_NAMED = {"execution": _EXECUTIONS, "round": _COUNTERS}
_COUNTS = st.integers(1, fields.COUNTER_MAX)
_SIDES = st.integers(1, 65_535)
_FAULTS = optional(st.sampled_from(states.Fault))
_REPLICAS = st.integers(0, spec.REPLICAS_MAX - 1)
_MESSAGES = st.one_of(
    st.builds(
        messages.Ask,
        **_NAMED,
        job=_JOBS,
        spec_hash=_DIGESTS,
        priority=st.integers(-(2**53) + 1, 2**53 - 1),
        requirements=st.builds(
            messages.Requirements,
            engine=_SOME,
            resources=_RESOURCES,
            constraints=_CONSTRAINTS,
            network=st.sampled_from(NetworkType),
            publisher=_TEXTS,
            sources=some(_SOME),
        ),
        sizes=some(_SIZE_CLASSES),
    ),
    st.builds(
        messages.Bid,
        **_NAMED,
        valid_ms=st.integers(0, fields.BID_VALID_MS_MAX),
        price_micros=_NATURALS,
        start_ms=_MOMENTS,
    ),
    st.builds(
        messages.Refusal,
        **_NAMED,
        refusal_kind=st.sampled_from(states.RefusalKind),
        reason=st.text(max_size=2000),
    ),
    st.builds(
        messages.Award,
        **_NAMED,
        replica=_REPLICAS,
        mandate=_MANDATES,
        spec=_SPECS,
        changed_by=optional(_SIGNED),
    ),
    st.builds(messages.Release, **_NAMED),
    st.builds(
        messages.Update, **_NAMED, sequence=_COUNTERS, stage=st.sampled_from(states.Stage), detail=_TEXTS
    ),
    st.builds(messages.Ended, **_NAMED, receipt=_SIGNED),
    st.builds(messages.Cancel, **_NAMED, reason=_TEXTS),
    st.builds(messages.Adopt, **_NAMED, job=_JOBS, mandate=_MANDATES),
    st.builds(messages.Orphan, **_NAMED, job=_JOBS, replica=_REPLICAS, owner=_SOME),
    st.builds(messages.WhoOwns, job=_JOBS, owner=_SOME, whole=st.booleans()),
    st.builds(messages.Owned, job=_JOBS, owner=_SOME, mandate=_MANDATES),
    st.builds(messages.Command, job=_JOBS, signed=_SIGNED, spec=optional(_SPECS)),
    st.builds(
        messages.Replicate,
        job=_JOBS,
        mandate=_MANDATES,
        acts_since_ms=_MOMENTS,
        revision=_COUNTERS,
        full=st.booleans(),
        past_members=some(_SOME),
        commands=some(_SIGNED),
        state=st.sampled_from(JobState),
        reason=_TEXTS,
        outcome=optional(st.sampled_from(Outcome)),
        first_failure=_TEXTS,
        version=_COUNTS,
        run=_COUNTS,
        round=_COUNTERS,
        age_ms=_MOMENTS,
        created_ms=_MOMENTS,
        modified_ms=_MOMENTS,
        spec=optional(_SPECS),
        versions=some(
            st.builds(
                messages.VersionCopy,
                version=_COUNTS,
                spec_hash=_DIGESTS,
                work=_DIGESTS,
                submitted_ms=_MOMENTS,
            )
        ),
        executions=some(
            st.builds(
                messages.ExecutionCopy,
                id=_EXECUTIONS,
                peer=_SOME,
                round=_COUNTERS,
                version=_COUNTS,
                run=_COUNTS,
                state=st.sampled_from(ExecutionState),
                replica=_REPLICAS,
                owner=_SOME,
                reason=_TEXTS,
                exit_code=optional(st.integers(0, 255)),
                fault=_FAULTS,
                result_cid=optional(_SOME),
                receipt=optional(_SIGNED),
                created_ms=_MOMENTS,
                modified_ms=_MOMENTS,
                started_ms=optional(_MOMENTS),
            )
        ),
        history=some(
            st.builds(
                messages.Line,
                at_ms=_MOMENTS,
                topic=_TEXTS,
                text=_TEXTS,
                execution=_TEXTS,
                peer=_TEXTS,
                state=_TEXTS,
            )
        ),
    ),
)
RECORDS: dict[str, st.SearchStrategy[Any]] = {
    "message": _MESSAGES,
    "advert": st.builds(
        Advert,
        peer=_SOME,
        number=_NATURALS,
        issued_ms=_MOMENTS,
        ttl_ms=_MOMENTS,
        name=_TEXTS,
        version=_TEXTS,
        capacity=_OFFERS,
        addresses=some(_SOME),
        protocols=some(_SOME),
        leaving=st.booleans(),
    ),
    "signed": _SIGNED,
    "mandate": _MANDATES,
    "charter": st.builds(
        Charter,
        job=_JOBS,
        nonce=st.binary(min_size=NONCE_SIZE_BYTES, max_size=NONCE_SIZE_BYTES),
        serial=_COUNTERS,
        type=st.sampled_from(spec.JobType),
        version=_COUNTS,
        spec_hash=_DIGESTS,
        members=_MEMBERS,
        controllers=some(_SOME),
        trusted=some(_SOME),
    ),
    "extension": st.builds(Extension, job=_JOBS, after=_DIGESTS, signer=_SOME, members=_MEMBERS),
    "command-body": st.builds(
        CommandBody,
        job=_JOBS,
        controller=_SOME,
        number=_MOMENTS,
        action=st.sampled_from(mandates.CommandAction),
        reason=_TEXTS,
        spec_hash=optional(_DIGESTS),
    ),
    "places-told": st.builds(
        PlacesTold,
        places=some(
            st.builds(
                PlaceTold,
                name=_SOME,
                peers=some(_SOME),
                labels=st.dictionaries(_SOME, _TEXTS, max_size=2),
                roles=some(_SOME),
                price_micros_max=optional(_NATURALS),
            )
        ),
    ),
    "receipt": st.builds(
        Receipt,
        **_NAMED,
        job=_JOBS,
        replica=_REPLICAS,
        peer=_SOME,
        requester=_SOME,
        spec_hash=_DIGESTS,
        program=_TEXTS,
        inputs=some(_SOME),
        exit_code=optional(st.integers(0, 255)),
        fault=_FAULTS,
        reason=_TEXTS,
        result_cid=optional(_SOME),
        started_ms=_MOMENTS,
        ended_ms=_MOMENTS,
        cpu_ms=_NATURALS,
        memory_bytes=_NATURALS,
    ),
    "logs-request": st.builds(
        LogsRequest,
        execution=_EXECUTIONS,
        stdout_offset=_NATURALS,
        stderr_offset=_NATURALS,
        follow=st.booleans(),
    ),
    "logs-piece": st.builds(
        LogsPiece, stream=st.sampled_from(["stdout", "stderr"]), data=st.binary(max_size=99)
    ),
    "exec-request": st.builds(ExecRequest, signed=_SIGNED),
    "exec-body": st.builds(
        ExecBody,
        job=_JOBS,
        execution=_EXECUTIONS,
        peer=_SOME,
        controller=_SOME,
        command=st.lists(_TEXTS, min_size=1, max_size=3).map(tuple),
        terminal=optional(
            st.builds(
                Terminal,
                columns=_SIDES,
                rows=_SIDES,
                type=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,63}", fullmatch=True),
            )
        ),
        stdin=st.booleans(),
    ),
    "exec-from-controller": st.builds(ExecInput, data=st.binary(max_size=99), end=st.booleans())
    | st.builds(ExecResize, columns=_SIDES, rows=_SIDES),
    "exec-from-peer": st.builds(
        ExecOutput, stream=st.sampled_from(["stdout", "stderr"]), data=st.binary(max_size=99)
    )
    | st.builds(ExecTaken, size_bytes=st.integers(1, 2**18))
    | st.builds(ExecEnd, exit_code=optional(st.integers(0, 255)), reason=_TEXTS),
    **NETWORK_RECORDS,
}
