"""Values of the kinds that a schema alone cannot describe, for Schemathesis (test_api_schemathesis)."""

from __future__ import annotations

import schemathesis
from hypothesis import strategies as st

from p2pnode.ipfs import car, cid

_blocks = st.binary(max_size=64)
_cids = _blocks.map(lambda block: cid.make(block, "raw"))
_names = st.text("abcäß-_.", min_size=1, max_size=8).filter(lambda name: name not in (".", ".."))
_job_names = st.text("abc", min_size=1, max_size=8)


def _car_of(block: bytes) -> bytes:
    root = cid.make(block, "raw")
    return b"".join(car.chunks_of(car.write_car(root, lambda _: block)))


def _job_file(name: str, kind: str) -> bytes:
    task = "Tasks:\n- Engine: {Type: docker, Params: {Image: busybox}}\n"
    return f"Name: {name}\nType: {kind}\n{task}".encode()


schemathesis.openapi.format("cid", _cids)
schemathesis.openapi.format("cid-path", st.builds("/".join, st.tuples(_cids) | st.tuples(_cids, _names)))
schemathesis.openapi.media_type("application/vnd.ipld.car", _blocks.map(_car_of))
schemathesis.openapi.media_type(
    "application/yaml", st.builds(_job_file, _job_names, st.sampled_from(["batch", "daemon", "service"]))
)
