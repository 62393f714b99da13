"""The command `top`: asks the node in a thread, draws what is seen, and follows the keys."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import click

from p2pnode.cli.output import answer, is_whole_screen
from p2pnode.cli.requester import running
from p2pnode.cli.status import Status
from p2pnode.client.calls import Client
from p2pnode.client.errors import ClientError
from p2pnode.client.interrupts import Interrupt

from .seen import Seen, look
from .state import TopState, pressed
from .view import snapshot, view
from .waking import Waker

# Faster than a person reads, and a node has better things to do.
INTERVAL_S_MIN, INTERVAL_S_MAX = 0.2, 3600.0
# Ages go on, also while no answer comes.
REDRAW_INTERVAL_S = 1.0


@click.command()
@click.option(
    "--interval",
    "interval_s",
    metavar="SECONDS",
    type=click.FloatRange(INTERVAL_S_MIN, INTERVAL_S_MAX),
    default=1.0,
    help="How often the node is asked.",
)
@click.option("--once", is_flag=True, help="Print what there is now, and end.")
def top(interval_s: float, once: bool) -> int:
    """Watch the network and its jobs, live.

    Nodes with what is taken of them and what is known to run there, and the jobs that this node owns or keeps
    a copy of. ? shows the keys. Where stdout is no terminal it prints what there is now, as --once does.
    """
    client = running()
    seen = look(client)
    state = TopState(seen, time.time())
    if once or not is_whole_screen():
        for row in snapshot(state):
            answer(*row)
        return Status.OK
    ending = _watch(client, state, interval_s)
    if ending in (signal.SIGTERM, signal.SIGHUP):
        # All is put back: now it ends as it was told to.
        signal.signal(ending, signal.SIG_DFL)
        os.kill(os.getpid(), ending)
    return Status.INTERRUPTED if ending else Status.OK


class _Asking:
    """Asks the node again and again, one question at a time; a node that was lost is looked for anew."""

    def __init__(self, client: Client, interval_s: float, pool: ThreadPoolExecutor, waker: Waker) -> None:
        self._client: Client | None = client
        self._interval_s = interval_s
        self._pool = pool
        self._waker = waker
        self._interrupt = Interrupt()
        self._next_at = time.monotonic() + interval_s
        self._asked: Future[Seen] | None = None

    def give_up(self) -> None:
        self._interrupt.set()

    @property
    def left_s(self) -> float:
        """How long nothing is to be done here, unless it is woken."""
        left_s = REDRAW_INTERVAL_S if self._asked else self._next_at - time.monotonic()
        return max(0.0, min(REDRAW_INTERVAL_S, left_s))

    def news(self, state: TopState) -> TopState:
        """The state with what has been answered; asks again when it is time."""
        now = time.time()
        if self._asked and self._asked.done():
            asked, self._asked = self._asked, None
            try:
                state = replace(state, seen=asked.result(), problem="")
            except ClientError as error:
                state = replace(state, problem=str(error))
        if self._asked is None and time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + self._interval_s
            self._asked = self._pool.submit(self._interrupt.within, self._look)
            self._asked.add_done_callback(lambda _: self._waker.wake())
        return replace(state, now=now)

    def _look(self) -> Seen:
        client, self._client = self._client or running(), None
        found = look(client)
        self._client = client
        return found


@contextmanager
def _asking(client: Client, interval_s: float, waker: Waker) -> Iterator[_Asking]:
    with ThreadPoolExecutor(1) as pool:
        asking = _Asking(client, interval_s, pool, waker)
        try:
            yield asking
        finally:
            asking.give_up()


def _watch(client: Client, state: TopState, interval_s: float) -> int:
    """Show it until the user has seen enough; gives the signal that ended it, or 0."""
    # Its library takes a while to import, and only the full screen needs it.
    from .screen import Screen

    with Waker() as waker, Screen() as screen, _asking(client, interval_s, waker) as asking:
        while not (state.ended or waker.ending or screen.gone):
            state = asking.news(state)
            screen.show(view(state, screen.size))
            if waker.wait([screen.fd], asking.left_s):
                for key in screen.read_keys():
                    state = pressed(state, key, screen.size)
        return waker.ending
