"""The real core of a requester, two deputies and a worker: all orders of what may happen, up to a bound."""

from __future__ import annotations

from typing import Any

import pytest

from p2pnode.core.records import mandate
from p2pnode.core.replication.replicas import Replication

from .explore.run import SCOPES
from .explore.search import Found, Search

# More than are needed for one deviation, fewer than for two.
STATES_MAX = 1_000_000
# Many more than a way or two: a scope in which nothing may happen would hold as well.
STATES_MIN = 1_000


def explored(scope: str, deviations: int = 1) -> Found:
    return Search(SCOPES[scope]).run(STATES_MAX, deviations)


@pytest.mark.parametrize("scope", SCOPES)
def test_all_that_one_deviation_leads_to_holds(scope: str) -> None:
    found = explored(scope)
    assert not found.failure, "\n".join((*found.trace, found.failure))
    assert found.deviations == 1 and found.states > STATES_MIN


def test_an_exploration_comes_to_the_same_states_each_time() -> None:
    assert explored("lies") == explored("lies")


def _let_anybody(*_: Any, **__: Any) -> bool:
    return True


def _wait_for_ever(*_: Any) -> float:
    return 1_000.0


@pytest.mark.parametrize(
    ("scope", "where", "name", "fault", "failure"),
    [
        ("lies", mandate, "obeys", _let_anybody, "has not ended"),
        ("lies", mandate.Authority, "may_command", _let_anybody, "the job of me was stopped"),
        ("deaths", Replication, "_wait_s", _wait_for_ever, "nobody has taken the job over"),
    ],
)
def test_a_fault_of_the_core_is_found_with_the_way_to_it(
    monkeypatch: pytest.MonkeyPatch, scope: str, where: Any, name: str, fault: Any, failure: str
) -> None:
    monkeypatch.setattr(where, name, fault)
    found = explored(scope)
    assert failure in found.failure and found.trace, found
