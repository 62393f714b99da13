"""`network create`, `invite`, `expel`, `rotate-key`, `show`, `leave`, and `join`: this node's network."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from p2pnode import own_network
from p2pnode.api.shapes import IdentityJson, NetworkJson
from p2pnode.cli import options, standard
from p2pnode.cli.answers import NetworkKeyJson, OwnNetworkJson
from p2pnode.cli.forms import OutputForm, answer_form, takes_form
from p2pnode.cli.groups import Group
from p2pnode.cli.nodes import network_text
from p2pnode.cli.output import answer, clock, fields, rfc3339, say
from p2pnode.cli.status import CommandError, Status
from p2pnode.client.errors import NodeUnreachable
from p2pnode.client.finding import find
from p2pnode.config import default_data_dir
from p2pnode.core.records.membership import OPEN_NETWORK, RIGHTS, TOKEN_LENGTH_MAX, Right
from p2pnode.core.values.units import parse_duration
from p2pnode.core.wire import addresses as addressing
from p2pnode.core.wire import codec, peer_ids
from p2pnode.core.wire.addresses import Scope
from p2pnode.core.wire.bootstrap import parse_given
from p2pnode.core.wire.fields import INTEGER_MAX, MOMENT_MS_MAX
from p2pnode.core.wire.membership import BOOTSTRAP_ADDRESSES_MAX, ExpulsionBody, Role
from p2pnode.own_network import OwnNetwork, OwnNetworkError


@click.group(cls=Group)
def network() -> None:
    """Make a private network, and invite others to it.

    A node is in one network: the open one, which anyone may join, or a private one, whose nodes share a key
    and speak to nobody else. See also p2pnode join.
    """


@network.command()
@click.argument("name", type=options.ParsedValue("name", own_network.parse_name))
def create(name: str) -> int:
    """Make a private network; this machine holds its operator's key, and its node is in it."""
    data_dir = default_data_dir()
    with _refusals():
        own = own_network.create(data_dir, name, _now_ms())
    say(f"in {own_network.description(own, time.time())}")
    say(f"{data_dir / own_network.NETWORK_FILE} holds the operator's only key: keep a copy, in secret")
    _say_next(data_dir, "others join by a token: p2pnode network invite")
    return Status.OK


@network.command()
@click.option(
    "--role",
    type=click.Choice([one.value for one in Role]),
    default=Role.MEMBER.value,
    help="guest: submits jobs; member: also runs and looks after them; operator: also controls others'.",
)
@click.option(
    "--expires",
    "lifetime_s",
    metavar="TIME",
    type=options.ParsedValue("duration", parse_duration),
    default="720h",
    help="The token lets in for that long: seconds, or such as 24h.",
)
@click.option(
    "--member-for",
    "member_for_s",
    metavar="TIME",
    type=options.ParsedValue("duration", parse_duration),
    help="Who joins by it is a member for that long.  [default: without end]",
)
@click.option(
    "--address",
    "addresses",
    metavar="ADDR",
    type=options.ParsedValue("address", parse_given),
    multiple=True,
    help="Where others reach a node of the network, with /p2p/ID, or /dnsaddr/NAME; instead of this node's."
    " May be repeated.",
)
def invite(role: str, lifetime_s: int, member_for_s: int | None, addresses: tuple[str, ...]) -> int:
    """Print a token by which other machines join: a secret, of one line."""
    data_dir = default_data_dir()
    with _refusals():
        own = _own(data_dir)
        if lifetime_s == 0:
            raise click.UsageError("--expires is 0: the token would have expired already")
        if member_for_s == 0:
            raise click.UsageError("--member-for is 0: nobody would be a member by the token")
        if len(addresses) > BOOTSTRAP_ADDRESSES_MAX:
            raise click.UsageError(f"--address: a token has room for {BOOTSTRAP_ADDRESSES_MAX}")
        expires_ms = min(_now_ms() + lifetime_s * 1000, MOMENT_MS_MAX - 1)
        lasts_ms = None if member_for_s is None else min(member_for_s * 1000, MOMENT_MS_MAX)
        there = addresses or _addresses(data_dir, own)
        token = own_network.invite(own, Role(role), expires_ms, lasts_ms, there)
    answer(token)
    number = own_network.number_of(token)
    say(f"invitation {number}: p2pnode network expel --invitation {number} takes it back")
    say(f"for p2pnode join, on any number of machines until {clock(expires_ms / 1000)}: who has it is let in")
    return Status.OK


