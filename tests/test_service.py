"""What a node tells its API of a job's history."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from p2pnode.service import HISTORY_ROWS_AT_ONCE, Service
from p2pnode.store import HistoryRow


class Histories:
    """Of the store what a follower asks for; notes how much it is given at once."""

    def __init__(self, lines: int) -> None:
        self.rows = [
            HistoryRow(number, 0.0, "Job", "", "", "said", "Running") for number in range(1, lines + 1)
        ]
        self.given: list[int] = []

    def job(self, id: str) -> None:
        return None

    def history(self, job: str, since: int, rows_max: int) -> Sequence[HistoryRow]:
        found = [row for row in self.rows if row.number > since][:rows_max]
        self.given.append(len(found))
        return found


@pytest.mark.parametrize(
    "lines", [0, 1, HISTORY_ROWS_AT_ONCE, HISTORY_ROWS_AT_ONCE + 1, 5 * HISTORY_ROWS_AT_ONCE]
)
async def test_a_history_is_told_whole_and_held_in_parts(lines: int) -> None:
    histories = Histories(lines)
    driver = SimpleNamespace(core=SimpleNamespace(table=SimpleNamespace(known={})))
    node: Any = SimpleNamespace(
        store=histories, changed={}, driver=driver, me=SimpleNamespace(peer_id="me"), config=None
    )
    told = [event["number"] async for event in Service(node).job_events("j-1", 0, follow=True)]
    assert told == list(range(1, lines + 1))
    assert max(histories.given) <= HISTORY_ROWS_AT_ONCE
