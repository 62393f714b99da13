"""Code, CDDL and golden vectors of adverts, placement, execution and logs, held together."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from functools import cache
from typing import Any

import cbor2
import pycddl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pnode import identity
from p2pnode.core.job import (
    asking,
    deputies,
    incoming,
    machine,
    transitions,
)
from p2pnode.core.jobfile import kinds, yamltree
from p2pnode.core.link import detection_times
from p2pnode.core.placement import adverts, standing
from p2pnode.core.placement.matching import requirements_of
from p2pnode.core.records import ending, vetting
from p2pnode.core.replication import replicas
from p2pnode.core.wire import (
    codec,
    fields,
    log_order,
    messages,
    spec,
    states,
)
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.inquiries import JobsPage, LogOrderAnswer, LogOrderRequest, LogsPiece, LogsRequest
from p2pnode.core.wire.messages import Advert, Capacity, Message, Receipt, Signed
from p2pnode.core.wire.signing import RECEIPT_DOMAIN
from p2pnode.core.wire.spec import JobSpec, NetworkType, Resources
from p2pnode.core.wire.states import ExecutionState, JobState, Outcome
from p2pnode.core.worker import machine as worker
from p2pnode.core.worker import owner_tracking, queueing
from p2pnode.ipfs import cid, unixfs
from p2pnode.network import gossip
from p2pnode.network.protocols import adverts as pull
from p2pnode.network.protocols import logs
from p2pnode.node import advertiser, log_orders

from . import vectors as made_vectors
from .cddl_support import PROTOCOLS, definitions

PAGES = ("advert", "placement", "execution", "ownership", "logs", "jobs")
# What a vector's "kind" names: the type in the code, and the rule of the schema.
KINDS: dict[str, tuple[Any, str]] = {
    "message": (Message, "placement-message / execution-message / ownership-message"),
    "advert": (Advert, "advert"),
    "signed": (Signed, "signed"),
    "receipt": (Receipt, "receipt"),
    "logs-request": (LogsRequest, "logs-request"),
    "logs-piece": (LogsPiece, "logs-piece"),
    "log-order-request": (LogOrderRequest, "log-order-request"),
    "log-order-answer": (LogOrderAnswer, "log-order-answer"),
    "jobs-page": (JobsPage, "jobs-page"),
}
DEFINITIONS = definitions("types", "spec", *PAGES)


# What pycddl overlooks though the schema says it.
_OVERLOOKED = {
    "array",
    "nested too deep",
    "award: bytes",
    "award: field of the other engine",
    "logs-piece: text for bytes",
    "bid: text in an extension",
    "award: other engine with an image",
}


@cache
def schema(rule: str) -> pycddl.Schema:
    # pycddl validates against a file's first rule.
    return pycddl.Schema(f"start = {rule}\n{DEFINITIONS}")


def read_untrusted(data: bytes, kind: Any) -> Any:
    return vetting.message_untrusted(data) if kind is Message else codec.decode_untrusted(data, kind)


def vectors(which: str) -> list[Any]:
    return [
        pytest.param(vector, id=f"{page}: {vector['name']}")
        for page in PAGES
        for vector in json.loads((PROTOCOLS / "vectors" / f"{page}.json").read_text())[which]
    ]


def plain(value: Any) -> Any:
    """What the vectors write as {"bytes": hex} is bytes."""
    if isinstance(value, dict):
        if value.keys() == {"bytes"}:
            return bytes.fromhex(value["bytes"])
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("vector", vectors("good"))
def test_good_vectors_are_read_and_written_as_they_are(vector: dict[str, Any]) -> None:
    kind, rule = KINDS[vector["kind"]]
    data = bytes.fromhex(vector["hex"])
    record = read_untrusted(data, kind)
    assert codec.encode(record) == codec.encode(plain(vector["value"])) == data
    schema(rule).validate_cbor(data)


@pytest.mark.parametrize("vector", vectors("bad"))
def test_bad_vectors_are_refused(vector: dict[str, Any]) -> None:
    kind, rule = KINDS[vector["kind"]]
    data = bytes.fromhex(vector["hex"])
    assert vector["why"]
    with pytest.raises(BadMessage) as refused:
        read_untrusted(data, kind)
    # For what it says, and not because it is of a form that the code has left behind.
    if not any(word in vector["name"] for word in ("missing", "without", "no kind")):
        assert "missing required field" not in str(refused.value)
        assert vector.get("schema") == "cannot tell" or "not canonical" not in str(refused.value)
    if vector.get("schema") != "cannot tell" and vector["name"] not in _OVERLOOKED:
        with pytest.raises(pycddl.ValidationError):
            schema(rule).validate_cbor(data)


def good(page: str, kind: str) -> list[Any]:
    found = json.loads((PROTOCOLS / "vectors" / f"{page}.json").read_text())["good"]
    data = [bytes.fromhex(one["hex"]) for one in found if one["kind"] == kind]
    return [codec.decode_untrusted(one, KINDS[kind][0]) for one in data]


def test_ids_in_the_vectors_are_derived_as_the_pages_say() -> None:
    asks = {one.execution: one for one in good("placement", "message") if isinstance(one, messages.Ask)}
    peer = good("advert", "advert")[0].peer
    owner = good("execution", "receipt")[0].requester
    assert asks
    for ask in asks.values():
        assert messages.execution_id(ask.job, 1, owner, ask.round, peer, 0) == ask.execution
    for award in good("placement", "message"):
        if isinstance(award, messages.Award):
            ask = asks[award.execution]
            assert codec.digest(award.spec) == ask.spec_hash
            assert requirements_of(award.spec) == ask.requirements
            assert award.spec.priority == ask.priority


def _sha256(*pieces: bytes) -> bytes:
    return hashlib.sha256(b"".join(pieces)).digest()


def test_vectors_of_ids_are_what_the_code_makes() -> None:
    assert json.loads(made_vectors.IDS.read_text()) == {"ids": made_vectors.ids()}


@pytest.mark.parametrize("vector", made_vectors.ids(), ids=lambda one: f"{one['name']} {one['is']}")
def test_ids_follow_from_the_pages_alone(vector: dict[str, Any]) -> None:
    """Without the program's own code: hashes, CBOR and base32 as the pages name them."""
    of, found = plain(vector["of"]), vector["is"]
    match vector["name"]:
        case "job id" | "execution id":
            digest = _sha256(cbor2.dumps(list(of.values()), canonical=True)).hex()
            assert found == vector["name"][0] + "-" + digest[:32]
        case "cache key":
            kind, name = of.get("type"), cbor2.dumps(of.get("params"), canonical=True)
            if kind is None:
                [(kind, text)] = of.items()
                full = {"alpine": "docker.io/library/alpine:latest"}
                name = full.get(text, text).encode()
            assert found == int.from_bytes(_sha256(kind.encode(), b"\0", name)[:6], "big")
        case "receipt CID":
            binary = bytes.fromhex("01711220") + _sha256(cbor2.dumps(of, canonical=True))
            assert found == "b" + base64.b32encode(binary).decode().lower().rstrip("=")
        case "result CID":
            # Known to be right by Kubo's own (tests/test_ipfs_unixfs.py).
            assert found == unixfs.add_directory(of, cid.make)
        case other:
            pytest.fail(f"no rule for {other}")


