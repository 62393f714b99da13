"""The private network of a data directory, and the commands that make, join, show and leave it."""

from __future__ import annotations

import io
import json
import logging
import stat
from pathlib import Path

import pytest

from p2pnode import own_network
from p2pnode.api.shapes import NetworkJson
from p2pnode.cli.main import main
from p2pnode.core.records import membership
from p2pnode.core.wire import codec
from p2pnode.core.wire.membership import InvitationToken, Role
from p2pnode.doctor import checks
from p2pnode.doctor.probes import NetworkFacts, NodeFacts, network
from p2pnode.identity import Identity, load_or_create
from p2pnode.own_network import NETWORK_FILE, OwnNetwork, OwnNetworkError
from tests.fake_node import PEER, Served

from .test_doctor import an_identity

Output = pytest.CaptureFixture[str]
NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
ADDRESS = f"/ip4/192.0.2.1/tcp/4001/p2p/{PEER}"


def invited(own: OwnNetwork, expires_ms: int = NOW_MS + DAY_MS, role: Role = Role.MEMBER) -> str:
    return own_network.invite(own, role, expires_ms, DAY_MS, [ADDRESS])


def test_who_joins_has_the_key_the_role_and_the_addresses_but_not_the_operator_s_key(tmp_path: Path) -> None:
    made = own_network.create(tmp_path / "a", "acme", NOW_MS)
    own_network.join(tmp_path / "b", invited(made, role=Role.GUEST), NOW_MS)
    joined = own_network.load(tmp_path / "b")
    assert joined is not None
    assert (joined.key, joined.addresses, joined.operator_seed) == (made.key, (ADDRESS,), None)
    member, peer = joined.member, load_or_create(tmp_path / "b").peer_id
    assert (member.network, member.operator, member.peer) == ("acme", made.member.operator, peer)
    assert (member.role, member.expires_ms) == (Role.GUEST, NOW_MS + DAY_MS)
    membership.vet_untrusted(
        joined.membership, "acme", made.member.operator, peer, NOW_MS, Identity(bytes(32))
    )
    with pytest.raises(OwnNetworkError, match="not on this machine"):
        invited(joined)


def test_a_token_may_name_its_nodes_by_a_name_in_dns(tmp_path: Path) -> None:
    made = own_network.create(tmp_path / "a", "acme", NOW_MS)
    token = own_network.invite(
        made, Role.MEMBER, NOW_MS + DAY_MS, DAY_MS, ["/dnsaddr/nodes.example.org", ADDRESS]
    )
    own_network.join(tmp_path / "b", token, NOW_MS)
    joined = own_network.load(tmp_path / "b")
    assert own_network.peers_of(joined, PEER) == ("/dnsaddr/nodes.example.org",)


def test_who_makes_a_network_is_its_operator_for_good(tmp_path: Path) -> None:
    made = own_network.create(tmp_path, "acme", NOW_MS)
    assert own_network.load(tmp_path) == made
    assert made.operator_seed is not None
    assert Identity(made.operator_seed).peer_id == made.member.operator
    assert (made.member.role, made.member.expires) == (Role.OPERATOR, None)
    assert own_network.description(made, 0).endswith("role operator")


def test_the_file_is_its_owner_s_alone_and_nothing_else_is_left(tmp_path: Path) -> None:
    own_network.create(tmp_path, "acme", NOW_MS)
    assert stat.S_IMODE((tmp_path / NETWORK_FILE).stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {NETWORK_FILE, "identity.key"}


@pytest.mark.parametrize("data", [b"", b"junk", b"\xa0", b"x" * 100_000])
def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path, data: bytes) -> None:
    (tmp_path / NETWORK_FILE).write_bytes(data)
    with pytest.raises(OwnNetworkError, match=r"network\.key is damaged: move it away"):
        own_network.load(tmp_path)
    assert (tmp_path / NETWORK_FILE).read_bytes() == data
    assert checks.network(network(tmp_path, 0), NodeFacts(), 0).level == "FAIL"


def token_with(made: OwnNetwork, seed: bytes) -> str:
    token = membership.read_token_untrusted(invited(made))
    return membership.write_token(codec.replace(token, seed=seed))


def test_what_cannot_be_joined_is_refused_and_leaves_the_open_network(tmp_path: Path) -> None:
    made = own_network.create(tmp_path / "a", "acme", NOW_MS)
    forged = membership.read_token_untrusted(invited(made))
    other = codec.replace(forged.invitation, signature=bytes(64))
    for text, why in (
        (invited(made, NOW_MS), "expired"),
        (invited(made)[:-5], "cut off"),
        (token_with(made, bytes(32)), "not signed"),
        (membership.write_token(codec.replace(forged, invitation=other)), "not signed"),
        ("hello", "no token"),
    ):
        with pytest.raises(OwnNetworkError, match=why):
            own_network.join(tmp_path / "b", text, NOW_MS)
    assert own_network.load(tmp_path / "b") is None


