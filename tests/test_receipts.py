"""How a program ended is one value, from its engine over the disk to the receipt."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pnode.core import jobfile
from p2pnode.core.placement.matching import requirements_of
from p2pnode.core.records import receipts
from p2pnode.core.records.program_end import ProgramEnd, failed
from p2pnode.core.records.reservations import Reservation
from p2pnode.core.wire.messages import Award
from p2pnode.core.wire.states import Fault
from p2pnode.node import ended_on_disk

from .core_support import a_mandate

CID = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
JOB = f"""
Type: batch
Tasks:
  - Name: main
    Engine: {{Type: docker, Params: {{Image: alpine}}}}
    InputSources:
      - Target: /in
        Source: {{Type: ipfs, Params: {{CID: {CID}/below}}}}
"""
SPEC = jobfile.parse(JOB, "job.yaml").spec
AWARD = Award(execution="e-1", round=1, replica=2, mandate=a_mandate("me"), spec=SPEC, changed_by=None)
RESERVATION = Reservation(
    execution="e-1",
    owner="owner",
    job="j-1",
    round=1,
    spec_hash="0" * 64,
    priority=0,
    requirements=requirements_of(SPEC),
    award=AWARD,
    created=0,
)
ENDS = [
    pytest.param(
        ProgramEnd(exit_code=0, reason="exited", fault=None, cpu_ms=5, memory_bytes=9, program="sha256:1"),
        id="a success",
    ),
    pytest.param(ProgramEnd(exit_code=3, reason="exited with 3", fault=Fault.JOB), id="a failure"),
    pytest.param(failed(Fault.PEER, "no disk"), id="no program ran"),
]


@pytest.mark.parametrize("end", ENDS)
def test_a_receipt_says_what_the_programs_end_says(end: ProgramEnd) -> None:
    receipt = receipts.receipt(RESERVATION, AWARD, "peer", end, None, started_ms=1, ended_ms=2)
    assert {name: getattr(receipt, name) for name in end.__struct_fields__} == {
        name: getattr(end, name) for name in end.__struct_fields__
    }
    assert (receipt.replica, receipt.requester, receipt.inputs) == (2, "owner", (CID,))


@pytest.mark.parametrize("end", ENDS)
def test_an_end_that_was_written_is_read_again(end: ProgramEnd, tmp_path: Path) -> None:
    on_disk = ended_on_disk.EndedOnDisk(end=end, started_ms=1, ended_ms=2, keep=True, publish=False)
    ended_on_disk.write(tmp_path, on_disk)
    assert ended_on_disk.read(tmp_path) == on_disk


def test_an_execution_that_its_node_gives_up_names_its_inputs_too() -> None:
    receipt = receipts.given_up(RESERVATION, AWARD, "peer", "its node failed", 7)
    assert (receipt.fault, receipt.exit_code, receipt.inputs) == (Fault.PEER, None, (CID,))
    assert (receipt.started_ms, receipt.ended_ms) == (7, 7)
