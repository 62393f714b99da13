"""Real nodes among a crowd of strangers from many addresses: a joiner finds the honest, and jobs go on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from .cut_network import inside, two_switches
from .nodes import Node, know_each_other, known, running_nodes, until
from .programs import JOBS

IDENTITIES, RANGES, INVENTED = 40, 4, 1_000
MEASURED = 5
# Many more than the honest: the crowd's adverts have come.
HEARD, MET = 100, 4
COME_S_MAX = 60.0
# Awards that are lost before a requester has learnt, each at most 5 s, on a busy machine.
FIRST_S_MAX = 40.0
# Two for each requester, as many for whom a busy machine makes late, and what is told meanwhile.
IN_VAIN_MAX = 12
JOB_S_MAX = 10.0
END_S_MAX = 10.0


@contextmanager
def crowd(netns: str, targets: list[tuple[str, str]], done: dict[str, int]) -> Iterator[None]:
    settings = {"targets": targets, "identities": IDENTITIES, "ranges": RANGES, "invented": INVENTED}
    command = [sys.executable, "-m", "tests.misdeeds.crowd", json.dumps(settings)]
    with inside(netns):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        yield
        said, _ = process.communicate(timeout=END_S_MAX)
        done |= json.loads(said)
    finally:
        process.kill()
        process.wait()


def placed_s(node: Node) -> float:
    """Seconds from the request that submits to Completed."""
    begun = time.monotonic()
    job = node.client.submit_job((JOBS / "noop.yaml").read_bytes(), "noop.yaml", True)["id"]
    ended = node.ended(job, FIRST_S_MAX)
    assert ended["state"] == "Completed", node.history(job)
    return time.monotonic() - begun


def connected(node: Node) -> set[str]:
    return {one["peer"] for one in node.client.nodes() if one["connected"] and not one["self"]}


def test_a_joiner_among_a_crowd_finds_the_honest_and_jobs_of_both_are_placed_and_end(tmp_path: Path) -> None:
    done: dict[str, int] = {}
    with two_switches() as switches, running_nodes(tmp_path) as nodes:
        a = switches.node(nodes, "left", "a", "--no-compute", public=True).start()
        others = [switches.node(nodes, "left", name, peers=(a,), public=True) for name in "bc"]
        for one in others:
            one.start(ready=False)
        b, c = (one.wait_ready() for one in others)
        know_each_other(a, b, c)
        a.add(JOBS / "noop.wasm")
        placed_s(a)
        usual = [placed_s(a) for _ in range(MEASURED)]
        joiner = switches.node(nodes, "left", "d", "--no-compute", peers=(a,), public=True)
        joiner.port = 4001
        address = f"{joiner.host}{joiner.port}/p2p/{nodes.peer_of('d')}"
        targets = [(one.peer, one.address) for one in (a, b, c)] + [(nodes.peer_of("d"), address)]
        with crowd(switches.crowd("right"), targets, done):
            until("the crowd has come", lambda: len(known(a)) > HEARD and len(connected(a)) > MET, COME_S_MAX)
            joiner.start()
            honest = {one.peer for one in (a, b, c)}
            until("the joiner is connected to the honest", lambda: honest <= connected(joiner), COME_S_MAX)
            until("the crowd has come there, too", lambda: len(connected(joiner) - honest) > MET, COME_S_MAX)
            joiner.add(JOBS / "noop.wasm")
            first = {one.name: placed_s(one) for one in (a, joiner)}
            attacked = {one.name: [placed_s(one) for _ in range(MEASURED)] for one in (a, joiner)}
            assert honest <= connected(joiner)
            strangers = {one.name: len(connected(one) - honest) for one in (a, joiner)}
    print(f"usual {median(usual):.2f} s; first under attack {first}")  # noqa: T201
    print({name: round(median(times), 2) for name, times in attacked.items()}, strangers, done)  # noqa: T201
    assert done["met"] and done["asked"] and done["silent"] and done["adverts"] > HEARD, done
    assert done["won"] <= IN_VAIN_MAX, done
    assert all(median(times) < JOB_S_MAX for times in attacked.values()), attacked
