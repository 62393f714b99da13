"""When a peer counts as lost, and the chain of times that this is a part of."""

from __future__ import annotations

from math import inf

import pytest

from p2pnode.core.link.detection_times import (
    BEAT_AFTER_S,
    CUT_OFF_WAIT_S,
    DOWN_AFTER_S,
    LOST_AFTER_CLOSE_S,
    LOST_AFTER_SILENCE_S,
    STAGGER_S,
    SUSPECT_AFTER_S,
)
from p2pnode.core.link.failure_detector import (
    FailureDetector,
    LinkDown,
    LinkEvent,
    LinkSuspect,
    LinkUp,
    PeerBack,
    PeerForgot,
    PeerLost,
)
from p2pnode.core.link.redial import SOON_S_MAX
from p2pnode.core.replication.replicas import COMMAND_ANSWER_S
from p2pnode.network.links import CONNECT_S_MAX

DOWN, UP, SUSPECT = LinkDown("a", "closed"), LinkUp("a"), LinkSuspect("a")


def watching(lost: set[str] | None = None) -> FailureDetector:
    detector = FailureDetector(lost if lost is not None else set())
    assert detector.watch(frozenset("a"), 0) == (["a"], [])
    return detector


@pytest.mark.parametrize(
    ("events", "lost_at", "silent_s"),
    [
        pytest.param([], LOST_AFTER_CLOSE_S, 6, id="a link that never came up"),
        pytest.param([(1, UP)], inf, None, id="a link that is up"),
        pytest.param([(1, UP), (10, SUSPECT)], inf, None, id="one that is silent, but not down yet"),
        pytest.param([(1, UP), (10, DOWN)], 10 + LOST_AFTER_CLOSE_S, 6, id="a connection that was closed"),
        pytest.param(
            [(1, UP), (2 + SUSPECT_AFTER_S, SUSPECT), (2 + DOWN_AFTER_S, DOWN)],
            2 + LOST_AFTER_SILENCE_S,
            8,
            id="silence counts from its beginning",
        ),
        pytest.param(
            [(1, UP), (5, SUSPECT), (20, DOWN)],
            20 + LOST_AFTER_CLOSE_S,
            6,
            id="a suspicion of long ago is none",
        ),
        pytest.param([(1, UP), (10, DOWN), (12, UP)], inf, None, id="a link that came up again"),
    ],
)
def test_a_watched_peer_is_lost_when(
    events: list[tuple[float, LinkEvent]], lost_at: float, silent_s: int | None
) -> None:
    detector = watching()
    for at, event in events:
        assert detector.handle(event, at) == []
    assert detector.deadline == lost_at
    if lost_at < inf:
        assert detector.due(lost_at - 0.01) == []
        assert detector.due(lost_at) == [PeerLost("a", f"no sign of it for {silent_s} s")]
        # A loss is told once.
        assert detector.due(lost_at + 100) == []
        assert detector.deadline == inf


def test_a_loss_that_is_looked_at_late_tells_the_whole_silence() -> None:
    assert watching().due(40) == [PeerLost("a", "no sign of it for 40 s")]


def test_a_peer_that_nobody_watches_is_not_lost() -> None:
    detector = FailureDetector(set())
    detector.handle(UP, 1)
    detector.handle(DOWN, 2)
    assert detector.deadline == inf
    detector = watching()
    assert detector.watch(frozenset(), 1) == ([], ["a"])
    assert detector.due(100) == []


def test_a_peer_that_is_watched_while_its_link_is_up_is_not_lost() -> None:
    detector = FailureDetector(set())
    detector.handle(UP, 1)
    assert detector.watch(frozenset("a"), 2) == (["a"], [])
    assert detector.deadline == inf


def test_a_lost_peer_is_back_when_its_link_is_up() -> None:
    lost = {"a"}
    detector = watching(lost)
    assert detector.handle(UP, 9) == [PeerBack("a")]
    lost.clear()
    assert detector.handle(UP, 10) == []


def test_a_peer_without_its_journal_is_lost_though_it_is_heard() -> None:
    assert watching().handle(PeerForgot("a"), 5) == [PeerLost("a", "it has lost its journal", forgot=True)]


def test_the_chain_of_times_fits_together() -> None:
    # Two beats may get lost before anybody is suspected, and one more before the link is down.
    assert 2 * BEAT_AFTER_S < SUSPECT_AFTER_S
    assert SUSPECT_AFTER_S + BEAT_AFTER_S < DOWN_AFTER_S
    # A link that went down for silence is dialled again before its peer is lost, twice at least.
    assert LOST_AFTER_SILENCE_S - DOWN_AFTER_S >= SOON_S_MAX
    # A node that is restarted is back within 5 s, and has to be dialled.
    assert LOST_AFTER_CLOSE_S >= 5 + 1
    assert LOST_AFTER_CLOSE_S > CONNECT_S_MAX
    # The owner's silence is seen by both deputies in about the same moment: the second hears of a take-over.
    assert STAGGER_S > 2 * BEAT_AFTER_S - 0.001
    # A node that hears nobody waits until the others, if they live, have taken over.
    assert CUT_OFF_WAIT_S > LOST_AFTER_SILENCE_S + 2 * STAGGER_S
    # A job whose owner died is taken over within 15 s by the second deputy, too.
    assert max(LOST_AFTER_SILENCE_S, COMMAND_ANSWER_S) + 2 * STAGGER_S <= 15
