"""The GPUs that containers can be given here, and who has which.

A card counts only where its driver answers and the engine can pass on just that one; else a job would be
accepted that cannot start, or gets another's card. Who has which is written on the containers themselves:
so it outlives the node, and holds for all nodes of one engine.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import trio

from p2pnode.core.values import cards
from p2pnode.core.values.cards import Card, Maker

from . import (
    answers,
    api,
    gpu_drm,
    gpu_nvidia,
)
from .answers import Info, Listed
from .api import EngineGone, EngineRefused

LABEL_GPUS = "p2pnode.gpus"
LABEL_EXECUTION = "p2pnode.execution"
# How often drivers are asked: the first question after a while wakes the cards, which takes seconds.
LOOK_INTERVAL_S = 600.0
# Before cards are chosen: one that has failed since is not to be among them.
LOOK_TO_CHOOSE_S = 10.0
# The engine's word of itself may be this old for jobs without GPUs: it takes 10 to 30 ms to say it.
INFO_AGE_S_MAX = 60.0
# A file with the names of 256 cards has less.
FILE_SIZE_BYTES_MAX = 64 * 1024
# The engine itself looks for this before it offers the driver "nvidia" for device requests.
HOOK = "nvidia-container-runtime-hook"
CDI_KIND = "nvidia.com/gpu"
_NOT_PASSED_ON = (
    "NVIDIA GPUs are here that no job gets, as the engine cannot pass on one by its UUID: have it use CDI"
    " (Docker 28.2 or later; nvidia-ctk cdi generate --device-name-strategy=uuid), or NVIDIA's runtime"
)
# Containers in these states have no program any more.
_OVER = ("exited", "dead", "removing")
# NVIDIA's runtime goes by this where it is the engine's default, whatever was asked of the engine.
_VISIBLE = "NVIDIA_VISIBLE_DEVICES"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GivenCards:
    """The request to the engine that gives a container just these cards."""

    ids: tuple[str, ...] = ()
    # The one device request has these; "": there is none.
    driver: str = ""
    device_ids: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    # Device nodes, and the groups that may open them.
    nodes: tuple[str, ...] = ()
    groups: tuple[int, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)


def look() -> tuple[list[Card], list[str]]:
    """All makers' cards that work, and what is wrong with others. Blocking."""
    nvidia, nvidia_problems = gpu_nvidia.look()
    others, other_problems = gpu_drm.look()
    return [*nvidia, *others], [*nvidia_problems, *other_problems]


