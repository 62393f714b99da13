"""Messages as an enemy makes them: right in themselves, but for what the caller changes."""

from __future__ import annotations

import os
import time
from typing import Any

import cbor2

from p2pnode.core.placement.matching import requirements_of
from p2pnode.core.records import mandate
from p2pnode.core.records.lifecycle import ExecutionState, JobState
from p2pnode.core.values.trust import ANYBODY
from p2pnode.core.wire import codec
from p2pnode.core.wire import spec as specs
from p2pnode.core.wire.mandates import (
    NONCE_SIZE_BYTES,
    CommandAction,
    CommandBody,
    Extension,
    Mandate,
    job_id,
)
from p2pnode.core.wire.messages import (
    Advert,
    Ask,
    Award,
    Capacity,
    Command,
    ExecutionCopy,
    Line,
    Receipt,
    Replicate,
    VersionCopy,
)
from p2pnode.core.wire.signing import EXTENSION_DOMAIN, Signed
from p2pnode.identity import Identity
from p2pnode.node.advertiser import DOMAIN as ADVERT_DOMAIN

A_CID = "bafkreigeud3jwrymzwafqso23lhb3246k4oy5ynntpn5f3f77tclflrcde"


def a_job() -> str:
    """The id of nobody's job."""
    return "j-" + os.urandom(16).hex()


def a_mandate(
    requester: Identity, *deputies: str, wanted: specs.JobSpec | None = None, **changes: Any
) -> Mandate:
    """A charter of a new job of the requester, with these deputies."""
    nonce = os.urandom(NONCE_SIZE_BYTES)
    me = requester.peer_id
    plain = mandate.first_charter(job_id(me, nonce), nonce, me, wanted or a_spec(), ANYBODY)
    return mandate.chartered(requester, codec.replace(plain, **{"members": (me, *deputies), **changes}))


def an_extension(given: Mandate, signer: Identity, *members: str, **changes: Any) -> Mandate:
    """The mandate with more members, by whoever signs that."""
    last = given.chain[-1] if given.chain else given.charter
    plain = Extension(job=job_of(given), after=codec.digest(last), signer=signer.peer_id, members=members)
    signed = mandate.sign(signer, EXTENSION_DOMAIN, codec.replace(plain, **changes))
    return codec.replace(given, chain=(*given.chain, signed))


def job_of(given: Mandate) -> str:
    """The job that a charter names, be the rest of it as it may."""
    job: str = cbor2.loads(given.charter.body)["job"]
    return job


def a_command(
    signer: Identity, job: str, action: CommandAction, wanted: specs.JobSpec | None = None, **changes: Any
) -> Command:
    """A command by whoever signs that."""
    plain = CommandBody(
        job=job,
        controller=signer.peer_id,
        number=int(time.time() * 1000),
        action=action,
        reason="because",
        spec_hash=None if wanted is None else codec.digest(wanted),
    )
    signed = mandate.commanded(signer, codec.replace(plain, **changes))
    return Command(job=job, signed=signed, spec=wanted)


def an_execution() -> str:
    return "e-" + os.urandom(16).hex()


def a_spec(module: str = A_CID, cpu_millis: int = 100, **changes: Any) -> specs.JobSpec:
    source = specs.Source(type="ipfs", params={"CID": module})
    task = specs.Task(
        engine=specs.WasmTask(entry_module="/program.wasm"),
        inputs=(specs.InputSource(source=source, target="/program.wasm"),),
        resources=specs.Resources(cpu_millis=cpu_millis, memory_bytes=64_000_000),
        results=(specs.ResultPath(name="outputs", path="/outputs"),),
    )
    return specs.JobSpec(type=specs.JobType.BATCH, task=task, **changes)


def an_ask(asked: specs.JobSpec, **changes: Any) -> Ask:
    plain = Ask(
        execution=an_execution(),
        job=a_job(),
        round=1,
        spec_hash=codec.digest(asked),
        priority=asked.priority,
        requirements=requirements_of(asked),
    )
    return codec.replace(plain, **changes)


def an_award(ask: Ask, asked: specs.JobSpec, given: Mandate, **changes: Any) -> Award:
    plain = Award(
        execution=ask.execution, round=ask.round, replica=0, mandate=given, spec=asked, changed_by=None
    )
    return codec.replace(plain, **changes)


def a_copy(whose: str, **changes: Any) -> ExecutionCopy:
    plain = ExecutionCopy(
        id=an_execution(),
        peer=whose,
        round=1,
        version=1,
        run=1,
        state=ExecutionState.RUNNING,
        replica=0,
        owner=whose,
        reason="",
        exit_code=None,
        fault=None,
        result_cid=None,
        receipt=None,
        created_ms=1,
        modified_ms=1,
        started_ms=None,
    )
    return codec.replace(plain, **changes)


def a_keep(requester: Identity, *deputies: str, **changes: Any) -> Replicate:
    """The words of a requester on a new job of its own."""
    # Whoever takes it over finds nobody to run it.
    nowhere = specs.Constraint(key="name", operator=specs.Operator.EQUALS, values=("nobody",))
    spec = changes.get("spec") or a_spec(constraints=(nowhere,))
    given = changes.get("mandate") or a_mandate(requester, *deputies, wanted=spec)
    plain = Replicate(
        job=job_of(given),
        mandate=given,
        acts_since_ms=1,
        revision=1,
        full=True,
        past_members=(),
        commands=(),
        state=JobState.RUNNING,
        reason="",
        outcome=None,
        first_failure="",
        version=1,
        run=1,
        round=1,
        age_ms=0,
        created_ms=1,
        modified_ms=1,
        spec=spec,
        versions=(VersionCopy(version=1, spec_hash=codec.digest(spec), work="0" * 64, submitted_ms=1),),
        executions=(a_copy(requester.peer_id),),
        history=(),
    )
    return codec.replace(plain, **changes)


def a_line(**changes: Any) -> Line:
    plain = Line(at_ms=1, topic="Job", text="hello", execution="", peer="", state="Running")
    return codec.replace(plain, **changes)


def a_receipt(execution: str, peer: str, job: str) -> Receipt:
    return Receipt(
        job=job,
        execution=execution,
        round=1,
        replica=0,
        peer=peer,
        requester=peer,
        spec_hash="0" * 64,
        program="",
        inputs=(),
        exit_code=0,
        fault=None,
        reason="",
        result_cid=A_CID,
        started_ms=1,
        ended_ms=2,
        cpu_ms=1,
        memory_bytes=1,
    )


def an_advert(peer: str, addresses: tuple[str, ...] = (), name: str = "liar", **changes: Any) -> Advert:
    """An advert that offers a lot, under the label `liar`."""
    resources = specs.Resources(cpu_millis=64_000, memory_bytes=10**12, disk_bytes=10**12)
    now_ms = int(time.time() * 1000)
    plain = Advert(
        peer=peer,
        number=now_ms,
        issued_ms=now_ms,
        ttl_ms=60_000,
        name=name,
        version="1",
        capacity=Capacity(
            engines=("wasm",),
            publishers=("ipfs", "none"),
            sources=("ipfs",),
            networks=(specs.NetworkType.NONE,),
            labels={"liar": "yes"},
            total=resources,
            free=resources,
        ),
        addresses=addresses,
    )
    return codec.replace(plain, **changes)


def signed_advert(identity: Identity, advert: Advert) -> Signed:
    body = codec.encode(advert)
    return Signed(body=body, signature=identity.sign(ADVERT_DOMAIN, body))
