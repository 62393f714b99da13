"""Visits every world that can be reached with so many deviations from what usually happens next.

First the one way without any, then all ways with one deviation at any place, then all with two (delay-bounded
exploration: most faults of concurrent programs need few of them). From each world the usual way is followed
to its end, so every world that is visited is known to come to a good one. None is visited twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from p2pnode.core.records import mandate, vetting
from p2pnode.core.wire.mandates import Mandate
from p2pnode.core.wire.messages import Replicate

from .invariants import check, check_end
from .nodes import EPOCH, Refused
from .world import Choice, Limits, World, Worlds

# Several times as many steps as the longest way to the end of a job takes.
WAY_LENGTH_MAX = 1_000
# The parts of a message that tell it from others; what is signed is long, and the same for most.
_TOLD = ("execution", "owner", "round", "state", "full", "revision", "whole", "stage", "reason")


@dataclass
class Found:
    """The outcome of an exploration."""

    # Worlds that differ.
    states: int = 0
    # All worlds with so many deviations were visited; -1: not even those without any.
    deviations: int = -1
    failure: str = ""
    # The way to the failure, one of those with the fewest deviations.
    trace: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Way:
    """How a world was come to."""

    world: World
    choice: Choice | None = None
    before: _Way | None = None


class Search:
    def __init__(self, limits: Limits) -> None:
        self.worlds = Worlds(limits)
        self._seen: set[bytes] = set()

    def run(self, states_max: int, deviations_max: int) -> Found:
        """Visit up to `states_max` worlds, first those that need the fewest deviations."""
        found = Found()
        start = _Way(self.worlds.first())
        level: list[tuple[_Way, Choice | None]] = [(start, None)]
        for deviations in range(deviations_max + 1):
            next_level: list[tuple[_Way, Choice | None]] = []
            for way, choice in level:
                wrong = self._follow(way, choice, next_level if deviations < deviations_max else None)
                found.states = len(self._seen)
                if wrong is not None:
                    found.failure, found.trace = wrong[0], list(self._lines(wrong[1]))
                    return found
                if found.states >= states_max:
                    return found
            found.deviations, level = deviations, next_level
        return found

    def _follow(
        self, way: _Way, choice: Choice | None, others: list[tuple[_Way, Choice | None]] | None
    ) -> tuple[str, _Way] | None:
        """Go on in the usual way, and note in `others` what else may happen; returns what broke, if any."""
        worlds, own = self.worlds, set()
        try:
            while True:
                if choice is not None:
                    way = _Way(way.world, choice, way)
                    way = _Way(worlds.after(way.world, choice), None, way)
                key = hashlib.blake2b(repr(tuple(way.world)).encode(), digest_size=16).digest()
                assert key not in own, "the same comes again and again"
                assert len(own) < WAY_LENGTH_MAX, "nodes tell each other one thing after the other, for ever"
                if key in self._seen:
                    return None
                own.add(key)
                self._seen.add(key)
                check(worlds, way.world)
                if others is not None:
                    others += [(way, other) for other in worlds.deviations(way.world)]
                choice = worlds.usual(way.world)
                if choice is None:
                    check_end(worlds, way.world)
                    return None
        except (AssertionError, Refused) as exc:
            return str(exc) or type(exc).__name__, way

    def _lines(self, way: _Way | None) -> Iterator[str]:
        """One line for each choice on the way."""
        steps: list[_Way] = []
        while way is not None:
            steps.append(way)
            way = way.before
        for one in reversed(steps):
            if one.choice is not None:
                yield self._line(one.world, one.choice)

    def _line(self, world: World, choice: Choice) -> str:
        detail = choice.detail
        if choice.what == "deliver":
            ((*_, queue),) = [one for one in world.links if one[:2] == (choice.peer, choice.other)]
            detail = self.worlds.nodes.message(queue[0])
        said = _said(detail) if isinstance(detail, bytes) and detail else detail or ""
        return f"{world.now - EPOCH:3} s  {choice.what} {choice.peer} {choice.other} {said}".rstrip()


def _said(data: bytes) -> str:
    """A message in a few words."""
    message = vetting.message_untrusted(data, lambda peer: None)
    parts = {name: getattr(message, name) for name in _TOLD if hasattr(message, name)}
    if isinstance(message, Replicate):
        parts["executions"] = [(one.id[:6], one.peer, str(one.state)) for one in message.executions]
    if isinstance(given := getattr(message, "mandate", None), Mandate):
        parts["members"] = mandate.read(given).members
    text = ", ".join(f"{name} {value}" for name, value in parts.items())
    return f"{type(message).__name__}({text})"