class Gpus:
    """The cards that are known, looked up now and then, and those that are held."""

    def __init__(
        self,
        socket_path: str,
        look: Callable[[], tuple[list[Card], list[str]]] = look,
        remembered: Path | None = None,
    ) -> None:
        """`remembered` is the file of the cards that were there before a restart."""
        self._socket = socket_path
        self._look = look
        self._remembered = remembered
        self._found: list[Card] = []
        # The models of the cards of the last look, also one before a restart.
        self._models: dict[str, str] | None = None
        self._looked_at = float("-inf")
        self._told: set[str] = set()
        self._info_known: Info | None = None
        self._info_at = float("-inf")
        self._choosing = trio.Lock()
        # Cards of executions whose containers need not be there yet.
        self._chosen: dict[str, tuple[str, ...]] = {}

    async def usable(self, look_interval_s: float = LOOK_INTERVAL_S) -> tuple[Card, ...]:
        """The cards that a container can be given now, held or not."""
        if trio.current_time() - self._looked_at >= look_interval_s:
            problems = await trio.to_thread.run_sync(self._look_and_remember)
            self._looked_at = trio.current_time()
            for problem in problems:
                if problem not in self._told:
                    log.warning("%s", problem)
            self._told = {*problems, *(self._told & {_NOT_PASSED_ON})}
        info = await self._info() if self._found else None
        passed_on = [card for card in self._found if info and can_pass_on(card, info)]
        if info and len(passed_on) < len(self._found) and _NOT_PASSED_ON not in self._told:
            log.warning("%s", _NOT_PASSED_ON)
            self._told.add(_NOT_PASSED_ON)
        return cards.usable(passed_on)

    @asynccontextmanager
    async def held(self, execution: str, count: int) -> AsyncIterator[GivenCards]:
        """So many cards for an execution, its own until the end. Raises `cards.NoCards`, `EngineGone`."""
        try:
            async with self._choosing:
                usable = await self.usable(LOOK_TO_CHOOSE_S) if count else ()
                others = await self._held_by_others(execution) if count else set()
                chosen = cards.choose(usable, others, count)
                self._chosen[execution] = tuple(card.id for card in chosen)
            yield given(chosen, await self._info(0.0 if count else INFO_AGE_S_MAX))
        finally:
            self._chosen.pop(execution, None)

    async def missing(self, ids: Collection[str]) -> list[str]:
        """Which of the cards that a container was given are not there any more."""
        if ids:
            await self.usable(LOOK_TO_CHOOSE_S)
        there = {card.id for card in self._found}
        return [id for id in ids if id not in there]

    async def _held_by_others(self, execution: str) -> set[str]:
        """By this node's other executions, and by those of all nodes that use this engine."""
        filters = quote(f'{{"label":["{LABEL_GPUS}"]}}')
        path = f"/containers/json?all=1&filters={filters}"
        held = {id for other, ids in self._chosen.items() if other != execution for id in ids}
        for container in await api.ask(self._socket, path, list[Listed]):
            labels = container.labels or {}
            if container.state not in _OVER and labels.get(LABEL_EXECUTION) != execution:
                held.update(cards.from_text(labels.get(LABEL_GPUS, "")))
        return held

    async def _info(self, age_s_max: float = 0.0) -> Info | None:
        if self._info_known is None or trio.current_time() - self._info_at > age_s_max:
            try:
                self._info_known = await api.ask(self._socket, "/info", answers.Info)
            except (EngineGone, EngineRefused):
                self._info_known = None
            self._info_at = trio.current_time()
        return self._info_known

    def _look_and_remember(self) -> list[str]:
        """Look, and log what came and went since the last time; what is wrong. Blocking."""
        found, problems = self._look()
        before = _recall(self._remembered) if self._models is None else self._models
        now = {card.id: card.model for card in found}
        for id in before.keys() - now.keys():
            log.warning("the GPU %s (%s) is gone, or has failed", id, before[id])
        for card in found:
            if card.id not in before:
                log.info("there is a GPU %s: %s, %d MiB", card.id, card.model, card.memory_mib)
        if self._remembered and now != before:
            try:
                self._remembered.write_text("".join(f"{id} {model}\n" for id, model in now.items()))
            except OSError as error:
                log.warning("cannot note which GPUs are here: %s", error.strerror)
        self._found, self._models = found, now
        return problems


def _recall(path: Path | None) -> dict[str, str]:
    """The cards of a file of theirs, as far as it can be read."""
    try:
        text = path.read_bytes()[:FILE_SIZE_BYTES_MAX].decode(errors="replace") if path else ""
    except OSError:
        return {}
    pairs = [line.partition(" ") for line in text.splitlines()]
    return {id: model for id, _, model in pairs if cards.is_id(id)}


def can_pass_on(card: Card, info: Info) -> bool:
    """Whether the engine can give a container just this card."""
    return card.maker is not Maker.NVIDIA or _by_cdi(card, info) or _by_runtime(info)


def given(chosen: Sequence[Card], info: Info | None) -> GivenCards:
    """How the engine is asked for these cards; for none, how a container is kept from having any."""
    ids = tuple(card.id for card in chosen)
    has_runtime = info is not None and _by_runtime(info)
    # An image, or a job, that names `all` would have them by itself.
    variables = {_VISIBLE: "void"} if has_runtime else {}
    if not chosen:
        return GivenCards(variables=variables)
    if chosen[0].maker is not Maker.NVIDIA:
        nodes = tuple(sorted({node for card in chosen for node in card.nodes}))
        return GivenCards(ids, nodes=nodes, groups=_groups(nodes), variables=variables)
    if info is not None and all(_by_cdi(card, info) for card in chosen):
        names = tuple(f"{CDI_KIND}={id}" for id in ids)
        return GivenCards(ids, "cdi", names, variables=variables)
    return GivenCards(ids, "nvidia", ids, ("gpu",), variables={_VISIBLE: ",".join(ids)})


def _by_cdi(card: Card, info: Info) -> bool:
    name = f"{CDI_KIND}={card.id}"
    return any(one.source == "cdi" and one.id == name for one in info.discovered_devices or ())


def _by_runtime(info: Info) -> bool:
    """Podman takes such a request and leaves it out."""
    if info.buildah_version:
        return False
    return "nvidia" in (info.runtimes or ()) or shutil.which(HOOK) is not None


def _groups(nodes: Sequence[str]) -> tuple[int, ...]:
    """Return the groups that may open the nodes: an image's user is not root; its root lacks capabilities."""
    found = set()
    for node in nodes:
        try:
            found.add(os.stat(node).st_gid)
        except OSError as error:
            log.warning("cannot look at %s: %s", node, error.strerror)
    return tuple(sorted(found - {0}))
