"""`doctor`: what each check decides, and the whole of it with and without a node."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from p2pnode.api.shapes import IdentityJson, NodeJson, ProblemJson
from p2pnode.cli.main import main
from p2pnode.config import CONFIG_FILE
from p2pnode.doctor import checks, probes
from p2pnode.doctor.findings import Finding
from p2pnode.doctor.probes import ClockFacts, EngineFacts, NodeFacts, PathFacts, RouterFacts
from p2pnode.system.host_resources import DISK_RESERVE_BYTES
from tests.fake_node import PEER, RESOURCES, START, Served

Output = pytest.CaptureFixture[str]
ME = 1000
DIRECTORY = PathFacts(Path("/d"), "directory", ME, 0o700, 10**12, 10**12)
FILE = PathFacts(Path("/d/c"), "file", ME, 0o600)
ENGINE = EngineFacts("unix:///s", "Docker's default", "", "Docker 29")
# In November 2026.
NOW = START + 3 * checks.YEAR_S
CLOCK = ClockFacts(NOW, monotonic=True)
GB = 10**9


def a_peer(
    *, connected: bool = True, issued: float = START, own: bool = False, problem: str = ""
) -> NodeJson:
    return NodeJson(
        peer=PEER,
        name="other",
        engines=[],
        labels={},
        total=RESOURCES,
        free=RESOURCES,
        addresses=[],
        connected=connected,
        connection="direct" if connected and not own else "",
        reach="none",
        reach_by={},
        issued=issued,
        role=None,
        invitation=None,
        self=own,
        scheduling="schedulable",
        price=0,
        protocols=[],
        problem=problem or None,
    )


def of_peers(*issued: float) -> NodeFacts:
    return NodeFacts(nodes=(a_peer(own=True, issued=0), *(a_peer(issued=one) for one in issued)))


def an_identity(version: str) -> IdentityJson:
    return IdentityJson(
        peer=PEER,
        name="here",
        version=version,
        addresses=[],
        reach="direct",
        reach_by={"ip4": "direct"},
        data_dir="/d",
        engines=[],
        labels={},
        docker=None,
        network=None,
    )


def a_problem(*, aside: bool) -> ProblemJson:
    return ProblemJson(
        number=1,
        kind="job",
        subject="j-1",
        reason="",
        detail="",
        aside=aside,
        count=1,
        first_at=START,
        last_at=START,
    )


@pytest.mark.parametrize(
    ("decide", "level", "said"),
    [
        (lambda: checks.python((3, 12, 1), "p2pnode 1"), "ok", "Python 3.12.1, p2pnode 1"),
        (lambda: checks.python((3, 10, 9), ""), "FAIL", "none of 3.11 to 3.13"),
        (lambda: checks.python((3, 14, 0), ""), "FAIL", "none of 3.11 to 3.13"),
        (lambda: checks.data_directory(DIRECTORY, ME), "ok", "this user's alone"),
        (lambda: checks.data_directory(PathFacts(Path("/d")), ME), "ok", "serve makes it"),
        (lambda: checks.data_directory(replace(DIRECTORY, kind="file"), ME), "FAIL", "not a directory"),
        (lambda: checks.data_directory(replace(DIRECTORY, owner=0), ME), "FAIL", "belongs to user 0"),
        (lambda: checks.data_directory(replace(DIRECTORY, mode=0o750), ME), "warn", "mode 750"),
        (lambda: checks.data_directory(replace(DIRECTORY, mode=0o500), ME), "FAIL", "mode 500"),
        (lambda: checks.data_directory(replace(DIRECTORY, problem="denied"), ME), "FAIL", "/d: denied"),
        (lambda: checks.disk("disk", "/d", DISK_RESERVE_BYTES - 1), "FAIL", "no job is taken"),
        (lambda: checks.disk("disk", "/d", DISK_RESERVE_BYTES), "warn", "near"),
        (lambda: checks.disk("disk", "/d", 2 * DISK_RESERVE_BYTES), "ok", "free at /d"),
        (lambda: checks.disk("images", "/i", None), "ok", "/i: on no disk"),
        (lambda: checks.store_quota(2 * GB, GB), "warn", "store_quota is 2 GB, and the disk 1 GB"),
        (lambda: checks.config_file(FILE, "", ME), "ok", "/d/c is valid"),
        (lambda: checks.config_file(replace(FILE, kind=""), "", ME), "ok", "not there: defaults"),
        (lambda: checks.config_file(FILE, "c: name: expected", ME), "FAIL", "c: name: expected"),
        (lambda: checks.config_file(replace(FILE, mode=0o620), "", ME), "warn", "written to by others"),
        (lambda: checks.containers(ENGINE, chosen=False), "ok", "Docker 29 at unix:///s (Docker's default)"),
        (lambda: checks.containers(replace(ENGINE, problem="away"), chosen=False), "warn", "here: away"),
        (lambda: checks.containers(replace(ENGINE, problem="away"), chosen=True), "FAIL", "away"),
        (lambda: checks.wasm(None), "ok", "a module runs"),
        (lambda: checks.wasm("no"), "FAIL", "no"),
        (lambda: checks.port("api_port 0", 0, "", ()), "ok", "a free port"),
        (lambda: checks.port("api_port 1", 1, "", ()), "ok", "free"),
        (lambda: checks.port("api_port 1", 1, "taken", {1}), "ok", "held by the node that runs"),
        (lambda: checks.port("api_port 1", 1, "taken", {2}), "FAIL", "another program has it"),
        (lambda: checks.port("api_port 1", 1, "Permission denied", {1}), "FAIL", "Permission denied"),
        (lambda: checks.open_files(None), "ok", "any number"),
        (lambda: checks.open_files(4096), "ok", "4,096"),
        (lambda: checks.open_files(1024), "warn", "turned away"),
        (lambda: checks.open_files(1023), "FAIL", "a node needs 1,024"),
        (lambda: checks.clock(CLOCK, NodeFacts()), "ok", "the year is 2026"),
        (lambda: checks.clock(replace(CLOCK, monotonic=False), NodeFacts()), "FAIL", "backwards"),
        (lambda: checks.clock(replace(CLOCK, now=0.0), of_peers(0.0)), "FAIL", "the year is 1970"),
        (lambda: checks.clock(replace(CLOCK, now=2 * NOW), NodeFacts()), "FAIL", "the year is 2083"),
        (
            lambda: checks.clock(CLOCK, of_peers(NOW, NOW - 500, NOW + 9000)),
            "ok",
            "agrees with the adverts of its peers (3)",
        ),
        (lambda: checks.clock(CLOCK, of_peers(NOW + 61)), "warn", "61 s behind"),
        (lambda: checks.clock(CLOCK, of_peers(NOW - 3661)), "warn", "were made 3661 s ago"),
        (lambda: checks.node(NodeFacts(), "1"), "ok", "none runs here"),
        (lambda: checks.node(NodeFacts(problem="away"), "1"), "FAIL", "away"),
        (lambda: checks.node(NodeFacts(an_identity("1")), "1"), "ok", f"here answers: {PEER}"),
        (lambda: checks.node(NodeFacts(an_identity("0")), "1"), "warn", "here runs version 0"),
        (lambda: checks.problems(NodeFacts()), "ok", "nothing is set aside"),
        (lambda: checks.problems(NodeFacts(problems=(a_problem(aside=False),))), "ok", "nothing"),
        (lambda: checks.problems(NodeFacts(problems=(a_problem(aside=True),))), "warn", "1 set aside"),
        (lambda: checks.router(RouterFacts("192.168.1.1", "8.8.8.8")), "ok", "is 8.8.8.8 outside"),
        (lambda: checks.router(RouterFacts("192.168.1.1", "100.64.7.7")), "warn", "100.64.7.7, is private"),
        (lambda: checks.router(RouterFacts("192.168.1.1", problem="no UPnP")), "warn", "no UPnP"),
        (lambda: checks.kubo("0.38", ""), "ok", "Kubo 0.38"),
        (lambda: checks.kubo("", "no answer"), "FAIL", "no answer"),
    ],
)
def test_a_check_decides(decide: Callable[[], Finding], level: str, said: str) -> None:
    found = decide()
    assert (str(found.level), said in found.text) == (level, True), found
    assert bool(found.advice) is (level != "ok")


@pytest.mark.parametrize(
    ("nodes", "unreached", "levels"),
    [
        ((a_peer(own=True),), 0, ["warn"]),
        ((a_peer(own=True), a_peer()), 0, ["ok"]),
        ((a_peer(own=True), a_peer()), 1, ["ok", "warn"]),
        ((a_peer(own=True), a_peer(connected=False)), 2, ["FAIL", "warn", "warn"]),
        ((a_peer(own=True), a_peer(problem="speaks link/3")), 0, ["ok", "warn"]),
    ],
)
def test_peers_that_are_not_reached_are_named_each(
    nodes: tuple[NodeJson, ...], unreached: int, levels: list[str]
) -> None:
    given = {"peer": PEER, "addresses": ["/ip4/192.0.2.7/tcp/1"], "reason": "refused"}
    found = checks.peers(NodeFacts(nodes=nodes, unreached=(given,) * unreached))  # type: ignore[arg-type]
    assert [str(one.level) for one in found] == levels
    assert sum(one.text == f"{PEER}: refused" for one in found) == unreached


def test_the_addresses_of_now_are_told_without_those_of_loopback_and_relays() -> None:
    own, relay = f"/tcp/1/p2p/{PEER}", f"/ip4/10.0.0.9/tcp/1/p2p/{PEER}/p2p-circuit/p2p/{PEER}"
    listens = [f"/ip4/10.0.0.1{own}", f"/ip6/fd00::1{own}", f"/ip4/127.0.0.1{own}", relay]
    told = an_identity("1")
    told["addresses"] = [*listens, "/ip4/10.0.0.1/udp/1/quic-v1"]
    assert checks.own_addresses(told).text == "/ip4/10.0.0.1/tcp/1, /ip6/fd00::1/tcp/1"
    told["addresses"] = listens[2:3]
    assert checks.own_addresses(told).text == "none but those of this machine alone"


@pytest.mark.parametrize(("reach", "level"), [("direct", "ok"), ("relay", "ok"), ("none", "warn")])
def test_a_node_that_nobody_reaches_is_told_what_to_do(reach: str, level: str) -> None:
    found = checks.reach(NodeFacts(identity=an_identity("1") | {"reach": reach}))  # type: ignore[typeddict-item]
    assert found is not None and found.level == level and bool(found.advice) == (level == "warn")


def test_a_node_that_is_reached_in_one_family_alone_is_told_which() -> None:
    by_family = {"ip4": "none", "ip6": "direct"}
    given = an_identity("1") | {"reach": "none", "reach_by": by_family}  # type: ignore[typeddict-item]
    found = checks.reach(NodeFacts(identity=given))
    assert found is not None and found.level == "warn" and found.text == "IPv4 none, IPv6 direct"


def test_a_node_that_has_met_nobody_is_no_finding() -> None:
    assert checks.reach(NodeFacts()) is None


def test_a_quota_that_fits_is_no_finding() -> None:
    assert checks.store_quota(None, GB) is None and checks.store_quota(GB, GB) is None


def test_a_taken_port_and_a_free_one_are_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert probes.tcp_problem("127.0.0.1", port) == "taken"
    assert probes.tcp_problem("127.0.0.1", port) == ""


def test_a_place_that_is_not_there_is_on_the_disk_of_what_is_above_it(tmp_path: Path) -> None:
    found = probes.path_facts(tmp_path / "a" / "b")
    assert (found.kind, found.free_bytes > 0) == ("", True)
    (tmp_path / "f").write_text("")
    assert probes.path_facts(tmp_path / "f").kind == "file"
    assert (
        probes.path_facts(tmp_path / "f" / "x").problem or probes.path_facts(tmp_path / "f" / "x").kind == ""
    )


def test_a_node_that_has_died_is_none(tmp_path: Path) -> None:
    node = {"api": "http://127.0.0.1:1", "pid": 2**22 + 1, "peer": PEER, "name": "x"}
    (tmp_path / "node.json").write_text(json.dumps(node))
    assert probes.node(tmp_path, {}) == NodeFacts()


def test_a_machine_is_examined_with_its_node(
    served: Served, monkeypatch: pytest.MonkeyPatch, capfd: Output
) -> None:
    data_dir = served.node.data_dir
    data_dir.chmod(0o700)
    port = int(served.url.rpartition(":")[2])
    (data_dir / CONFIG_FILE).write_text(f"compute = false\napi_port = {port}\n")
    served.node.troubles = [a_problem(aside=True)]
    assert main(["doctor", "-o", "json"]) == 0
    found = {one["check"]: one for one in json.loads(capfd.readouterr().out)["checks"]}
    assert found["node"]["text"] == f"fake answers: {PEER}"
    assert (found["problems"]["level"], found["peers"]["level"]) == ("warn", "warn")
    assert "containers" not in found
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (data_dir / CONFIG_FILE).write_text(f"compute = false\napi_port = {taken.getsockname()[1]}\n")
        assert main(["doctor"]) == 1
    out = capfd.readouterr().out
    assert f"ok    ports       api_port {port}: held by the node that runs" not in out
    assert "FAIL  ports" in out and "another program has it; end that" in out


def test_a_broken_file_fails_and_the_other_checks_go_on(served: Served, capfd: Output) -> None:
    (served.node.data_dir / CONFIG_FILE).write_text("compute = false\napi_port = 70000\n")
    assert main(["doctor", "-o", "json"]) == 1
    found = {one["check"]: one for one in json.loads(capfd.readouterr().out)["checks"]}
    assert "api_port: expected a port" in found["config"]["text"]
    assert found["node"]["level"] == "ok"
