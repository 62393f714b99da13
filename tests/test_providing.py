"""Which roots of a node's store the DHT is told of, and when again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from p2pnode.core.link.contacts import PROVIDER_RECORD_S
from p2pnode.core.values.finding import ProvideMode
from p2pnode.ipfs import cid as cids
from p2pnode.ipfs.pins import Pins
from p2pnode.node import providing
from p2pnode.node.providing import LOOK_S, Providing

from .network_support import until


def root_of(text: str) -> str:
    return str(cids.make(text.encode(), "raw"))


class FakeDht:
    """The DHT: what it was told, and how many of it took that."""

    def __init__(self, takers: int = 20) -> None:
        self.told: list[bytes] = []
        self.takers = takers

    async def provide(self, key: bytes) -> int:
        self.told.append(key)
        return self.takers

    def knows(self, text: str) -> bool:
        return cids.parse(root_of(text)).multihash in self.told


@pytest.fixture
def pins(tmp_path: Path) -> Pins:
    (tmp_path / "writing").mkdir()
    return Pins(tmp_path / "pins", tmp_path / "writing")


@asynccontextmanager
async def running(
    pins: Pins, dht: FakeDht, mode: ProvideMode = ProvideMode.RESULTS, *, private: bool = False
) -> AsyncIterator[Providing]:
    found = Providing(mode, pins, dht.provide, is_private=private)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(found.run)
        yield found
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("mode", "private", "told"),
    [
        (ProvideMode.RESULTS, False, "a"),
        (ProvideMode.ALL, False, "ac"),
        (ProvideMode.RESULTS, True, "ab"),
        (ProvideMode.ALL, True, "abcd"),
    ],
)
async def test_results_of_a_private_network_are_told_in_no_other(
    pins: Pins, mode: ProvideMode, private: bool, told: str
) -> None:
    for text, what in zip("abcd", ("result", "private result", "mine", "private receipt"), strict=True):
        pins.add(root_of(text), what)
    dht = FakeDht()
    async with running(pins, dht, mode, private=private) as found:
        await until(lambda: found.figures == (len(told), 0))
        assert [text for text in "abcd" if dht.knows(text)] == list(told)


async def test_nothing_is_told_where_it_is_off(pins: Pins) -> None:
    pins.add(root_of("a"), "result")
    found = Providing(ProvideMode.OFF, pins, FakeDht().provide, is_private=False)
    await found.run()
    assert found.figures == (0, 0)


async def test_a_new_result_is_told_at_once_and_one_that_is_gone_is_counted_no_more(pins: Pins) -> None:
    dht = FakeDht()
    async with running(pins, dht) as found:
        await wait_all_tasks_blocked(0.05)
        pins.add(root_of("a"), "result")
        found.stored()
        await until(lambda: found.figures == (1, 0), LOOK_S / 2)
        pins.remove(root_of("a"))
        found.stored()
        await until(lambda: found.figures == (0, 0), LOOK_S / 2)


async def test_all_are_told_again_before_they_are_forgotten(
    pins: Pins, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert providing.REPROVIDE_S < PROVIDER_RECORD_S
    monkeypatch.setattr(providing, "REPROVIDE_S", 0.05)
    pins.add(root_of("a"), "result")
    dht = FakeDht()
    async with running(pins, dht):
        await until(lambda: len(dht.told) >= 3)


async def test_what_nobody_took_waits_and_the_others_with_it(pins: Pins) -> None:
    for n in range(100):
        pins.add(root_of(str(n)), "result")
    dht = FakeDht(takers=0)
    async with running(pins, dht) as found:
        await until(lambda: dht.told)
        await wait_all_tasks_blocked()
        assert len(dht.told) <= providing.AT_ONCE
        assert found.figures == (0, 100)


async def test_what_nobody_took_is_told_again(pins: Pins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providing, "RETRY_S", 0.05)
    pins.add(root_of("a"), "result")
    dht = FakeDht(takers=0)
    async with running(pins, dht) as found:
        await until(lambda: len(dht.told) >= 2)
        dht.takers = 1
        await until(lambda: found.figures == (1, 0))