@network.command()
@click.argument("peers", metavar="PEER...", nargs=-1)
@click.option(
    "--invitation",
    "invitations",
    metavar="NUMBER",
    type=click.IntRange(0, INTEGER_MAX),
    multiple=True,
    help="All who joined, and will join, by the invitation of that number. May be repeated.",
)
def expel(peers: tuple[str, ...], invitations: tuple[int, ...]) -> int:
    """Expel nodes, where the operator's key is: the members leave them, and take no jobs of them.

    PEER is a peer id. Who still has a token joins anew with another id: expel its invitation, too.
    """
    data_dir = default_data_dir()
    wrong = [one for one in peers if not peer_ids.is_peer_id(one)]
    if wrong or not (peers or invitations):
        raise click.UsageError(f"{wrong[0]!r} is no peer id" if wrong else "name a PEER or --invitation")
    with _refusals():
        own = _own(data_dir)
        made = own_network.expel(data_dir, own, peers, invitations, _now_ms())
    say(
        f"expelled from {own.member.network}, in all: peers {len(made.peers)},"
        f" invitations {len(made.invitations)}"
    )
    if _running(data_dir) is None:
        say("the members hear of it once this node runs: p2pnode serve")
    return Status.OK


@network.command()
@click.option(
    "--grace",
    "grace_s",
    metavar="TIME",
    type=options.ParsedValue("duration", parse_duration),
    default="168h",
    help="The keys before still let in for that long, for members that are away; 0: they do not.",
)
def rotate_key(grace_s: int) -> int:
    """Make a new network key, where the operator's key is: the members get it, those expelled do not.

    Who does not hear of it within the grace time, and who has an older token, joins anew by a new token.
    """
    data_dir = default_data_dir()
    with _refusals():
        own = _own(data_dir)
        made = own_network.rotate_key(data_dir, own, min(grace_s * 1000, MOMENT_MS_MAX), _now_ms())
    until = f"until {clock(made.earlier[0].until_ms / 1000)}" if made.earlier else "no more"
    say(f"{own.member.network} has a new key; the one before lets in {until}")
    say("tokens made before join as long as their key lets in: p2pnode network invite makes new ones")
    if _running(data_dir) is None:
        say("the members get it once this node runs: p2pnode serve")
    return Status.OK


@network.command()
@takes_form(names="the network's name alone")
def show(form: OutputForm) -> int:
    """Show the network that this node is in, running or not; of its keys their ages alone."""
    data_dir = default_data_dir()
    with _refusals():
        own = own_network.load(data_dir)
        expelled = own_network.expelled(data_dir, own) if own else None
    value = _shown(own, codec.decode(expelled.body, ExpulsionBody) if expelled else None)
    names = [value["network"]["name"]] if value["network"] else []
    answer_form(form, value, lambda wide: fields(_lines(value)), names)
    if form.is_table:
        _say_if_not_yet(data_dir, own)
    return Status.OK


@network.command()
@click.option(
    "--forget-operator-key", is_flag=True, help="Where the network was made: nobody can invite then."
)
def leave(forget_operator_key: bool) -> int:
    """Forget the network and its keys; the node is in the open network from its next start."""
    data_dir = default_data_dir()
    with _refusals():
        own = _own(data_dir)
        name = own.member.network
        if own.operator_seed is not None and not forget_operator_key:
            raise CommandError(
                Status.FAILED,
                f"the key of {name}'s operator is only here: without it nobody can invite any more",
                "p2pnode network leave --forget-operator-key",
            )
        own_network.leave(data_dir)
    say(f"left {name}: this node is in {OPEN_NETWORK}")
    _say_next(data_dir)
    return Status.OK


@click.command()
@click.argument("token")
def join(token: str) -> int:
    """Join a private network by a token.

    TOKEN is what p2pnode network invite printed; - reads it from stdin, which no list of processes shows.
    Nobody is asked: the token holds all that is needed. Where the network key was rotated since it was made
    it may let in no more: then ask the operator for another.
    """
    data_dir = default_data_dir()
    text = standard.read(2 * TOKEN_LENGTH_MAX).decode(errors="replace") if token == "-" else token
    with _refusals():
        own = own_network.join(data_dir, text, _now_ms())
    say(f"joined {own_network.description(own, time.time())}")
    if not own.addresses:
        say("the token names no node to begin with: name one with --peer (config set peers)")
    _say_next(data_dir)
    return Status.OK


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except OwnNetworkError as error:
        raise CommandError(Status.FAILED, str(error)) from error


def _now_ms() -> int:
    return int(time.time() * 1000)


