"""Mandates say who may look after a job: how they are made, checked, read and ordered.

The requester signs a charter, which names the members by rank. A member that acts while the requester
is gone may append others, by a signed extension. A newer charter replaces all extensions of older ones.
Of two mandates under one charter the one whose first differing extension is of the lower rank counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache

from p2pnode.core.values.trust import Trust
from p2pnode.core.wire import codec, extensions
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.exec import ExecBody
from p2pnode.core.wire.fields import CONTROLLERS_MAX, MEMBERS_NAMED_MAX, SIGNED_WILL_SIZE_BYTES_MAX
from p2pnode.core.wire.mandates import Charter, CommandAction, CommandBody, Extension, Mandate, job_id
from p2pnode.core.wire.signing import CHARTER_DOMAIN, COMMAND_DOMAIN, EXTENSION_DOMAIN, Keys, Signed
from p2pnode.core.wire.spec import JobSpec

# Read again and again within a step, and in 20 us where it is not here; 1 kB each, of strangers as well.
_READ_MAX = 256


@dataclass(frozen=True, slots=True)
class Authority:
    """A mandate as it is read. Mandates of one job are ordered by `place`."""

    charter: Charter
    members: tuple[str, ...]
    # The charter's serial, and for each extension its signer's rank, negated, and its digest.
    place: tuple[int, tuple[tuple[int, str], ...]]

    @property
    def requester(self) -> str:
        return self.charter.members[0]

    def rank(self, peer: str) -> int:
        """The place of a peer in the order of who acts; behind all members for one that is none."""
        return self.members.index(peer) if peer in self.members else MEMBERS_NAMED_MAX

    def may_command(self, peer: str) -> bool:
        """Whether the users of a peer may stop, change and rerun the job."""
        return peer == self.requester or peer in self.charter.controllers


def sign(keys: Keys, domain: bytes, record: Charter | Extension | CommandBody | ExecBody) -> Signed:
    """The record with this node's signature."""
    body = codec.encode(record)
    return Signed(body=body, signature=keys.sign(domain, body))


def first_charter(
    job: str,
    nonce: bytes,
    requester: str,
    spec: JobSpec,
    trust: Trust,
    operators: tuple[str, ...] = (),
) -> Charter:
    """The charter of a job as it is submitted, without deputies; `operators` are those of its network."""
    return Charter(
        job=job,
        nonce=nonce,
        serial=1,
        type=spec.type,
        version=1,
        spec_hash=codec.digest(spec),
        members=(requester,),
        controllers=tuple(dict.fromkeys((*trust.operators, *operators)))[:CONTROLLERS_MAX],
        trusted=tuple(dict.fromkeys((*trust.operators, *trust.peers))),
    )


def chartered(keys: Keys, charter: Charter) -> Mandate:
    """A mandate without extensions, signed by this node, which is the charter's first member."""
    return Mandate(charter=sign(keys, CHARTER_DOMAIN, charter))


def controllers_after(before: tuple[str, ...], trust: Trust, operates: Mapping[str, bool]) -> tuple[str, ...]:
    """The controllers of a job's next charter: of its network's members, `operates` says who is an operator.

    Nobody leaves who is only not heard of, or whom this node's settings name.
    """
    kept = [peer for peer in before if operates.get(peer, True) or peer in trust.operators]
    more = sorted(peer for peer, is_one in operates.items() if is_one and peer not in kept)
    return tuple(dict.fromkeys((*kept, *more)))[:CONTROLLERS_MAX]


def recharter(
    keys: Keys,
    mandate: Mandate,
    members: tuple[str, ...],
    version: int,
    spec_hash: str,
    controllers: tuple[str, ...] | None = None,
) -> Mandate:
    """The requester's next charter of a job; the controllers stay where none are given."""
    before = read(mandate).charter
    after = codec.replace(
        before,
        serial=before.serial + 1,
        members=members,
        version=version,
        spec_hash=spec_hash,
        controllers=before.controllers if controllers is None else controllers,
    )
    return chartered(keys, after)


def extended(keys: Keys, mandate: Mandate, signer: str, members: Collection[str]) -> Mandate:
    """The mandate with more members behind the present ones, as far as there may be more."""
    authority = read(mandate)
    more = tuple(members)[: MEMBERS_NAMED_MAX - len(authority.members)]
    if not more:
        return mandate
    last = mandate.chain[-1] if mandate.chain else mandate.charter
    extension = Extension(job=authority.charter.job, after=codec.digest(last), signer=signer, members=more)
    signed = sign(keys, EXTENSION_DOMAIN, extension)
    return Mandate(charter=mandate.charter, chain=(*mandate.chain, signed))