def test_a_second_network_is_refused_until_the_first_is_left(tmp_path: Path) -> None:
    acme = own_network.create(tmp_path / "a", "acme", NOW_MS)
    other = own_network.create(tmp_path / "b", "other", NOW_MS)
    own_network.join(tmp_path / "c", invited(acme), NOW_MS)
    with pytest.raises(OwnNetworkError, match="already"):
        own_network.join(tmp_path / "c", invited(acme), NOW_MS)
    for again in (
        lambda: own_network.join(tmp_path / "c", invited(other), NOW_MS),
        lambda: own_network.create(tmp_path / "c", "third", NOW_MS),
    ):
        with pytest.raises(OwnNetworkError, match="in the network acme: first p2pnode network leave"):
            again()
    own_network.leave(tmp_path / "c")
    own_network.join(tmp_path / "c", invited(other), NOW_MS)


def test_nothing_shows_the_keys_but_the_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    made = own_network.create(tmp_path, "acme", NOW_MS)
    assert made.operator_seed is not None
    shown = f"{made!r} {made} {caplog.text} {own_network.description(made, 0)}"
    for secret in (made.key, made.operator_seed):
        assert secret.hex() not in shown and repr(secret)[2:-1] not in shown


def test_a_node_does_not_dial_itself_by_a_token(tmp_path: Path) -> None:
    made = own_network.create(tmp_path / "a", "acme", NOW_MS)
    joined = own_network.join(tmp_path / "b", invited(made), NOW_MS)
    assert own_network.peers_of(joined, "another") == (ADDRESS,)
    assert own_network.peers_of(joined, PEER) == own_network.peers_of(None, PEER) == ()


# The commands


def run(capfd: Output, *arguments: str, status: int = 0) -> tuple[str, str]:
    assert main(list(arguments)) == status
    return capfd.readouterr()


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("P2PNODE_DATA_DIR", str(tmp_path / "ada"))
    return tmp_path


def test_two_commands_make_a_network_and_a_third_joins_it(
    machines: Path, capfd: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, said = run(capfd, "network", "create", "acme")
    assert "in network acme (private)" in said and "keep a copy" in said and "p2pnode serve" in said
    token, said = run(capfd, "network", "invite", "--role", "guest", "--address", ADDRESS)
    assert len(token.split()) == 1 and "until" in said
    monkeypatch.setenv("P2PNODE_DATA_DIR", str(machines / "bob"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(token.encode())))
    out, said = run(capfd, "join", "-")
    assert out == "" and "joined network acme (private)" in said and "role guest\n" in said
    shown, _ = run(capfd, "network", "show")
    assert "guest: submit jobs\n" in shown and ADDRESS in shown
    assert run(capfd, "network", "show", "-o", "name")[0] == "acme\n"
    _, said = run(capfd, "network", "leave")
    assert "this node is in the open network" in said
    assert "open network" in run(capfd, "network", "show")[0]


def test_no_command_but_invite_shows_a_key(machines: Path, capfd: Output) -> None:
    run(capfd, "network", "create", "acme")
    own = own_network.load(machines / "ada")
    assert own is not None and own.operator_seed is not None
    shown = "".join(
        "".join(run(capfd, *words))
        for words in (
            ("network", "show"),
            ("network", "show", "-o", "json"),
            ("network", "show", "-o", "wide"),
            ("config", "list", "-o", "wide"),
        )
    )
    assert own.key.hex() not in shown and own.operator_seed.hex() not in shown
    token = membership.read_token_untrusted(run(capfd, "network", "invite", "--address", ADDRESS)[0])
    assert isinstance(token, InvitationToken) and token.network_key == own.key


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (["network", "create", "Acme"], 2, "a-z, 0-9 and -"),
        (["network", "create", "-"], 2, "a-z, 0-9 and -"),
        (["network", "create", "acme\n"], 2, "a-z, 0-9 and -"),
        (["network", "create", "again"], 5, "first p2pnode network leave"),
        (["network", "invite"], 5, "p2pnode serve, or --address"),
        (["network", "invite", "--expires", "0s", "--address", ADDRESS], 2, "expired already"),
        (["network", "invite", "--expires", "soon"], 2, "a duration"),
        (["network", "invite", "--member-for", "0", "--address", ADDRESS], 2, "nobody would be a member"),
        (["network", "rotate-key", "--grace", "soon"], 2, "a duration"),
        (["network", "invite", "--address", "/ip4/192.0.2.1/tcp/4001"], 2, "/p2p/"),
        (["network", "invite", *(["--address", ADDRESS] * 9)], 2, "room for 8"),
        (["network", "invite", "--role", "king"], 2, "guest"),
        (["network", "leave"], 5, "--forget-operator-key"),
        (["join", "nonsense"], 5, "no token"),
    ],
)
def test_a_wrong_command_says_what_to_do(
    machines: Path, capfd: Output, words: list[str], status: int, why: str
) -> None:
    run(capfd, "network", "create", "acme")
    before = (machines / "ada" / NETWORK_FILE).read_bytes()
    out, said = run(capfd, *words, status=status)
    assert out == "" and why in said
    assert (machines / "ada" / NETWORK_FILE).read_bytes() == before


