"""The GPUs of a node as named cards: which jobs may get, which an execution gets, how it tells of them.

A job asks for a number; the peer that runs it names cards. No two executions have the same one.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

# All cards of a machine; no known machine has as many, and a driver may say anything.
CARDS_MAX = 256
# Beyond these an advert has no room for labels.
LABELLED_MAX = 8
LABEL_LENGTH_MAX = 64
# An exabyte in MiB.
MEMORY_DIGITS_MAX = 12
# UUIDs such as GPU-a6ae1def-..., MIG-GPU-.../7/0 of older drivers, PCI addresses.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._/-]{3,95}")


class Maker(enum.StrEnum):
    """The maker of a card. What a job can do with a card depends on it, so one maker is given out."""

    NVIDIA = "nvidia"
    AMD = "amd"
    INTEL = "intel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card, or a part of one that counts as a card (a MIG instance)."""

    # Its own name, which stays over restarts: its UUID, or where it has none its place on the bus.
    id: str
    maker: Maker
    model: str
    # 0: it has none of its own, or does not say.
    memory_mib: int = 0
    driver: str = ""
    # The device nodes that a program needs for it, where the engine is asked for these.
    nodes: tuple[str, ...] = ()


class NoCards(Exception):
    """Fewer cards are free than an execution was promised; the message says why."""


def is_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def usable(cards: Iterable[Card]) -> tuple[Card, ...]:
    """The cards of the maker that has most; each once. Of as many, the maker that comes first."""
    unique = list({card.id: card for card in cards}.values())[:CARDS_MAX]
    by_maker = [tuple(card for card in unique if card.maker is maker) for maker in Maker]
    return max(by_maker, key=len)


def choose(cards: Sequence[Card], held: Collection[str], count: int) -> tuple[Card, ...]:
    """So many cards that nobody holds, of one model if that can be. Raises `NoCards`."""
    free = [card for card in cards if card.id not in held]
    if len(free) < count:
        raise NoCards(
            f"{count} GPUs were reserved, but of the {len(cards)} that work here"
            f" {len(cards) - len(free)} are in use"
        )
    models = {card.model: [one for one in free if one.model == card.model] for card in free}
    # The model of which least is left over: a job for many cards finds them then.
    fitting = sorted((alike for alike in models.values() if len(alike) >= count), key=len)
    return tuple((fitting[0] if fitting else free)[:count])


def to_text(ids: Iterable[str]) -> str:
    """Names of cards as a container's label holds them."""
    return ",".join(ids)


def from_text(text: str) -> tuple[str, ...]:
    """And back; what is no name of a card is left out."""
    return tuple(one for one in text.split(",")[:CARDS_MAX] if is_id(one))


def labels(cards: Sequence[Card]) -> dict[str, str]:
    """The labels of the cards: `GPU-0`, `GPU-0-Memory` and so on, as Bacalhau has them; `GPU-Driver`."""
    found = {}
    for number, card in enumerate(cards[:LABELLED_MAX]):
        found[f"GPU-{number}"] = _label(card.model)
        if card.memory_mib:
            found[f"GPU-{number}-Memory"] = f"{card.memory_mib}-MiB"
    if cards and cards[0].driver:
        found["GPU-Driver"] = _label(f"{cards[0].maker}-{cards[0].driver}")
    return found


def _label(text: str) -> str:
    return "-".join(text.split())[:LABEL_LENGTH_MAX]
