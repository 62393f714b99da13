"""The vectors of ids: made by the program's own code, kept in `protocols/vectors/ids.json`.

Those of messages are kept as they are; `tests/test_protocols.py` holds them and the code together.
"""

from __future__ import annotations

import json
from typing import Any

from p2pnode.core.placement import locality
from p2pnode.core.wire import codec, mandates, messages
from p2pnode.core.wire.spec import Source
from p2pnode.ipfs import cid, unixfs

from .cddl_support import PROTOCOLS

IDS = PROTOCOLS / "vectors" / "ids.json"
NONCE = bytes(range(16))
IMAGES = ("alpine", "docker.io/library/alpine:latest", "ghcr.io/someone/tool:1.0")
CONTENT = "bafkreigeud3jwrymzwafqso23lhb3246k4oy5ynntpn5f3f77tclflrcde"
WEB = Source(type="urldownload", params={"URL": "https://example.com/data.csv"})
RESULT: dict[str, Any] = {
    "stdout": b"hello\n",
    "stderr": b"",
    "exitCode": b"0",
    "outputs": {"answer.txt": b"42\n"},
}


def written(value: Any) -> Any:
    """As vectors have it: bytes as {"bytes": hex}."""
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, dict):
        return {key: written(one) for key, one in value.items()}
    return value


def ids() -> list[dict[str, Any]]:
    """Derivations of ids, by the rules of protocols/README.md, advert.md and execution.md."""
    execution = json.loads((PROTOCOLS / "vectors" / "execution.json").read_text())
    ended = next(one["value"] for one in execution["good"] if one["value"].get("kind") == "ended")
    requester, peer = (
        next(one["value"][whose] for one in execution["good"] if one["kind"] == "receipt")
        for whose in ("requester", "peer")
    )
    signed = {name: bytes.fromhex(ended["receipt"][name]["bytes"]) for name in ("body", "signature")}
    job = mandates.job_id(requester, NONCE)
    asked = {"job": job, "acts_since_ms": 1, "owner": requester, "round": 2, "peer": peer, "slot": 0}
    made = [
        ("job id", {"requester": requester, "nonce": NONCE}, job),
        ("execution id", asked, messages.execution_id(*asked.values())),
        *(("cache key", {"image": image}, locality.image_cache_key(image)) for image in IMAGES),
        ("cache key", {"ipfs": CONTENT}, locality.cid_cache_key(CONTENT)),
        ("cache key", {"type": WEB.type, "params": dict(WEB.params)}, locality.source_cache_key(WEB)),
        ("result CID", RESULT, unixfs.add_directory(RESULT, cid.make)),
        ("receipt CID", signed, cid.make(codec.encode(signed), "dag-cbor")),
    ]
    return [{"name": name, "of": written(of), "is": result} for name, of, result in made]


if __name__ == "__main__":
    IDS.write_text(json.dumps({"ids": ids()}, indent=1) + "\n")
