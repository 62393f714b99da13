"""Every decoder of bytes that others made: whatever they are, only its declared exceptions come out."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from p2pnode.core import jobfile
from p2pnode.core.jobfile.problems import JobFileError
from p2pnode.core.link import frames
from p2pnode.core.records import membership, vetting
from p2pnode.core.wire import addresses, codec, peer_ids
from p2pnode.core.wire.codec import BadMessage
from p2pnode.core.wire.exec import ExecBody, ExecEnd, ExecInput, ExecOutput, ExecRequest
from p2pnode.core.wire.inquiries import JobsPage, LogsPiece, LogsRequest
from p2pnode.core.wire.membership import (
    ExpulsionBody,
    InvitationBody,
    InvitationToken,
    KeyringBody,
    KeyringGiven,
    MemberBody,
    Membership,
    MemberShown,
)
from p2pnode.core.wire.messages import Advert, Receipt
from p2pnode.core.wire.signing import Signed
from p2pnode.engines.http import names, policy
from p2pnode.engines.http.greeting import Greeting
from p2pnode.ipfs import bitswap_messages, car, cid, dagpb
from p2pnode.network import mdns
from p2pnode.network.protocols.adverts import Page

from .core_events import Finding

_VECTORS = Path(__file__).parents[2] / "protocols" / "vectors"
_JOB = b"Type: batch\nTasks:\n  - Name: a\n    Engine: {Type: docker, Params: {Image: alpine}}\n"
_QUESTION = bytes.fromhex("00070100000100000000000007616c6c6f776564 076578616d706c65 00 00010001")
_POLICY = policy.Policy(domains=("allowed.example",))


def _text(decode: Callable[[str], Any]) -> Callable[[bytes], Any]:
    return lambda data: decode(data.decode("utf-8", "replace"))


def _record(kind: Any) -> Callable[[bytes], Any]:
    return lambda data: codec.decode_untrusted(data, kind)


def _token_of(data: bytes) -> Any:
    """The token that these bytes would be, which is no longer than its length can say."""
    return membership.read_token_untrusted(membership.as_line(data[:20_000]))


_Decoder = tuple[Callable[[bytes], Any], tuple[type[Exception], ...]]
DECODERS: dict[str, _Decoder] = {
    "message": (vetting.message_untrusted, (BadMessage,)),
    **{
        kind.__name__: (_record(kind), (BadMessage,))
        for kind in (
            *(Advert, Signed, Receipt, LogsRequest, LogsPiece, JobsPage, Page),
            *(ExecRequest, ExecBody, ExecInput, ExecOutput, ExecEnd),
            *(InvitationBody, MemberBody, Membership, InvitationToken, ExpulsionBody, MemberShown),
            *(KeyringBody, KeyringGiven),
        )
    },
    "token": (_text(membership.read_token_untrusted), (BadMessage,)),
    "token's inside": (_token_of, (BadMessage,)),
    "frame": (frames.decode_frame_untrusted, (BadMessage,)),
    "hello": (frames.decode_hello_untrusted, (BadMessage,)),
    "peer id": (_text(peer_ids.public_key_untrusted), (BadMessage,)),
    "cid": (cid.from_bytes_untrusted, (cid.BadCid,)),
    "cid text": (_text(cid.parse), (cid.BadCid,)),
    "dag-pb": (dagpb.decode_untrusted, (BadMessage,)),
    "car": (lambda data: list(car.read_car_untrusted([data])), (BadMessage,)),
    "bitswap": (bitswap_messages.decode_untrusted, (BadMessage,)),
    "address": (_text(addresses.parse), (addresses.BadAddress,)),
    "mdns": (mdns.decode_txt_untrusted, (BadMessage, ValueError)),
    "question": (lambda data: names.answer_untrusted(data, _POLICY), (BadMessage,)),
    "authority": (_text(lambda text: policy.parse_authority_untrusted(text, 80)), (BadMessage,)),
    "greeting": (lambda data: Greeting().name_untrusted(data), (BadMessage,)),
    "job file": (lambda data: jobfile.parse(data, "job.yaml"), (JobFileError,)),
    "template": (lambda data: jobfile.parse_template(data, {"a": "b"}, "job.yaml"), (JobFileError,)),
}


def seeds() -> list[bytes]:
    """Good and bad examples, which are changed here and there."""
    found = [
        _JOB,
        b"/ip4/127.0.0.1/tcp/1",
        dagpb.encode([], dagpb.directory_data()),
        b"example.org:80",
        _QUESTION,
    ]
    for path in sorted(_VECTORS.glob("*.json")):
        document = json.loads(path.read_text())
        for part in document.values() if isinstance(document, dict) else []:
            for one in part if isinstance(part, list) else []:
                if isinstance(one, dict) and isinstance(one.get("hex"), str):
                    found.append(bytes.fromhex(one["hex"]))
    return [one for one in found if len(one) < 20_000]


def changed(rng: random.Random, data: bytes) -> bytes:
    """Some bytes replaced, left out, put in or doubled."""
    made = bytearray(data)
    for _ in range(rng.choice([0, 1, 1, 2, 5, 20])):
        at = rng.randrange(len(made) + 1)
        piece = bytes(
            rng.choice([0, 1, 0x18, 0x7F, 0x80, 0xFF, rng.randrange(256)])
            for _ in range(rng.choice([1, 1, 4]))
        )
        made[at : at + rng.choice([0, 1, len(piece), 16])] = rng.choice([piece, b"", made[at : at + 16] * 2])
    return bytes(made)


def run_case(seed: int, examples: list[bytes]) -> int:
    """A hundred inputs for each decoder; how many those were."""
    rng, count = random.Random(f"decoders {seed}"), 0
    for name, (decode, declared) in DECODERS.items():
        for _ in range(100):
            data = (
                rng.randbytes(rng.randrange(60)) if rng.random() < 0.2 else changed(rng, rng.choice(examples))
            )
            count += 1
            try:
                decode(data)
            except declared:
                pass
            except Exception as exc:
                raise Finding(f"decoders, seed {seed}: {name} raises {exc!r} for {data.hex()}") from exc
    return count