@lru_cache(maxsize=_READ_MAX)
def read(mandate: Mandate) -> Authority:
    """Read a mandate whose signatures were checked, or are this node's own."""
    charter = codec.decode(mandate.charter.body, Charter)
    members, steps = charter.members, []
    for signed in mandate.chain:
        extension = codec.decode(signed.body, Extension)
        steps.append((-members.index(extension.signer), codec.digest(signed)))
        members = (*members, *extension.members)
    return Authority(charter, members, (charter.serial, tuple(steps)))


def vet(mandate: Mandate, job: str, keys: Keys) -> Authority:
    """Read a peer's mandate; raises `BadMessage` for one of another job, or not signed as it must be."""
    charter = codec.decode_untrusted(mandate.charter.body, Charter, SIGNED_WILL_SIZE_BYTES_MAX)
    extensions.vet(charter, "the job's charter")
    requester = charter.members[0]
    if charter.job != job or job != job_id(requester, charter.nonce):
        raise BadMessage("a charter of another job, or not of its requester")
    if len(set(charter.members)) != len(charter.members):
        raise BadMessage("a charter that names a member twice")
    keys.verify_untrusted(requester, CHARTER_DOMAIN, mandate.charter)
    members, last = charter.members, mandate.charter
    for signed in mandate.chain:
        extension = codec.decode_untrusted(signed.body, Extension, SIGNED_WILL_SIZE_BYTES_MAX)
        extensions.vet(extension, "the extension of a charter")
        if extension.job != job or extension.after != codec.digest(last):
            raise BadMessage("an extension of another mandate")
        if extension.signer not in members:
            raise BadMessage("an extension whose signer is no member")
        if charter.trusted and not set(extension.members) <= {*charter.trusted, requester}:
            raise BadMessage("an extension by a peer that the charter does not trust")
        keys.verify_untrusted(extension.signer, EXTENSION_DOMAIN, signed)
        members, last = (*members, *extension.members), signed
        if len(set(members)) != len(members) or len(members) > MEMBERS_NAMED_MAX:
            raise BadMessage("a mandate that names a member twice, or too many")
    return read(mandate)


def newest(one: Mandate, other: Mandate) -> Mandate:
    """The mandate of the two that counts."""
    return max(one, other, key=lambda mandate: read(mandate).place)


def signers_since(older: Mandate, newer: Mandate) -> list[str]:
    """The signers of the extensions that the newer of two mandates under one charter has alone."""
    (serial, before), (after_serial, after) = read(older).place, read(newer).place
    members = read(newer).members
    return [members[-step[0]] for step in after if step not in before] if serial == after_serial else []


def obeys(authority: Authority, owner: str, sender: str, *, owner_is_silent: bool) -> bool:
    """Whether who has obeyed `owner` obeys `sender` now: of lower rank, or in place of one that is silent."""
    rank = authority.rank(sender)
    if rank == MEMBERS_NAMED_MAX:
        return False
    return owner_is_silent or rank <= authority.rank(owner)


def commanded(keys: Keys, body: CommandBody) -> Signed:
    """A command, signed by this node."""
    return sign(keys, COMMAND_DOMAIN, body)


@lru_cache(maxsize=_READ_MAX)
def read_command(signed: Signed) -> CommandBody:
    """Read a command whose signature was checked."""
    return codec.decode(signed.body, CommandBody)


def vet_command(signed: Signed, authority: Authority, keys: Keys) -> CommandBody:
    """Read a command; raises `BadMessage` for one that is no controller's, or of another job."""
    body = codec.decode_untrusted(signed.body, CommandBody, SIGNED_WILL_SIZE_BYTES_MAX)
    extensions.vet(body, "the command")
    if body.job != authority.charter.job:
        raise BadMessage("a command on another job")
    if not authority.may_command(body.controller):
        raise BadMessage(f"{body.controller} may not command this job")
    if (body.action is CommandAction.UPDATE) != (body.spec_hash is not None):
        raise BadMessage("a command brings a file exactly when it is an update")
    keys.verify_untrusted(body.controller, COMMAND_DOMAIN, signed)
    return body


def vet_spec(spec: JobSpec, authority: Authority, commands: Collection[Signed]) -> None:
    """Raises `BadMessage` for a file that neither the charter nor one of these checked commands names."""
    found = codec.digest(spec)
    named = {authority.charter.spec_hash, *(read_command(one).spec_hash for one in commands)}
    if found not in named:
        raise BadMessage("a file that neither the job's charter nor a command of a controller names")
    if spec.type is not authority.charter.type:
        raise BadMessage(f"a {spec.type} file of a {authority.charter.type} job")