def test_signatures_in_the_vectors_hold_for_their_own_domain_only() -> None:
    me = identity.Identity(bytes(range(32)))
    adverts_signed = good("advert", "signed")
    ended = [one.receipt for one in good("execution", "message") if isinstance(one, messages.Ended)]
    assert adverts_signed and ended
    for signed in adverts_signed:
        body = identity.verify_untrusted(me.peer_id, advertiser.DOMAIN, signed)
        assert codec.decode_untrusted(body, Advert) in good("advert", "advert")
    for signed in ended:
        body = identity.verify_untrusted(me.peer_id, RECEIPT_DOMAIN, signed)
        assert codec.decode_untrusted(body, Receipt) in good("execution", "receipt")
        with pytest.raises(BadMessage):
            identity.verify_untrusted(me.peer_id, advertiser.DOMAIN, signed)


_SETTINGS = settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
_SOME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
_NATURALS = st.integers(0, fields.INTEGER_MAX)
_COUNTERS = st.integers(0, fields.COUNTER_MAX)
_MOMENTS = st.integers(0, fields.MOMENT_MS_MAX)
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
)
_SIGNED = st.builds(Signed, body=st.binary(max_size=9), signature=st.binary(min_size=64, max_size=64))
_NAMED = {"execution": _EXECUTIONS, "round": _COUNTERS}
_COUNTS = st.integers(1, fields.COUNTER_MAX)
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
        messages.Award, **_NAMED, replica=_REPLICAS, epoch=_COUNTERS, deputies=some(_SOME), spec=_SPECS
    ),
    st.builds(messages.Release, **_NAMED),
    st.builds(
        messages.Update, **_NAMED, sequence=_COUNTERS, stage=st.sampled_from(states.Stage), detail=_TEXTS
    ),
    st.builds(messages.Ended, **_NAMED, receipt=_SIGNED),
    st.builds(messages.Cancel, **_NAMED, reason=_TEXTS),
    st.builds(messages.Adopt, **_NAMED, job=_JOBS, epoch=_COUNTERS, deputies=some(_SOME)),
    st.builds(messages.Orphan, **_NAMED, job=_JOBS, replica=_REPLICAS, owner=_SOME, epoch=_COUNTERS),
    st.builds(messages.WhoOwns, job=_JOBS, epoch=_COUNTERS),
    st.builds(messages.Owned, job=_JOBS, epoch=_COUNTERS, owner=_SOME),
    st.builds(
        messages.Command,
        job=_JOBS,
        action=st.sampled_from(messages.CommandAction),
        reason=_TEXTS,
        spec=optional(_SPECS),
    ),
    st.builds(
        messages.Replicate,
        job=_JOBS,
        epoch=_COUNTERS,
        revision=_COUNTERS,
        full=st.booleans(),
        requester=_SOME,
        deputies=some(_SOME),
        past_members=some(_SOME),
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
                receipt_cid=optional(_SOME),
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
_RECORDS: dict[str, st.SearchStrategy[Any]] = {
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
}


@pytest.mark.parametrize("kind", _RECORDS)
def test_whatever_is_encoded_is_as_the_schema_says_and_comes_back(kind: str) -> None:
    type_, rule = KINDS[kind]

    @_SETTINGS
    @given(_RECORDS[kind])
    def holds(record: Any) -> None:
        data = codec.encode(record)
        schema(rule).validate_cbor(data)
        assert codec.decode_untrusted(data, type_) == record

    holds()


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_bad_message(data: bytes) -> None:
    for kind, _ in KINDS.values():
        with contextlib.suppress(BadMessage):
            codec.decode_untrusted(data, kind)


_GOOD_BYTES = [bytes.fromhex(one.values[0]["hex"]) for one in vectors("good")]


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(_GOOD_BYTES), st.integers(0), st.binary(min_size=1, max_size=3))
def test_a_good_message_with_some_bytes_changed_is_a_message_or_a_bad_message(
    data: bytes, at: int, change: bytes
) -> None:
    at %= len(data)
    for kind, _ in KINDS.values():
        with contextlib.suppress(BadMessage):
            changed = data[:at] + change + data[at + len(change) :]
            assert codec.encode(codec.decode_untrusted(changed, kind)) == changed


