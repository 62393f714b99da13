"""The example jobs of devnet/jobs: valid, and named by the CIDs of the files that lie beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pnode.core import jobfile
from p2pnode.core.wire.spec import WasmTask
from p2pnode.ipfs import cid, unixfs

JOBS = Path(__file__).parent.parent / "devnet" / "jobs"
WASM_SIZE_BYTES_MAX = 100_000


def content_id(path: Path) -> str:
    return unixfs.add_path(path, lambda block, codec="raw": cid.make(block, codec))


@pytest.mark.parametrize(
    ("job", "inputs"),
    [
        ("wordcount.yaml", {"/module/wordcount.wasm": "wordcount.wasm", "/data": "wordcount-data"}),
        ("noop.yaml", {"/noop.wasm": "noop.wasm"}),
        ("batch-docker.yaml", {"/data": "wordcount-data"}),
    ],
)
def test_an_example_names_the_files_beside_it(job: str, inputs: dict[str, str]) -> None:
    spec = jobfile.parse((JOBS / job).read_text(), job).spec
    found = {one.target: one.source.params["CID"] for one in spec.task.inputs}
    assert found == {target: content_id(JOBS / name) for target, name in inputs.items()}
    if isinstance(spec.task.engine, WasmTask):
        assert spec.task.engine.entry_module in inputs


@pytest.mark.parametrize("module", sorted(JOBS.glob("*.wasm")), ids=lambda path: path.name)
def test_a_module_is_small_and_its_source_lies_beside_it(module: Path) -> None:
    assert module.stat().st_size <= WASM_SIZE_BYTES_MAX
    source = module.with_suffix(".c").read_text()
    assert f"-o {module.name} {module.stem}.c" in source