def _own(data_dir: Path) -> OwnNetwork:
    own = own_network.load(data_dir)
    if own is None:
        raise OwnNetworkError("this node is in the open network: p2pnode network create, or p2pnode join")
    return own


def _running(data_dir: Path) -> IdentityJson | None:
    """The node that runs on the data directory, whatever other the environment names."""
    try:
        return find(data_dir, {}).identity()
    except NodeUnreachable:
        return None


def _is_in(running: IdentityJson, own: OwnNetwork | None) -> bool:
    # A node of an earlier version tells of none.
    told = running.get("network")
    return (told["operator"] if told else None) == (own.member.operator if own else None)


def _say_next(data_dir: Path, *more: str) -> None:
    restart = _running(data_dir) is not None
    say(
        "the node that runs goes on as before: start it again" if restart else "start the node: p2pnode serve"
    )
    for line in more:
        say(line)


def _say_if_not_yet(data_dir: Path, own: OwnNetwork | None) -> None:
    running = _running(data_dir)
    if running is not None and not _is_in(running, own):
        say(f"the node that runs is in {network_text(running.get('network'))}, until it is started again")


def _addresses(data_dir: Path, own: OwnNetwork) -> Sequence[str]:
    """The addresses of the node that runs, the farthest-reaching first; raises `OwnNetworkError`."""
    running = _running(data_dir)
    if running is None:
        raise OwnNetworkError(
            "no node runs here whose addresses the token could name: p2pnode serve, or --address"
        )
    if not _is_in(running, own):
        raise OwnNetworkError(
            f"the node that runs is not yet in {own.member.network}: start it again, or name --address"
        )
    scopes = {one: addressing.scope_of(addressing.parse(one).host) for one in running["addresses"]}
    wide = [one for one, scope in scopes.items() if scope is not Scope.LOOPBACK]
    if not wide:
        say("the node listens on loopback alone: by this token nobody joins from another machine")
    return sorted(wide or scopes, key=lambda one: -scopes[one])[:BOOTSTRAP_ADDRESSES_MAX]


def _shown(own: OwnNetwork | None, expelled: ExpulsionBody | None) -> OwnNetworkJson:
    if own is None:
        return OwnNetworkJson(
            network=None,
            joined=None,
            may=[],
            addresses=[],
            invites=False,
            invitation=None,
            keys=[],
            expelled=[],
            expelled_invitations=[],
        )
    member = own.member
    return OwnNetworkJson(
        network=NetworkJson(
            name=member.network, operator=member.operator, role=member.role.value, expires=member.expires
        ),
        joined=member.joined_ms / 1000,
        may=[one.value for one in Right if one in RIGHTS[member.role]],
        addresses=list(own.addresses),
        invites=own.operator_seed is not None,
        invitation=str(member.invitation),
        keys=_keys(own),
        expelled=list(expelled.peers) if expelled else [],
        expelled_invitations=[str(one) for one in expelled.invitations] if expelled else [],
    )


def _keys(own: OwnNetwork) -> list[NetworkKeyJson]:
    keys, now_ms = own.keys, _now_ms()
    # A token tells nothing of its key's age.
    since = None if own.keyring is None and own.operator_seed is None else keys.since_ms / 1000
    earlier = [one for one in keys.earlier if now_ms < one.until_ms]
    return [
        NetworkKeyJson(since=since, until=None),
        *(NetworkKeyJson(since=one.since_ms / 1000, until=one.until_ms / 1000) for one in earlier),
    ]


def _key_text(key: NetworkKeyJson) -> str:
    made = "as it was when this node joined" if key["since"] is None else f"made {rfc3339(key['since'])}"
    return made if key["until"] is None else f"{made}, lets in until {rfc3339(key['until'])}"


def _lines(value: OwnNetworkJson) -> list[tuple[str, str]]:
    found = value["network"]
    if found is None or value["joined"] is None:
        return [("Network", f"{OPEN_NETWORK}: whoever reaches this node may ask it")]
    return [
        ("Network", f"{found['name']} (private)"),
        ("Operator", found["operator"] + (", whose key is here" if value["invites"] else "")),
        ("Role", f"{found['role']}: {', '.join(value['may'])}"),
        ("Joined", rfc3339(value["joined"])),
        ("Until", "" if found["expires"] is None else rfc3339(found["expires"])),
        ("Invitation", value["invitation"] or ""),
        *(("Key", _key_text(one)) for one in value["keys"]),
        *(("Address", one) for one in value["addresses"]),
        *(("Expelled", one) for one in value["expelled"]),
        *(("Expelled", f"invitation {one}") for one in value["expelled_invitations"]),
    ]
