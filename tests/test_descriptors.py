"""The limit on open files: raised at the start, and looked at before it is reached."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
import trio.testing

from p2pnode.system import descriptors


@contextmanager
def files_left(count: int) -> Iterator[None]:
    """So few descriptors are left below the limit that counts as tight."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, ((used + count) * 100 // descriptors.TIGHT_PERCENT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [(100, 300, 300), (300, 300, 300), (100, 20_000, descriptors.OPEN_FILES_MAX)],
)
def test_the_soft_limit_is_raised_to_the_hard_one_within_reason(soft: int, hard: int, expected: int) -> None:
    own_hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard > own_hard != resource.RLIM_INFINITY:
        pytest.skip("this system allows fewer files")
    script = (
        "import resource; from p2pnode.system import descriptors;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}));"
        "descriptors.raise_limit(); print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) == expected


def test_descriptors_are_tight_before_the_last_one_is_used() -> None:
    with files_left(10), ExitStack() as opened:
        assert not descriptors.are_tight()
        for _ in range(12):
            opened.enter_context(open(os.devnull))
        assert descriptors.are_tight()


def test_descriptors_that_cannot_be_counted_for_want_of_one_are_tight() -> None:
    with files_left(10), ExitStack() as opened:
        with suppress(OSError):
            while True:
                opened.enter_context(open(os.devnull))
        assert descriptors.are_tight()


async def test_what_is_shed_first_is_enough_where_it_is(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    used = 3
    shed: list[str] = []
    monkeypatch.setattr(descriptors, "are_tight", lambda: used > 1)

    def shedding(name: str) -> descriptors.Shed:
        async def shed_one() -> None:
            nonlocal used
            used -= 1
            shed.append(name)

        return shed_one

    with trio.move_on_after(3 * descriptors.LOOK_INTERVAL_S):
        await descriptors.watch(shedding("api"), shedding("peers"))
    assert shed == ["api", "peers"]
    used = 2
    with trio.move_on_after(3 * descriptors.LOOK_INTERVAL_S):
        await descriptors.watch(shedding("api"), shedding("peers"))
    assert shed == ["api", "peers", "api"]
