"""Waits inside the node end in the moment that what they wait for happens, by an event and not by looking."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from weakref import ref

import pytest
import trio
import trio.testing

from p2pnode.core.link.neighbours import NO_ROOM_LOOK_S
from p2pnode.network.discovery import Discovery
from p2pnode.node import capacity as capacities
from p2pnode.node.capacity import CapacityWatch
from p2pnode.node.changes import Changes
from p2pnode.node.node import SHUTDOWN_TIMEOUT_S, Node
from p2pnode.service.commands import COPY_TIMEOUT_S, Commands

# When it happens: no multiple of any period.
AT_S = 0.7373


class Links:
    """Outboxes as they are said to be."""

    def __init__(self, **waiting: int) -> None:
        self.outboxes = waiting

    def waiting(self, peer: str) -> int:
        return self.outboxes.get(peer, 0)


async def at(when_s: float, changes: Changes, happens: Any) -> None:
    await trio.sleep(when_s)
    happens()
    changes.note_any()


async def took_s(wait: Any, *happening: Any) -> float:
    """How long `wait` takes while things happen; each is a time, and what `at` takes."""
    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        for one in happening:
            nursery.start_soon(at, *one)
        await wait()
        nursery.cancel_scope.cancel()
    return trio.current_time() - begun


def commands(changes: Changes, links: Links, jobs: dict[str, Any]) -> Commands:
    driver: Any = SimpleNamespace(core=SimpleNamespace(jobs=jobs))
    return Commands(None, None, driver, changes, links)  # type: ignore[arg-type]


def job(*deputies: str) -> Any:
    return SimpleNamespace(record=SimpleNamespace(deputies=deputies))


async def test_a_job_wakes_all_that_wait_for_it_and_nothing_is_kept_for_one_that_nobody_waits_for() -> None:
    changes = Changes()
    first, second, other = changes.of("j"), changes.of("j"), changes.of("k")
    changes.note("j")
    assert first.is_set() and second.is_set() and not other.is_set()
    # A follower looks once more when its job has ended, and waits no more.
    left = ref(changes.of("j"))
    assert left() is None


async def test_a_submission_returns_when_the_first_deputy_has_its_copy(autojump_clock: Any) -> None:
    changes, links = Changes(), Links(a=2, b=1)
    answers = commands(changes, links, {"j": job("a", "b")})
    assert await took_s(
        lambda: answers._copied("j"),
        (AT_S / 2, changes, lambda: links.outboxes.update(a=1)),
        (AT_S, changes, lambda: links.outboxes.update(b=0)),
    ) == pytest.approx(AT_S)


async def test_a_submission_returns_when_its_deputies_are_given_up(autojump_clock: Any) -> None:
    changes, jobs = Changes(), {"j": job("a")}
    answers = commands(changes, Links(a=1), jobs)
    happening = (AT_S, changes, lambda: jobs.update(j=job()))
    assert await took_s(lambda: answers._copied("j"), happening) == pytest.approx(AT_S)


async def test_a_submission_does_not_wait_for_a_silent_deputy_for_ever(autojump_clock: Any) -> None:
    answers = commands(Changes(), Links(a=1), {"j": job("a")})
    assert await took_s(lambda: answers._copied("j")) == pytest.approx(COPY_TIMEOUT_S)


class Ending:
    """A node that ends, with an advert on its way and a message for each of two neighbours."""

    def __init__(self) -> None:
        self.connected, self.links = ["a", "b"], Links(a=1, b=1)
        self.adverts = SimpleNamespace(on_their_way=1)
        self.node = Node.__new__(Node)
        self.node.changes = Changes()
        self.node.links = self.links  # type: ignore[assignment]
        self.node.adverts = self.adverts  # type: ignore[assignment]
        self.node.host = SimpleNamespace(connected=lambda: self.connected)  # type: ignore[assignment]

    def told(self, peer: str) -> None:
        self.links.outboxes[peer] = 0

    def said(self) -> None:
        self.adverts.on_their_way = 0


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(lambda end: end.told("b"), id="when the last outbox is empty"),
        pytest.param(lambda end: end.connected.remove("b"), id="when who was not told has gone"),
    ],
)
async def test_a_node_ends_when_all_is_said(last: Any, autojump_clock: Any) -> None:
    end = Ending()
    changes = end.node.changes
    assert await took_s(
        end.node.send_what_waits,
        (AT_S / 3, changes, lambda: end.told("a")),
        (AT_S / 2, changes, end.said),
        (AT_S, changes, lambda: last(end)),
    ) == pytest.approx(AT_S)


async def test_a_node_ends_though_a_neighbour_does_not_listen(autojump_clock: Any) -> None:
    assert await took_s(Ending().node.send_what_waits) == pytest.approx(SHUTDOWN_TIMEOUT_S)


def held(*executions: str, award: Any = "an award") -> list[Any]:
    return [SimpleNamespace(execution=one, award=award) for one in executions]


class Looking(CapacityWatch):
    """Counts its looks."""

    def __init__(self, changes: Changes, worker: Any) -> None:
        none: Any = None
        super().__init__(none, worker, none, none, none, none, changes, none)
        self.looks: list[float] = []

    async def look(self) -> None:
        self.looks.append(round(trio.current_time() - self.begun, 4))

    async def run(self) -> None:
        self.begun = trio.current_time()
        await super().run()


@pytest.mark.parametrize(
    ("before", "between", "after", "looks_at_s"),
    [
        pytest.param(held("e-1", "e-2"), None, held("e-2"), AT_S + capacities.LOOK_GAP_S, id="one has ended"),
        pytest.param([], held("e-1"), [], AT_S + capacities.LOOK_GAP_S, id="one has begun and ended"),
        pytest.param([], None, held("e-1"), capacities.LOOK_INTERVAL_S, id="one has only begun"),
        pytest.param(held("e-1", award=None), None, [], capacities.LOOK_INTERVAL_S, id="a bid was released"),
    ],
)
async def test_capacity_is_looked_at_when_an_execution_has_ended(
    before: list[Any], between: list[Any] | None, after: list[Any], looks_at_s: float, autojump_clock: Any
) -> None:
    changes, worker = Changes(), SimpleNamespace(held=before)
    watch = Looking(changes, worker)

    def becomes(found: list[Any]) -> None:
        worker.held = found

    async def first_look() -> None:
        with trio.move_on_after(capacities.LOOK_INTERVAL_S + 1):
            await watch.run()

    middle = before if between is None else between
    await took_s(
        first_look,
        (AT_S / 2, changes, lambda: becomes(middle)),
        (AT_S, changes, lambda: becomes(after)),
    )
    assert watch.looks[0] == pytest.approx(looks_at_s, abs=1e-3)


class NoHost:
    """A host with no connection, on which every dial succeeds and is noted with its time."""

    peer_id = "me"

    def __init__(self) -> None:
        self.dials: list[tuple[str, float]] = []
        self.room = True

    def watch(self, watcher: Any) -> None:
        pass

    def connected(self) -> list[str]:
        return [peer for peer, _ in self.dials]

    def has_room(self) -> bool:
        return self.room

    def remote_host(self, peer: str) -> str:
        return ""

    def used_at(self, peer: str) -> float:
        return 0.0

    async def connect(self, peer: str, addresses: Any, timeout_s: float) -> None:
        self.dials.append((peer, trio.current_time()))


async def test_a_peer_is_dialled_when_its_advert_is_heard(autojump_clock: Any) -> None:
    host, changes, known = NoHost(), Changes(), dict[str, list[str]]()
    finder = Discovery(host, known=lambda: known, mdns=False, grown=changes.peers)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        begun = trio.current_time()
        nursery.start_soon(finder.run)
        await trio.sleep(AT_S)
        known["a"] = ["/ip4/127.0.0.1/tcp/1"]
        changes.note_peers()
        await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
    assert [(peer, round(at - begun, 4)) for peer, at in host.dials] == [("a", round(AT_S, 4))]


async def test_a_known_peer_is_dialled_when_there_is_room_for_it_again(autojump_clock: Any) -> None:
    host = NoHost()
    host.room = False
    finder = Discovery(host, known=lambda: {"a": []}, mdns=False)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        begun = trio.current_time()
        nursery.start_soon(finder.run)
        await trio.sleep(AT_S)
        host.room = True
        await trio.sleep(NO_ROOM_LOOK_S)
        nursery.cancel_scope.cancel()
    assert [(peer, round(at - begun, 4)) for peer, at in host.dials] == [("a", NO_ROOM_LOOK_S)]


@pytest.mark.parametrize(("elsewhere", "dialled"), [(True, []), (False, ["a"])])
async def test_the_lan_of_before_is_forgotten_with_a_move(
    autojump_clock: Any, elsewhere: bool, dialled: list[str]
) -> None:
    host = NoHost()
    finder = Discovery(host, mdns=False)  # type: ignore[arg-type]
    finder._on_found("a", ["/ip4/10.0.0.1/tcp/1"])
    finder.moved(elsewhere)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(finder.run)
        await trio.sleep(AT_S)
        nursery.cancel_scope.cancel()
    assert host.connected() == dialled