def test_the_operator_s_key_is_forgotten_only_when_that_is_said(machines: Path, capfd: Output) -> None:
    run(capfd, "network", "create", "acme")
    run(capfd, "network", "leave", "--forget-operator-key")
    assert not (machines / "ada" / NETWORK_FILE).exists()
    assert "p2pnode join" in run(capfd, "network", "invite", status=5)[1]


def test_an_address_is_taken_of_the_node_that_runs_once_it_is_in_the_network(
    served: Served, capfd: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, said = run(capfd, "network", "create", "acme")
    assert "start it again" in said
    assert "not yet in acme: start it again" in run(capfd, "network", "invite", status=5)[1]
    assert "until it is started again" in run(capfd, "network", "show")[1]
    own = own_network.load(served.node.data_dir)
    assert own is not None
    served.node.network = NetworkJson(
        name="acme", operator=own.member.operator, role="operator", expires=None
    )
    identity = served.node.identity()
    near, far = f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}", f"/ip4/10.0.0.1/tcp/1/p2p/{PEER}"
    identity["addresses"] = [near, far]
    monkeypatch.setattr(served.node, "identity", lambda: identity)
    token = membership.read_token_untrusted(run(capfd, "network", "invite")[0])
    assert token.addresses == (far,)
    identity["addresses"] = [near]
    out, said = run(capfd, "network", "invite")
    assert membership.read_token_untrusted(out).addresses == (near,)
    assert "loopback alone" in said
    assert json.loads(run(capfd, "id", "-o", "json")[0])["network"]["name"] == "acme"
    assert "acme (private)" in run(capfd, "id")[0]


@pytest.mark.parametrize(
    ("found", "told", "level"),
    [
        (NetworkFacts(), None, "ok"),
        (NetworkFacts("acme", "op", "network acme"), "op", "ok"),
        (NetworkFacts("acme", "op", "network acme"), None, "warn"),
        (NetworkFacts(), "op", "warn"),
        (NetworkFacts("acme", "op", "network acme", expires=99.0), "op", "FAIL"),
        (NetworkFacts("acme", "op", "network acme", expires=101.0), "op", "ok"),
        (NetworkFacts("acme", "op", "network acme", expires=101.0, ends="ends: ask"), "op", "warn"),
        (NetworkFacts("acme", "op", "network acme", of_another="it is another's: put it back"), "op", "FAIL"),
        (NetworkFacts(problem="damaged"), "op", "FAIL"),
    ],
)
def test_the_doctor_compares_the_network_with_the_node_s(
    found: NetworkFacts, told: str | None, level: str
) -> None:
    identity = an_identity("1")
    if told:
        identity["network"] = NetworkJson(name="acme", operator=told, role="member", expires=None)
    assert checks.network(found, NodeFacts(identity), 100.0).level == level


def test_a_membership_of_another_identity_is_told_with_what_to_do(tmp_path: Path) -> None:
    made = own_network.create(tmp_path / "a", "acme", NOW_MS)
    joined = own_network.join(tmp_path / "b", invited(made), NOW_MS)
    for data_dir, own in ((tmp_path / "a", made), (tmp_path / "b", joined)):
        assert own_network.why_of_another(data_dir, own) is None
        assert network(data_dir, 0).of_another == ""
        (data_dir / "identity.key").unlink()
        assert "identity.key is gone or was replaced" in network(data_dir, 0).of_another
        load_or_create(data_dir)
        found = checks.network(network(data_dir, 0), NodeFacts(), 0)
        assert found.level == "FAIL" and own.member.peer in found.text
        # The operator's machine keeps the one key that invites.
        assert ("network leave" in found.advice) is (own is joined)


