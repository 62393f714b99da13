"""Mandates: who signs what, which of two counts, who is obeyed, and whose commands are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from p2pnode.core.records import mandate
from p2pnode.core.values.trust import Trust
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.fields import COMMANDS_TOLD_MAX, CONTROLLERS_MAX, MEMBERS_NAMED_MAX
from p2pnode.core.wire.mandates import Charter, CommandAction, CommandBody, Extension, Mandate, job_id
from p2pnode.core.wire.signing import CHARTER_DOMAIN, EXTENSION_DOMAIN, Signed
from p2pnode.core.wire.spec import JobType

from .core_support import JOB, NONCE, a_command, a_mandate, new_record, spec
from .fake_keys import FakeKeys

KEYS = FakeKeys("nobody")


def extension(before: Mandate, signer: str, *members: str, by: str = "", **changes: Any) -> Mandate:
    """The mandate with one more extension, which `by` signs in the name of `signer`."""
    last = before.chain[-1] if before.chain else before.charter
    plain = Extension(job=JOB, after=codec.digest(last), signer=signer, members=members)
    signed = mandate.sign(FakeKeys(by or signer), EXTENSION_DOMAIN, codec.replace(plain, **changes))
    return Mandate(charter=before.charter, chain=(*before.chain, signed))


def signed_by(peer: str, given: Mandate, domain: bytes = CHARTER_DOMAIN) -> Mandate:
    """The same charter, with another peer's signature."""
    charter = codec.decode(given.charter.body, Charter)
    return Mandate(charter=mandate.sign(FakeKeys(peer), domain, charter))


BASE = a_mandate("me", "first", "second")
MANY = tuple(f"peer{number}" for number in range(MEMBERS_NAMED_MAX))


@pytest.mark.parametrize(
    ("given", "members"),
    [
        (a_mandate("me"), ("me",)),
        (BASE, ("me", "first", "second")),
        (extension(BASE, "first", "third"), ("me", "first", "second", "third")),
        (
            extension(extension(BASE, "second", "third"), "third", "fourth"),
            ("me", "first", "second", "third", "fourth"),
        ),
    ],
    ids=["nobody else", "deputies", "a deputy's extension", "an extension by whom another has named"],
)
def test_members_have_their_rank_in_the_order_of_naming(given: Mandate, members: tuple[str, ...]) -> None:
    authority = mandate.vet(given, JOB, KEYS)
    assert authority.members == members and authority.requester == "me"
    assert [authority.rank(peer) for peer in members] == list(range(len(members)))
    assert authority.rank("stranger") == MEMBERS_NAMED_MAX


REFUSED = {
    "signed by a deputy": (signed_by("first", BASE), "not signed by me"),
    "signed for something else": (signed_by("me", BASE, EXTENSION_DOMAIN), "not signed by me"),
    "of another job": (a_mandate("me", job="j-" + "1" * 32), "another job"),
    "of another requester": (a_mandate("enemy", job=JOB), "another job, or not of its requester"),
    "with another nonce": (a_mandate("me", nonce=bytes(15) + b"1"), "not of its requester"),
    "with a member twice": (a_mandate("me", "first", "first"), "twice"),
    "extended by a stranger": (extension(BASE, "enemy", "enemy2"), "signer is no member"),
    "extended in a member's name": (extension(BASE, "first", "x", by="enemy"), "not signed by first"),
    "extended after another record": (extension(BASE, "first", "x", after="0" * 64), "another mandate"),
    "extended for another job": (extension(BASE, "first", "x", job="j-" + "1" * 32), "another mandate"),
    "extended by a member that is one": (extension(BASE, "first", "second"), "twice"),
    "extended by too many": (extension(BASE, "first", *MANY), "too many"),
    "extended by whom nobody trusts": (
        extension(a_mandate("me", "first", trusted=("first", "second")), "first", "x"),
        "does not trust",
    ),
    "larger than any has to be": (
        a_mandate("me", extensions={f"x-{number}": bytes(4096) for number in range(4)}),
        "bytes",
    ),
    "by a charter that means more than this version knows": (
        a_mandate("me", extensions={"must-vote": b"\x01"}),
        "charter needs must-vote, which this version does not know",
    ),
    "extended by what means more than this version knows": (
        extension(BASE, "first", "x", extensions={"must-vote": b"\x01"}),
        "needs must-vote",
    ),
    "no charter": (Mandate(charter=Signed(body=b"\xa0", signature=bytes(64))), "charter"),
}


