"""The three words for how far an execution is, of its worker, its owner and the wire, are one."""

from __future__ import annotations

import pytest

from p2pnode.core.records.reservations import STAGES, ReservationState
from p2pnode.core.wire.states import ExecutionState, Stage


@pytest.mark.parametrize("stage", Stage)
def test_a_stage_is_a_state_of_the_reservation_and_of_the_execution(stage: Stage) -> None:
    state = ReservationState(stage)
    assert state in STAGES and Stage(state) is stage
    assert (state.name, stage.state) == (stage.name, ExecutionState[stage.name])


@pytest.mark.parametrize("state", [one for one in ReservationState if one not in STAGES])
def test_a_reservation_without_a_program_under_way_is_in_no_stage(state: ReservationState) -> None:
    with pytest.raises(ValueError, match="is not a valid Stage"):
        Stage(state)