def test_an_operator_expels_peers_and_invitations_and_show_lists_them(machines: Path, capfd: Output) -> None:
    run(capfd, "network", "create", "acme")
    assert "name a PEER" in run(capfd, "network", "expel", status=2)[1]
    assert "no peer id" in run(capfd, "network", "expel", "bob", status=2)[1]
    peer = Identity(bytes(32)).peer_id
    run(capfd, "network", "expel", peer)
    assert "in all: peers 1, invitations 1" in run(capfd, "network", "expel", "--invitation", "7")[1]
    shown = json.loads(run(capfd, "network", "show", "-o", "json")[0])
    assert (shown["expelled"], shown["expelled_invitations"]) == ([peer], ["7"])
    own = run(capfd, "network", "expel", "--invitation", shown["invitation"], status=5)
    assert "this machine" in own[1]
    run(capfd, "network", "leave", "--forget-operator-key")
    assert json.loads(run(capfd, "network", "show", "-o", "json")[0])["expelled"] == []


def test_an_operator_rotates_the_key_and_show_lists_the_ages_of_those_that_let_in(
    machines: Path, capfd: Output
) -> None:
    run(capfd, "network", "create", "acme")
    before = own_network.load(machines / "ada")
    _, said = run(capfd, "network", "rotate-key")
    assert "acme has a new key; the one before lets in until" in said and "p2pnode serve" in said
    own = own_network.load(machines / "ada")
    assert own is not None and before is not None
    assert own.key == own.keys.key != before.key == own.keys.earlier[0].key
    token = membership.read_token_untrusted(run(capfd, "network", "invite", "--address", ADDRESS)[0])
    assert token.network_key == own.key
    shown = run(capfd, "network", "show", "-o", "json")[0]
    newest, earlier = json.loads(shown)["keys"]
    assert newest["until"] is None and round(earlier["until"] - newest["since"]) == 7 * 86_400
    assert earlier["since"] <= newest["since"]
    assert "lets in until" in run(capfd, "network", "show")[0]
    assert "no more" in run(capfd, "network", "rotate-key", "--grace", "0")[1]
    text = run(capfd, "network", "show")[0]
    assert "Key" in text and "lets in until" not in text
    for secret in (before.key, own.key):
        assert secret.hex() not in text + shown


def test_keys_that_members_hear_of_are_kept_where_the_node_is_still_in_that_network(tmp_path: Path) -> None:
    made = own_network.create(tmp_path / "a", "acme", NOW_MS)
    joined = own_network.join(tmp_path / "b", invited(made), NOW_MS)
    with pytest.raises(OwnNetworkError, match="rotate it where it was made"):
        own_network.rotate_key(tmp_path / "b", joined, DAY_MS, NOW_MS)
    old = own_network.rotate_key(tmp_path / "a", made, DAY_MS, NOW_MS)
    signed = own_network.keyring_of(tmp_path / "a", made)
    assert signed is not None
    own_network.keep_keyring(tmp_path / "b", joined, signed)
    kept = own_network.load(tmp_path / "b")
    assert kept is not None
    assert (kept.key, kept.keys, kept.membership) == (old.key, old, joined.membership)
    assert stat.S_IMODE((tmp_path / "b" / NETWORK_FILE).stat().st_mode) == 0o600
    there = own_network.load(tmp_path / "a")
    assert there is not None
    own_network.rotate_key(tmp_path / "a", there, 0, NOW_MS)
    newer = own_network.keyring_of(tmp_path / "a", made)
    assert newer is not None
    own_network.keep_keyring(tmp_path / "b", joined, newer)
    own_network.keep_keyring(tmp_path / "b", joined, signed)
    assert own_network.keyring_of(tmp_path / "b", joined) == newer
    own_network.leave(tmp_path / "b")
    own_network.keep_keyring(tmp_path / "b", joined, newer)
    assert own_network.load(tmp_path / "b") is None


def test_only_the_operator_s_machine_expels_and_a_damaged_record_is_named(tmp_path: Path) -> None:
    made = own_network.create(tmp_path / "a", "acme", NOW_MS)
    joined = own_network.join(tmp_path / "b", invited(made), NOW_MS)
    with pytest.raises(OwnNetworkError, match="expel where it was made"):
        own_network.expel(tmp_path / "b", joined, [made.member.peer], [], NOW_MS)
    own_network.expel(tmp_path / "a", made, [joined.member.peer], [], NOW_MS)
    path = tmp_path / "a" / own_network.EXPELLED_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(OwnNetworkError, match=r"network\.expelled is damaged"):
        own_network.expelled(tmp_path / "a", made)