def test_the_order_of_an_output_is_limited() -> None:
    most = codec.encode(LogOrderAnswer(runs=(fields.INTEGER_MAX,) * log_order.RUNS_MAX))
    assert len(most) <= log_orders.FRAME_SIZE_BYTES_MAX
    assert codec.decode_untrusted(most, LogOrderAnswer)
    too_much = codec.encode(LogOrderAnswer(runs=(0,) * (log_order.RUNS_MAX + 1)))
    with pytest.raises(BadMessage):
        codec.decode_untrusted(too_much, LogOrderAnswer)


def test_a_piece_of_a_log_is_limited() -> None:
    most = codec.encode(LogsPiece(stream="stdout", data=bytes(fields.LOGS_PIECE_SIZE_BYTES_MAX)))
    assert len(most) <= logs.FRAME_SIZE_BYTES_MAX
    assert codec.decode_untrusted(most, LogsPiece)
    too_much = codec.encode(LogsPiece(stream="stdout", data=bytes(fields.LOGS_PIECE_SIZE_BYTES_MAX + 1)))
    with pytest.raises(BadMessage):
        codec.decode_untrusted(too_much, LogsPiece)


def typical_advert(labels: dict[str, str]) -> bytes:
    advert = good("advert", "advert")[0]
    total = Resources(cpu_millis=128_000, memory_bytes=2**41, disk_bytes=2**50, gpus=8)
    capacity = codec.replace(advert.capacity, labels=advert.capacity.labels | labels, total=total, free=total)
    addresses = (
        *("/ip4/203.0.113.255/tcp/65535", "/ip6/2001:db8:1234:5678:9abc:def0:1234:5678/tcp/65535"),
        *("/ip4/192.168.100.100/tcp/65535", "/dns4/a-node-of-ours.compute.example.org/tcp/65535"),
    )
    return codec.encode(codec.replace(advert, capacity=capacity, addresses=addresses, name="n" * 63))


