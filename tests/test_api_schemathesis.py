"""The API as Schemathesis finds it: requests made of its description, and answers checked against that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from p2pnode.api import openapi
from p2pnode.api.endpoints import ENDPOINTS
from p2pnode.api.shapes import TOKEN_FILE
from p2pnode.client.finding import find
from tests.fake_node import Served

ROOT = Path(__file__).parent.parent
# Well above the time that it takes, and far below that of a test that hangs.
TIMEOUT_S = 120.0
JOB = b"Name: %s\nType: batch\nTasks:\n- Engine: {Type: docker, Params: {Image: busybox}}\n"
# Without `no-shrink` a failure would take minutes; a stream that never ends is left after some events.
CONFIG = """\
color = false
hooks = "tests.schemathesis_hooks"
workers = 1
max-stream-events = 5
request-timeout = 10.0
headers = {{ Authorization = "Bearer {token}" }}
warnings = false

[generation]
deterministic = true
no-shrink = true
max-examples = {examples}
database = "none"

[phases.stateful]
enabled = false

[dictionaries]
jobs = {{ values = {jobs} }}

[parameters]
"path.job" = {{ dictionary = "jobs", probability = 0.7 }}
"path.number" = {{ dictionary = "numbers", probability = 0.5 }}

[dictionaries.numbers]
values = [1, 2]
"""


def explore(served: Served, jobs: list[str], examples: int) -> subprocess.CompletedProcess[str]:
    directory = served.node.data_dir
    token = (directory / TOKEN_FILE).read_text()
    config = directory / "schemathesis.toml"
    config.write_text(CONFIG.format(token=token, jobs=json.dumps(jobs), examples=examples))
    program = Path(sys.executable).with_name("schemathesis")
    return subprocess.run(
        [program, f"--config-file={config}", "run", served.url + openapi.PATH],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_no_request_that_the_description_allows_or_forbids_finds_a_fault(tmp_path: Path) -> None:
    with Served(tmp_path).running() as served:
        client = find(tmp_path, {})
        jobs = [client.submit(JOB % name, "job.yaml") for name in (b"works", b"talkative")]
        done = explore(served, jobs, examples=20)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"Tested: {len(ENDPOINTS)}" in done.stdout
        # Job files, CARs and jobs by their ids have come through.
        assert len(served.node.submitted) > len(jobs)
        assert served.node.dropped.is_set()
