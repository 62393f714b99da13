"""Limits of the wire: what they take and refuse, and that the pages name them."""

from __future__ import annotations

import pytest

from p2pnode.core.job import asking, deputies, incoming, machine, refusals, transitions
from p2pnode.core.job import limits as stage_limits
from p2pnode.core.jobfile import kinds, yamltree
from p2pnode.core.link import detection_times
from p2pnode.core.placement import advertising, adverts, arrival, hearsay, standing
from p2pnode.core.records import ending, vetting
from p2pnode.core.replication import replicas
from p2pnode.core.wire import codec, fields, log_order, spec
from p2pnode.core.wire import exec as exec_records
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.exec import ExecInput, ExecOutput, FromController, FromPeer
from p2pnode.core.wire.inquiries import LogOrderAnswer, LogsPiece
from p2pnode.core.wire.messages import Advert
from p2pnode.core.wire.spec import Resources
from p2pnode.core.worker import bidding, entering, executions, owner_tracking, queueing
from p2pnode.core.worker import state as worker_state
from p2pnode.engines.docker.exec import HANGUP_GRACE_S
from p2pnode.network import gossip
from p2pnode.network.protocols import adverts as pull
from p2pnode.network.protocols import exec as exec_streams
from p2pnode.network.protocols import logs
from p2pnode.node import log_orders

from .cddl_support import PROTOCOLS
from .protocol_support import good


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


def test_a_frame_of_an_exec_is_limited() -> None:
    most = ExecOutput(stream="stdout", data=bytes(exec_records.EXEC_DATA_SIZE_BYTES_MAX))
    assert len(codec.encode(most)) <= exec_streams.FRAME_SIZE_BYTES_MAX
    for good_frame, kind in ((most, FromPeer), (ExecInput(data=most.data, end=False), FromController)):
        assert codec.decode_untrusted(codec.encode(good_frame), kind) == good_frame
        too_much = codec.replace(good_frame, data=most.data + b"x")
        with pytest.raises(BadMessage, match="length"):
            codec.decode_untrusted(codec.encode(too_much), kind)


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
            f"{adverts.advert_gap_s(0):g} s after",
            f"taken for {advertising.ROOM_LASTS_S:g} s",
            f"{adverts.ADVERT_INTERVAL_S_MAX:,g} s",
            f"{adverts.PEERS_MAX:,}",
            f"{hearsay.UNMET_PER_FORWARDER_MAX:,}",
            f"{adverts.ANSWER_S_MAX:g} s",
            f"{adverts.SILENT_FOR_S / 60:g} minutes",
            f"more than {adverts.SILENT_PER_FORWARDER_MAX}",
            f"{adverts.CLOCK_SKEW_MS_MAX:,} ms",
            f"{adverts.ADVERT_TTL_MS_MAX:,} ms",
        ],
        "placement": [
            f"{asking.BID_WINDOW_S:g} s",
            f"{asking.ENOUGH_WAIT_S:g} s",
            f"{asking.BETTER_WAIT_S:g} s later",
            f"after {arrival.PATIENCE_S_MAX:g} s",
            f"{refusals.REFUSAL_HOLDS_S:g} s",
            f"{refusals.REFUSED_AWARD_HOLDS_S / 60:g} minutes",
            f"{transitions.AWARD_CONFIRM_S:g} s",
            f"{incoming.BID_MARGIN_S:g} s",
            f"{worker_state.BID_VALID_S:g} s",
            f"{worker_state.BID_MISSED_S:g} s",
            f"{bidding.WAITING_PER_PEER_MAX} ",
            f"{bidding.WAITING_OF_STRANGERS_MAX} ",
            f"{standing.OPEN_BIDS_PER_PEER_MAX} ",
            f"{standing.OPEN_BIDS_PER_STRANGER_MAX} ",
            f"{standing.MISSES_MAX} misses",
            f"{standing.MISS_FORGOTTEN_S:g} s",
            f"{queueing.STRANGERS_PERCENT} %",
            f"{queueing.LOANS_MAX} ",
        ],
        "execution": [
            f"{ending.PREPARE_TIMEOUT_S / 60:g} minutes",
            f"{ending.PUBLISH_TIMEOUT_S / 60:g} minutes",
            f"{spec.STOP_GRACE_S} s if null",
            f"{spec.STOP_GRACE_S_MAX} s, or",
            f"{ending.KEEP_TIMEOUT_S:g} s, or",
            f"{stage_limits.OVERDUE_GRACE_S:g} s",
            f"{stage_limits.PREPARE_SILENCE_S / 60:g} minutes without an update",
            f"{detection_times.LOST_AFTER_CLOSE_S:g} s",
        ],
        "ownership": [
            f"{fields.COPIES_PER_MESSAGE_MAX} executions",
            f"{fields.LINES_PER_MESSAGE_MAX} lines",
            f"{detection_times.STAGGER_S:g} s later",
            f"{detection_times.CUT_OFF_WAIT_S:g} s more",
            f"{executions.ENDED_KEPT_S / 60:g} minutes",
            f"{owner_tracking.ORPHAN_TIMEOUT_S / 60:g} minutes",
            f"up to {machine.HOLD_S:g} s",
            f"{replicas.ASK_OWNER_S:g} s",
            f"{fields.MEMBERS_NAMED_MAX} members in all",
            f"{fields.CONTROLLERS_MAX} peers whose users",
            f"{fields.TRUSTED_MAX} peers; if there are any",
            f"last {fields.COMMANDS_TOLD_MAX} commands",
            f"{replicas.COMMANDS_WAITING_MAX} commands of a job",
            f"nobody has told it of the job for {replicas.COMMAND_ANSWER_S:g} s",
            f"named again for {deputies.UNNEEDED_HOLDS_S / 60:g} minutes",
            f"{replicas.COPIES_MAX:,} copies",
            f"{replicas.COPIES_PER_PEER_MAX:,} of one owner",
            f"{vetting.COUNTER_TAKEN_MAX:,}",
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
        "exec": [
            exec_streams.PROTOCOL,
            f"{exec_streams.FRAME_SIZE_BYTES_MAX:,}",
            f"{exec_records.EXEC_DATA_SIZE_BYTES_MAX:,}",
            f"{exec_records.COMMAND_SIZE_BYTES_MAX:,}",
            f"1 to {exec_records.ARGUMENTS_MAX},",
            f"within {exec_streams.REQUEST_TIMEOUT_S:g} s",
            f"nothing for {exec_streams.KEEP_ALIVE_INTERVAL_S:g} s",
            f"nothing for {exec_streams.READ_TIMEOUT_S:g} s",
            f"within {exec_streams.WRITE_TIMEOUT_S:g} s ends",
            f"at most {exec_records.EXEC_WINDOW_BYTES:,} bytes of data",
            f"as {exec_records.PIECE_COST_BYTES_MIN:,} bytes at least",
            f"when {exec_streams.TOLD_BYTES_MIN:,} bytes are taken",
            f"{entering.ENTERED_PER_EXECUTION_MAX} programs are in this",
            f"{entering.ENTERED_MAX} on this peer",
            f"SIGKILL {HANGUP_GRACE_S:g} s later",
        ],
    }
    for page, stated in limits.items():
        # Wherever its lines break.
        text = " ".join((PROTOCOLS / f"{page}.md").read_text().split())
        assert [one for one in stated if one not in text] == []