def test_a_well_equipped_nodes_advert_fits() -> None:
    labels = {f"example.org/label-{index}": "some-value-or-other" for index in range(16)}
    assert len(typical_advert({})) <= fields.ADVERT_SIZE_BYTES_MAX / 2
    assert len(typical_advert(labels)) <= fields.ADVERT_SIZE_BYTES_MAX


def test_an_advert_that_keeps_to_every_field_can_still_be_too_large_and_is_refused() -> None:
    data = typical_advert({f"k{index}": "v" * 256 for index in range(8)})
    assert codec.decode_untrusted(data, Advert)
    with pytest.raises(BadMessage, match="over the limit"):
        codec.decode_untrusted(data, Advert, fields.ADVERT_SIZE_BYTES_MAX)


def test_the_wire_takes_whatever_a_job_file_can_hold() -> None:
    assert spec.MEMBERS_MAX >= yamltree.NODES_MAX
    # All inputs of a list, and those that an old form of a WASM engine adds.
    assert spec.MEMBERS_MAX >= 2 * kinds.LIST_COUNT_MAX + 1
    assert spec.TEXT_LENGTH_MAX >= yamltree.TEXT_SIZE_BYTES_MAX


def test_the_pages_name_the_limits_that_the_code_has() -> None:
    limits: dict[str, list[str]] = {
        "README": [
            f"{codec.MESSAGE_SIZE_BYTES_MAX:,}",
            f"{codec.NESTING_DEPTH_MAX} deep",
            f"{fields.ADVERT_SIZE_BYTES_MAX:,}",
            f"{fields.REASON_LENGTH_MAX:,}",
            f"{spec.MEMBERS_MAX:,}",
            f"{spec.TEXT_LENGTH_MAX:,}",
            f"{spec.REPLICAS_MAX:,}",
        ],
        "advert": [
            f"{fields.ADVERT_SIZE_BYTES_MAX:,}",
            f"{gossip.GOSSIP_SIZE_BYTES_MAX:,}",
            gossip.TOPIC,
            pull.PROTOCOL.removeprefix("/"),
            f"{adverts.ADVERT_INTERVAL_S_MIN:g} s",
            f"{adverts.ADVERT_GAP_S:g} s",
            f"{adverts.PEERS_MAX:,}",
            f"{adverts.UNMET_PER_FORWARDER_MAX:,}",
            f"{adverts.ANSWER_S_MAX:g} s",
            f"{adverts.SILENT_FOR_S / 60:g} minutes",
            f"more than {adverts.SILENT_PER_FORWARDER_MAX}",
            f"{adverts.CLOCK_SKEW_MS_MAX:,} ms",
            f"{adverts.ADVERT_TTL_MS_MAX:,} ms",
        ],
        "placement": [
            f"{asking.BID_WINDOW_S:g} s",
            f"{asking.ENOUGH_WAIT_S:g} s",
            f"{asking.REFUSAL_HOLDS_S:g} s",
            f"{transitions.AWARD_CONFIRM_S:g} s",
            f"{incoming.BID_MARGIN_S:g} s",
            f"{worker.BID_VALID_S:g} s",
            f"{worker.BID_MISSED_S:g} s",
            f"{worker.WAITING_PER_PEER_MAX} ",
            f"{worker.WAITING_OF_STRANGERS_MAX} ",
            f"{standing.OPEN_BIDS_PER_PEER_MAX} ",
            f"{standing.OPEN_BIDS_PER_STRANGER_MAX} ",
            f"{standing.MISSES_MAX} misses",
            f"{standing.MISS_FORGOTTEN_S:g} s",
            f"{queueing.STRANGERS_PERCENT} %",
            f"{queueing.LOANS_MAX} ",
        ],
        "execution": [
            f"{worker.PREPARE_TIMEOUT_S / 60:g} minutes",
            f"{ending.PUBLISH_TIMEOUT_S / 60:g} minutes",
            f"{ending.STOP_GRACE_S} s if null",
            f"{ending.STOP_GRACE_S_MAX} s, or",
            f"{ending.KEEP_TIMEOUT_S:g} s, or",
            f"{incoming.OVERDUE_GRACE_S:g} s",
            f"{detection_times.LOST_AFTER_CLOSE_S:g} s",
        ],
        "ownership": [
            f"{fields.COPIES_PER_MESSAGE_MAX} executions",
            f"{fields.LINES_PER_MESSAGE_MAX} lines",
            f"{detection_times.STAGGER_S:g} s later",
            f"{detection_times.CUT_OFF_WAIT_S:g} s more",
            f"{worker.ENDED_KEPT_S / 60:g} minutes",
            f"{owner_tracking.ORPHAN_TIMEOUT_S / 60:g} minutes",
            f"up to {machine.HOLD_S:g} s",
            f"{replicas.ASK_OWNER_S:g} s",
            f"epoch + {1 + deputies.DEPUTIES_MAX}",
            f"{vetting.EPOCH_STEP_MAX:,} ahead",
        ],
        "logs": [
            logs.PROTOCOL,
            f"{logs.FRAME_SIZE_BYTES_MAX:,}",
            f"{fields.LOGS_PIECE_SIZE_BYTES_MAX:,}",
            f"{logs.REQUEST_TIMEOUT_S:g} s",
            f"{logs.KEEP_ALIVE_INTERVAL_S:g} s",
            f"{logs.READ_TIMEOUT_S:g} s",
            log_orders.PROTOCOL,
            f"{log_orders.FRAME_SIZE_BYTES_MAX:,}",
            f"{log_orders.TIMEOUT_S:g} s",
            f"{log_order.RUNS_MAX:,}",
            f"{log_orders.ASKED_BURST:g} times at once",
            f"{log_orders.ASKED_RATE_PER_S:g} times in a second",
        ],
    }
    for page, stated in limits.items():
        text = (PROTOCOLS / f"{page}.md").read_text()
        assert [one for one in stated if one not in text] == []