@pytest.mark.parametrize(("given", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_mandate_is_refused_that_is(given: Mandate, reason: str) -> None:
    with pytest.raises(BadMessage, match=reason):
        mandate.vet(given, JOB, KEYS)


ORDER: list[tuple[str, Callable[[], tuple[Mandate, Mandate]]]] = [
    (
        "a newer charter, before any extension",
        lambda: (extension(BASE, "me", "x"), a_mandate("me", serial=2)),
    ),
    ("one with an extension, before one without", lambda: (BASE, extension(BASE, "second", "x"))),
    (
        "the extension of the lower rank, before a longer one of a higher rank",
        lambda: (
            extension(extension(BASE, "second", "x"), "second", "y"),
            extension(BASE, "first", "z"),
        ),
    ),
    (
        "the longer of two of one signer",
        lambda: (
            extension(BASE, "first", "x"),
            extension(extension(BASE, "first", "x"), "first", "y"),
        ),
    ),
]


@pytest.mark.parametrize("make", [one[1] for one in ORDER], ids=[one[0] for one in ORDER])
def test_of_two_mandates_counts(make: Callable[[], tuple[Mandate, Mandate]]) -> None:
    older, newer = make()
    assert mandate.newest(older, newer) is newer and mandate.newest(newer, older) is newer


def test_a_mandate_is_extended_as_far_as_there_may_be_members() -> None:
    keys = FakeKeys("first")
    full = mandate.extended(keys, BASE, "first", MANY)
    assert len(mandate.vet(full, JOB, KEYS).members) == MEMBERS_NAMED_MAX
    assert mandate.extended(keys, full, "first", ["more"]) is full


def test_the_next_charter_goes_on_from_the_one_before() -> None:
    after = mandate.recharter(FakeKeys("me"), extension(BASE, "first", "x"), ("me", "third"), 2, "0" * 64)
    authority = mandate.vet(after, JOB, KEYS)
    assert (authority.charter.serial, authority.members) == (2, ("me", "third"))
    assert (authority.charter.version, authority.charter.spec_hash) == (2, "0" * 64)


def test_a_first_charter_names_controllers_and_whom_the_requester_trusts() -> None:
    charter = mandate.first_charter(JOB, NONCE, "me", spec(), Trust(("ops",), ("ops", "friend")))
    assert (charter.members, charter.controllers, charter.trusted) == (("me",), ("ops",), ("ops", "friend"))


def test_operators_of_the_network_control_a_job_and_are_not_by_that_entrusted_with_it() -> None:
    many = tuple(f"op{n}" for n in range(CONTROLLERS_MAX))
    charter = mandate.first_charter(JOB, NONCE, "me", spec(), Trust(("ops", "op1")), many)
    assert charter.controllers == ("ops", "op1", "op0", *many[2:-1])
    assert charter.trusted == ("ops", "op1")


def test_a_jobs_id_is_of_its_requester_and_nonce() -> None:
    ids = {job_id(peer, nonce) for peer in ("me", "you") for nonce in (NONCE, bytes(15) + b"1")}
    assert len(ids) == 4 and JOB in ids


# Commands


def command(controller: str, by: str = "", **changes: Any) -> Signed:
    plain = CommandBody(
        job=JOB, controller=controller, number=1, action=CommandAction.STOP, reason="", spec_hash=None
    )
    return mandate.commanded(FakeKeys(by or controller), codec.replace(plain, **changes))


CONTROLLED = mandate.read(a_mandate("me", "first", controllers=("ops",)))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (command("me"), ""),
        (command("ops"), ""),
        (command("first"), "may not command"),
        (command("stranger"), "may not command"),
        (command("me", by="first"), "not signed by me"),
        (command("ops", by="me"), "not signed by ops"),
        (command("me", job="j-" + "1" * 32), "another job"),
        (command("me", spec_hash="0" * 64), "exactly when it is an update"),
        (command("me", action=CommandAction.UPDATE), "exactly when it is an update"),
        (command("me", action=CommandAction.UPDATE, spec_hash="0" * 64), ""),
    ],
)
def test_the_requester_and_controllers_command_and_nobody_else(given: Signed, reason: str) -> None:
    if not reason:
        assert mandate.vet_command(given, CONTROLLED, KEYS).job == JOB
        return
    with pytest.raises(BadMessage, match=reason):
        mandate.vet_command(given, CONTROLLED, KEYS)


def test_a_file_counts_that_the_charter_or_a_command_names() -> None:
    authority, other = mandate.read(BASE), spec(500)
    mandate.vet_spec(spec(), authority, ())
    with pytest.raises(BadMessage, match="neither"):
        mandate.vet_spec(other, authority, ())
    mandate.vet_spec(other, authority, (a_command("update", "", other).signed,))
    ops = spec(type=JobType.OPS)
    with pytest.raises(BadMessage, match="ops file of a batch job"):
        mandate.vet_spec(ops, authority, (a_command("update", "", ops).signed,))


def test_commands_that_were_carried_out_are_remembered_and_the_last_of_each_controller_for_good() -> None:
    record = new_record(JOB, "me", spec(), 0)
    once = command("ops", number=7)
    record.note_done(once)
    for number in range(2 * COMMANDS_TOLD_MAX):
        record.note_done(command("me", number=number))
    assert len(record.commands) == COMMANDS_TOLD_MAX and once in record.commands
    told = mandate.read_command
    assert record.is_done(told(command("ops", number=7))) and record.is_done(told(command("ops", number=6)))
    assert not record.is_done(told(command("ops", number=8)))
    assert record.is_done(told(command("me", number=0)))
