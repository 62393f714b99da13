"""Forms of a whole file other than this one: what holds a job is unwrapped, others are told what they are."""

from __future__ import annotations

import re
from collections.abc import Mapping as AbstractMapping

from .yamltree import MappingNode, Node, Scalar

# Fields that the network gives to a job: a job that was described has them.
OF_THE_NETWORK = ("ID", "State", "Version", "Revision", "CreateTime", "ModifyTime")
_NOW = (
    "a job file has Type, and Tasks: [{Engine: {Type: docker, Params: {Image: ...}}}]; "
    "p2pnode docker run --dry-run IMAGE prints one"
)
_KUBERNETES = f"this is a file of Kubernetes; {_NOW}"
_COMPOSE = f"this is a Compose file; {_NOW}"
NOMAD = f"this is a file of Nomad; {_NOW}"
# A job of Nomad's in its own language, after comments.
_HCL_JOB = re.compile(r'(?:\s|(?:#|//)[^\n]*\n)*job\s+"')
_OLD = (
    f"this is Bacalhau's form before 1.3 (Spec, Deal); now {_NOW}. Deal.Concurrency is Count, "
    "inputs are InputSources, outputs ResultPaths"
)


def unwrapped(root: Node) -> Node:
    """The job in `{"Job": ...}` and in what `job describe --json` prints, or the node itself."""
    for key in ("job", "spec"):
        inner = _entries(root).get(key)
        if type(inner) is MappingNode and _is_job(inner) and not _is_job(root):
            known = {name.lower() for name in OF_THE_NETWORK}
            kept = [one for one in inner.entries if one[0].text.lower() not in known]
            return MappingNode(inner.line, inner.column, kept)
    return root


def other_form(root: Node) -> tuple[Scalar, str] | None:
    """The key that shows that a file is of another form, and what to say; None for one of this form."""
    found = _entries(root)
    inner = found.get("job")
    if type(inner) is MappingNode and not _is_job(root):
        key = next((key for key, _ in inner.entries if key.text.lower() == "taskgroups"), None)
        return (key, NOMAD) if key else other_form(inner)
    if isinstance(root, Scalar) and is_hcl(root.text):
        return root, NOMAD
    if "tasks" in found or type(root) is not MappingNode:
        return None
    keys = {key.text.lower(): key for key, _ in root.entries}
    if "kind" in keys and "apiversion" in keys:
        return keys["kind"], _KUBERNETES
    for key in keys.values():
        if key.text == "services":
            return key, _COMPOSE
        if key.text == "TaskGroups":
            return key, NOMAD
    for name in ("apiversion", "spec", "deal"):
        if name in keys:
            return keys[name], _OLD
    return None


def is_hcl(text: str) -> bool:
    """Whether a text that is no YAML begins as Nomad's job files do."""
    return _HCL_JOB.match(text) is not None


def _is_job(node: Node) -> bool:
    return "tasks" in _entries(node)


def _entries(node: Node) -> AbstractMapping[str, Node]:
    return {key.text.lower(): value for key, value in node.entries} if type(node) is MappingNode else {}
