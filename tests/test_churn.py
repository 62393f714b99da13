"""Jobs of a simulated network of which half leaves and comes back every minute."""

from __future__ import annotations

import re

import pytest

from .sim.churn import run_churn

MINUTES = 10
# Faults of a program, or of its engine; all else would be the network's doing.
OWN_FAULT = re.compile(r"ran longer than its limit|exit status \d+|the engine failed")


@pytest.mark.parametrize("seed", [1, 2])
def test_every_job_ends_by_its_own_doing_while_half_of_fifty_nodes_comes_and_goes_each_minute(
    seed: int,
) -> None:
    outcome = run_churn(seed, MINUTES)
    assert outcome.leaves >= MINUTES * 20
    assert outcome.states["Completed"] >= 20
    assert not [reason for reason in outcome.reasons if not OWN_FAULT.search(reason)]
    # Ended ones, kept for a while so that what comes late finds its answer.
    assert outcome.held["jobs"] == outcome.held["copies"] == 0
