"""The next minor version, made for the tests: a copy of the program with fields and an engine more.

Its bids, updates and adverts say what today's program does not know. A task's `Greeting` is an extension that
may be skipped, its `Sandbox` one that may not. The engine `echo` writes its `Text`, and the greeting, to
stdout.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import p2pnode

VERSION = "0.2.0"
_ECHO = '''
"""The engine `echo`."""

from p2pnode.core.wire.messages import Fault
from p2pnode.engines.workload import ProgramEnd


class EchoEngine:
    name = "echo"

    async def available(self):
        return None

    async def networks(self):
        return frozenset()

    async def run(self, workload, started, progress):
        started()
        said = (workload.task.extensions or {}).get("greeting", b"")
        workload.stdout.write_bytes(workload.task.engine.params["Text"].encode() + b" " + said)
        workload.stderr.write_bytes(b"")
        return ProgramEnd(exit_code=0, reason="", fault=None)
'''
_ECHO_FIELDS = """ECHO = ObjectOf(
    Field("Text", TEXT, required=True, hint="what to say"),
    build=lambda values, path, report: (OtherTask(name="echo", params={"Text": values["Text"]}), ()),
)


class EngineKind(Typed):"""
_SAID = """inputs=inputs, **said(values), **defaults)


def said(values):
    names = (("Greeting", "greeting"), ("Sandbox", "must-sandbox"))
    found = {name: values[field].encode() for field, name in names if field in values}
    return {"extensions": found} if found else {}"""
# File: what is there once, and what takes its place.
_PATCH: dict[str, list[tuple[str, str]]] = {
    "__init__.py": [(f'"{p2pnode.__version__}"', f'"{VERSION}"')],
    "node/engines.py": [
        ('"docker": docker.engine}', '"docker": docker.engine, "echo": EchoEngine()}'),
        ("import WasmEngine\n", "import WasmEngine\nfrom p2pnode.engines.echo import EchoEngine\n"),
    ],
    "node/advertiser.py": [("extensions=UNSET if", 'extensions={"motd": b"\\x61a"} if')],
    "core/wire/extensions.py": [
        ("frozenset[str] = frozenset()", 'frozenset[str] = frozenset({"must-sandbox"})')
    ],
    "core/worker/bidding.py": [(" Bid(\n", ' Bid(extensions={"load": b"\\x05"},\n')],
    "core/worker/owner_tracking.py": [
        ("return Update(\n", 'return Update(extensions={"percent": b"\\x18\\x2a"},\n')
    ],
    "core/jobfile/enginefields.py": [
        ('Variant("other", OTHER),\n', 'Variant("other", OTHER), "echo": Variant("echo", ECHO),\n'),
        ("class EngineKind(Typed):", _ECHO_FIELDS),
    ],
    "core/jobfile/jobfields.py": [
        ("inputs=inputs, **defaults)", _SAID),
        ("TASK = ObjectOf(\n", 'TASK = ObjectOf(Field("Greeting", NAME), Field("Sandbox", NAME),\n'),
    ],
}
# One that has left the old link behind.
NEW_LINK = {"core/wire/protocols.py": [("/p2pnode/link/4", "/p2pnode/link/5")]}


Changes = Mapping[str, list[tuple[str, str]]]


def build(directory: Path, more: Changes = MappingProxyType({})) -> tuple[str, ...]:
    """Makes it in `directory`, with `more` changes; the command within which its `python -m p2pnode` runs."""
    copy = directory / "p2pnode"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(p2pnode.__file__).parent, copy, ignore=ignored)
    (copy / "engines" / "echo.py").write_text(_ECHO)
    for name, changes in (*_PATCH.items(), *more.items()):
        text = (copy / name).read_text()
        for old, new in changes:
            assert text.count(old) == 1, f"{name} has {old!r} {text.count(old)} times: make this patch anew"
            text = text.replace(old, new)
        (copy / name).write_text(text)
    return ("env", "-C", str(directory), f"PYTHONPATH={directory}")
