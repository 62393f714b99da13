"""The faults of `mutations.toml` are faults of today's core, and `scripts/mutate` tells what finds them."""

from __future__ import annotations

import ast

import pytest

from . import mutation
from .mutation import Mutation, Verdict

ALL = mutation.mutations()


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.name)
def test_a_fault_has_its_one_place_in_the_core_and_leaves_a_program(fault: Mutation) -> None:
    assert fault.old != fault.new
    assert ast.parse(fault.mutated())


def test_faults_are_many_and_in_every_room() -> None:
    rooms = {fault.file.partition("/")[0] for fault in ALL}
    assert {"job", "worker", "replication", "placement", "records", "link"} <= rooms
    assert len(ALL) >= 60


def test_a_fault_of_another_program_is_named() -> None:
    fault = Mutation(name="old", file="job/machine.py", old="no such line", new="", breaks="")
    with pytest.raises(ValueError, match=r"old: job/machine\.py has 'no such line' 0 times"):
        fault.mutated()


def test_tests_and_networks_run_against_the_copy_that_has_the_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = next(fault for fault in ALL if fault.name == "bids-hold-nothing")
    monkeypatch.setattr(mutation, "UNIT_TESTS", ("lifecycle",))
    monkeypatch.setattr(mutation, "FIRST_TESTS", {})
    with mutation.copy_with(fault) as copy:
        assert (copy / "p2pnode" / "core" / fault.file).read_text() == fault.mutated()
        assert mutation.unit_tests(copy, "") == Verdict(""), "these test other things"
        assert mutation.simulation(copy, 20, 0).by == "simulation"
        monkeypatch.setattr(mutation, "UNIT_TESTS", ("worker_bids",))
        assert mutation.unit_tests(copy, "").detail.startswith("test_worker_bids.py::")
    assert not copy.exists()
