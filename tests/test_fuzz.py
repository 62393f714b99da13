"""Random hostile input with fixed seeds, so much as a test run has time for (`scripts/fuzz` goes on)."""

from __future__ import annotations

import random
from typing import get_args

import pytest

from p2pnode.core.wire.messages import Message

from .fuzz import core_events, decoders, link_frames
from .fuzz.made_up_messages import MessageMaker

# Cases that have found something.
FOUND = (22280, 40852, 50091)


@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found_once_holds(seed: int) -> None:
    assert core_events.fails(seed, None) is None


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_no_word_of_a_hostile_peer_breaks_an_invariant_of_a_node(first: int) -> None:
    for seed in range(first, first + 10):
        if core_events.fails(seed, None) is not None:
            raise AssertionError(core_events.explained(seed))


@pytest.mark.parametrize("kind", get_args(Message))
def test_messages_of_every_kind_are_made_up_that_a_frame_could_bring(kind: type) -> None:
    maker = MessageMaker(lambda: [], lambda: ["stranger"])
    rng = random.Random(1)
    made = [maker.message(rng, None) for _ in range(2_000)]
    assert sum(isinstance(one, kind) for one in made) >= 5


def test_decoders_raise_what_they_declare_and_nothing_else() -> None:
    examples = decoders.seeds()
    assert sum(decoders.run_case(seed, examples) for seed in range(20)) > 10_000


def test_frames_that_mean_harm_cost_their_sender_alone() -> None:
    assert sum(map(link_frames.run_case, range(60))) > 3_000


def test_a_case_is_reproduced_by_its_seed_and_shortened_by_leaving_events_out() -> None:
    assert core_events.run_case(5) == core_events.run_case(5)
    assert core_events.shortest(0, lambda seed, kept: {7, 90} <= kept) == [7, 90]
