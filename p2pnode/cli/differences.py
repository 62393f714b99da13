"""`submit --dry-run`: how a job file differs from the job of its name that is there."""

from __future__ import annotations

import difflib

from p2pnode.cli.output import Styled, answer, say, short_id
from p2pnode.cli.requester import running
from p2pnode.cli.status import Status
from p2pnode.core import jobfile
from p2pnode.core.jobfile import yamltree
from p2pnode.core.records.lifecycle import LONG_RUNNING
from p2pnode.core.wire.spec import JobSpec

_COLOURS = {"+": "green", "-": "red", "@": "dim"}


def show(spec: JobSpec, new: bool) -> int:
    """Print a unified diff of the files as the node reads them; `new`: it is not to change any job."""
    found = running().job_named(spec.namespace, spec.name) if spec.name and not new else None
    if found is None or found["type"] != spec.type:
        answer("a new job")
        return Status.OK
    before, after = yamltree.dump(found["spec"]), yamltree.dump(jobfile.render(spec))
    if before == after:
        same = spec.type in LONG_RUNNING and not found["outcome"]
        answer(f"{found['id']} unchanged" if same else f"a new job, the same as {found['id']}")
        return Status.OK
    name = f"{short_id(found['id'])} version"
    version = found["version"]
    lines = difflib.unified_diff(
        before.splitlines(),
        after.splitlines(),
        f"{name} {version}",
        f"{name} {version + 1}",
        lineterm="",
    )
    for line in lines:
        answer(Styled(line, _COLOURS.get(line[:1], "bold")))
    say("nothing was sent")
    return Status.OK
