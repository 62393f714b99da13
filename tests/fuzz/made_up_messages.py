"""Messages made up out of the jobs, executions, peers and charters that there are, or of honest ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, get_args

from msgspec import UNSET
from msgspec import inspect as types

from p2pnode.core.records import mandate, vetting
from p2pnode.core.records.lifecycle import ExecutionState, JobRecord
from p2pnode.core.values.trust import ANYBODY
from p2pnode.core.wire import codec
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.mandates import NONCE_SIZE_BYTES, CommandAction, CommandBody, Mandate, job_id
from p2pnode.core.wire.messages import Ended, ExecutionCopy, Message, Receipt, Replicate
from p2pnode.core.wire.signing import Keys, Signed
from tests.fake_keys import FakeKeys
from tests.sim.specs import KINDS, sim_spec


def within(value: int, info: types.IntType) -> int:
    """The value, or the bound of the type that is nearest to it."""
    least, most = info.ge if info.ge is not None else value, info.le if info.le is not None else value
    return min(max(value, least), most)


class MessageMaker:
    def __init__(
        self,
        records: Callable[[], list[JobRecord]],
        peers: Callable[[], Sequence[str]],
        keys_of: Callable[[str], Keys] = FakeKeys,
    ) -> None:
        """`records` and `peers` give what messages are about now, `keys_of` what charters are signed with."""
        self._records = records
        self._peers = peers
        self._keys_of = keys_of

    def message(self, rng: random.Random, pattern: Message | None) -> Message | None:
        """A message that a frame could bring, or None where the draw is one that is refused at once."""
        if pattern is not None:
            value = self.mutated(rng, pattern)
        else:
            value = self.drawn(rng, types.type_info(rng.choice(get_args(Message))), "")
        try:
            return vetting.message_untrusted(codec.encode(value), lambda peer: None)
        except BadMessage:
            return None

    def mutated(self, rng: random.Random, record: Any) -> Any:
        info = types.type_info(type(record))
        assert isinstance(info, types.StructType)
        changes = {}
        for one in rng.sample(info.fields, min(len(info.fields), rng.choice([0, 1, 1, 2, 3]))):
            value = getattr(record, one.name)
            if (
                isinstance(value, tuple)
                and value
                and isinstance(value[0], codec.Record)
                and rng.random() < 0.8
            ):
                # One of several, and in it only some of its fields.
                at = rng.randrange(len(value))
                changes[one.name] = (*value[:at], self.mutated(rng, value[at]), *value[at + 1 :])
            else:
                changes[one.name] = self.drawn(rng, one.type, one.name)
        if isinstance(record, ExecutionCopy) and rng.random() < 0.5:
            changes["state"] = rng.choice(list(ExecutionState))
        if isinstance(record, Replicate) and rng.random() < 0.7:
            # Newer than what is known, or it would not be looked at.
            if record.executions and "executions" not in changes:
                at = rng.randrange(len(record.executions))
                copies = record.executions
                changes["executions"] = (*copies[:at], self.mutated(rng, copies[at]), *copies[at + 1 :])
            changes["revision"] = record.revision + rng.choice([1, 5])
            changes["acts_since_ms"] = record.acts_since_ms + rng.choice([0, 0, 1])
        if isinstance(record, Ended) and rng.random() < 0.5:
            receipt = self.drawn(rng, types.type_info(Receipt), "")
            receipt = codec.replace(receipt, execution=record.execution)
            changes["receipt"] = Signed(body=codec.encode(receipt), signature=bytes(64))
        return codec.replace(record, **changes)

    def names(self, rng: random.Random, name: str) -> Any:
        """A value that means something here, for a field of that name."""
        records = self._records()
        executions = [one for record in records for one in record.executions.values()]
        record = rng.choice(records) if records else None
        one = rng.choice(executions) if executions else None
        fresh = f"{rng.getrandbits(128):032x}"
        match name:
            case "execution" | "id":
                return one.id if one and rng.random() < 0.9 else f"e-{fresh}"
            case "job":
                return record.id if record and rng.random() < 0.9 else f"j-{fresh}"
            case "peer" | "owner" | "past_members":
                return rng.choice(self._peers())
            case "mandate":
                return self._mandate(rng, record)
            case "signed" | "commands" | "changed_by":
                return self._command(rng, record)
            case "revision":
                return (record.revision if record else 0) + rng.choice([-1, 0, 1, 1, 2, 50])
            case "round":
                return one.round if one else 1
            case "version" | "run":
                return (getattr(record, name) if record else 1) + rng.choice([-1, 0, 0, 0, 1])
            case "replica":
                return rng.choice([0, 0, 1, 2, 9])
            case "spec":
                return (
                    record.spec if record and rng.random() < 0.7 else sim_spec(rng, None, rng.choice(KINDS))
                )
            case "spec_hash" | "work":
                return codec.digest(record.spec) if record else "0" * 64
            case "result_cid":
                return rng.choice([None, "bafy", "bafyother"])
            case _:
                return None

    def _mandate(self, rng: random.Random, record: JobRecord | None) -> Mandate:
        """A job's own, one of its requester's next, or one by whom it does not belong to."""
        peers = self._peers()
        members = tuple(rng.sample(list(peers), min(len(peers), rng.choice([1, 2, 3]))))
        if record is None or rng.random() < 0.1:
            nonce, spec = rng.randbytes(NONCE_SIZE_BYTES), sim_spec(rng, None, rng.choice(KINDS))
            charter = mandate.first_charter(job_id(members[0], nonce), nonce, members[0], spec, ANYBODY)
            return mandate.chartered(self._keys_of(members[0]), codec.replace(charter, members=members))
        if rng.random() < 0.6:
            return record.mandate
        signer = rng.choice(record.authority.members)
        if rng.random() < 0.5:
            new = [one for one in members if one not in record.authority.members]
            return mandate.extended(self._keys_of(signer), record.mandate, signer, new)
        others = [one for one in members if one != record.requester]
        keys = self._keys_of(record.requester)
        return mandate.recharter(
            keys, record.mandate, (record.requester, *others), record.version, record.spec_hash
        )

    def _command(self, rng: random.Random, record: JobRecord | None) -> Signed:
        controller = rng.choice(self._peers())
        action = rng.choice(list(CommandAction))
        body = CommandBody(
            job=record.id if record else "j-" + "0" * 32,
            controller=controller,
            number=rng.randrange(10**6),
            action=action,
            reason="",
            spec_hash=record.spec_hash if record and action is CommandAction.UPDATE else None,
        )
        return mandate.commanded(self._keys_of(controller), body)

    def drawn(self, rng: random.Random, info: Any, name: str) -> Any:
        """A value of the type, with what is known here where the field's name says what it is."""
        if name == "extensions":
            return rng.choice([UNSET, UNSET, UNSET, {"example.org/hint": b"\xf5"}])
        if name == "must":
            return UNSET
        if isinstance(info, types.UnionType):
            return self.drawn(rng, rng.choice(info.types), name)
        if isinstance(info, types.NoneType):
            return None
        if isinstance(info, types.VarTupleType | types.ListType):
            count = min(rng.choice([0, 0, 1, 1, 2, 3]), info.max_length if info.max_length is not None else 3)
            found = tuple(
                self.drawn(rng, info.item_type, name) for _ in range(max(count, info.min_length or 0))
            )
            return tuple(dict.fromkeys(found)) if name == "past_members" else found
        named = self.names(rng, name)
        if named is None:
            return self.plain(rng, info)
        return within(named, info) if isinstance(info, types.IntType) else named

    def plain(self, rng: random.Random, info: Any) -> Any:
        match info:
            case types.StructType():
                return info.cls(**{one.name: self.drawn(rng, one.type, one.name) for one in info.fields})
            case types.EnumType():
                return rng.choice(list(info.cls))
            case types.IntType():
                least, most = within(0, info), within(2**53, info)
                return within(rng.choice([least, most, 0, 1, 2, 100, 10_000]), info)
            case types.StrType():
                return rng.choice(["", "a", "linux", "text"])[: info.max_length].ljust(
                    info.min_length or 0, "x"
                )
            case types.BytesType():
                return bytes(info.min_length or rng.choice([0, 3]))
            case types.BoolType():
                return rng.random() < 0.5
            case types.DictType():
                return {}
            case types.LiteralType():
                return rng.choice(info.values)
            case _:
                raise NotImplementedError(info)
