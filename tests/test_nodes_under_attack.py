"""Three honest nodes and three hostile peers that do all misdeeds at once, for a while."""

from __future__ import annotations

from pathlib import Path

from .misdeeds.acts import ACTS
from .misdeeds.run import trial

SECONDS = 20.0
SEED = 1


def test_no_node_ends_and_all_jobs_complete_while_three_of_six_are_hostile(tmp_path: Path) -> None:
    told: list[str] = []
    outcome = trial(tmp_path, SECONDS, SEED, None, told.append)
    assert (told, outcome.dead, outcome.failed) == ([], [], [])
    assert outcome.done.keys() == ACTS.keys()
    assert outcome.attacked
