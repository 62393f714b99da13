"""The engines' parameters, checked before a job leaves the machine and not by the peer that would run it."""

from __future__ import annotations

import re
from typing import Any

from p2pnode.core.placement import forwarding
from p2pnode.core.values import capabilities
from p2pnode.core.wire.spec import (
    DockerTask,
    InputSource,
    OtherTask,
    WasmTask,
)

from .converters import absolute_path
from .kinds import SOME_TEXT, TEXT, Field, ListOf, ObjectOf, TextMap, Value, shown
from .problems import Path, Report
from .sources import PATH, SOURCE, Typed, Variant
from .yamltree import MappingNode, Node, Scalar, Sequence

# Dots and dashes are no POSIX names, but containers are given such variables.
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,254}")
# The node itself sets these for the program.
_VARIABLES_RESERVED = ("BACALHAU_", "P2PNODE_")

VARIABLE_PATTERN = rf"^(?!{'|'.join(_VARIABLES_RESERVED)}){_VARIABLE.pattern}$"

ENGINES_WITH_FIELDS = ("docker", "wasm", "other")
# As in adverts.
OTHER_NAME_LENGTH_MAX = 256

# A reference to an image, roughly: blanks, upper-case repositories and options are caught.
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9.-]+(?::[0-9]+)?/)?[a-z0-9._/-]+(?::[\w][\w.-]{0,127})?(?:@[a-z0-9]+:[0-9a-fA-F]{32,})?",
    re.ASCII,
)


def variable_name(text: str) -> str:
    """The name of an environment variable. Raises `ValueError` saying what is allowed."""
    if not _VARIABLE.fullmatch(text):
        allowed = "a letter or _, then letters, digits, _ . and -"
        raise ValueError(f'"{text[:80]}" is not the name of a variable; allowed: {allowed}')
    if text.startswith(_VARIABLES_RESERVED):
        raise ValueError(
            f"{text[:80]} is set by the node; choose a name without {' or '.join(_VARIABLES_RESERVED)}"
        )
    return text


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f'"{text[:80]}" has no =; write it as NAME = value')
    return variable_name(name.strip()), value.strip()


class Assignments:
    """A list of `NAME = value`; blanks at both sides of name and value are dropped."""

    list = ListOf(Value(_assignment, "NAME = value", r"^\s*[A-Za-z_][A-Za-z0-9_.-]*\s*="))

    def read(self, node: Node, path: Path, report: Report) -> dict[str, str] | None:
        pairs = self.list.read(node, path, report)
        if pairs is None:
            return None
        found = dict(pairs)
        if len(found) < len(pairs) and type(node) is Sequence:
            self._report_twice(node, path, report)
        for index, (name, value) in enumerate(pairs):
            if value.startswith(forwarding.PREFIX):
                message = f"{name} is text here; a variable of the peer is asked for in the task's Env"
                report.warning((*path, index), message)
        return found

    def _report_twice(self, node: Sequence, path: Path, report: Report) -> None:
        seen = set()
        for index, item in enumerate(node.items):
            name = item.text.partition("=")[0].strip() if type(item) is Scalar else ""
            if name and name in seen:
                report.error((*path, index), f"{name} is set twice", item)
            seen.add(name)


def _other_name(text: str) -> str:
    """Raises `ValueError` for an engine that has fields of its own, or a name that no advert has."""
    if text in ENGINES_WITH_FIELDS:
        raise ValueError(f"{text} has fields of its own: write it as Type")
    if not 1 <= len(text) <= OTHER_NAME_LENGTH_MAX:
        raise ValueError(f"a name of {len(text)} characters; allowed: 1 to {OTHER_NAME_LENGTH_MAX}")
    if not text.isprintable():
        raise ValueError("a name with characters that cannot be printed")
    return text


def _image(text: str) -> str:
    if not _IMAGE.fullmatch(text):
        raise ValueError(f'"{text[:80]}" is not an image; allowed: [host/]name[:tag][@digest] in lower case')
    return text


def _working_directory(text: str) -> str:
    # The root is a fair place to start in, though not to mount over.
    return text and (text if text == "/" else absolute_path(text))


_WORDS = ListOf(TEXT, null="")
_PARAMETERS = Field(
    "Parameters",
    _WORDS,
    about="The arguments of the program.",
    default=(),
    example=["python", "program.py", "--fast"],
)
_VARIABLES = Field(
    "EnvironmentVariables",
    Assignments(),
    about="Variables for the program, each as NAME = value; blanks around both are dropped.",
    default=(),
    example=["MODE = fast", "LEVEL=3"],
)


def _docker(values: dict[str, Any], path: Path, report: Report) -> tuple[DockerTask, tuple[InputSource, ...]]:
    engine = DockerTask(
        image=values["Image"],
        entrypoint=values.get("Entrypoint"),
        parameters=values.get("Parameters", ()),
        environment=values.get("EnvironmentVariables", {}),
        working_directory=values.get("WorkingDirectory", ""),
        meta={**values.get("Meta", {}), **_capabilities(values.get("CapAdd", ()))},
    )
    return engine, ()


def _capabilities(names: tuple[str, ...]) -> dict[str, str]:
    return {capabilities.META_KEY: ",".join(sorted(set(names)))} if names else {}


DOCKER = ObjectOf(
    Field(
        "Image",
        Value(_image, "an image", f"^(?:{_IMAGE.pattern})$"),
        required=True,
        hint="the image to run",
        example="ghcr.io/someone/tool:1.0",
    ),
    Field(
        "Entrypoint",
        _WORDS,
        about="The program to start, in place of the image's own; an empty list does without one.",
        example=["/bin/sh", "-c"],
    ),
    _PARAMETERS,
    _VARIABLES,
    Field(
        "WorkingDirectory",
        Value(_working_directory, "a path", "^(/.*)?$"),
        about="The folder to start in; empty for the image's own.",
        default="",
        example="/work",
    ),
    Field(
        "Meta", TextMap(), about="Notes for people about the engine.", default={}, example={"Goal": "test"}
    ),
    Field(
        "CapAdd",
        ListOf(Value(capabilities.parse, "a Linux capability", "^(?i:CAP_)?[A-Za-z_]+$"), null=""),
        about="Linux capabilities that the program needs beside "
        f"{', '.join(sorted(capabilities.DEFAULT))}; peers whose operators allow them run it.",
        default=(),
        example=["NET_RAW"],
    ),
    slips={
        **dict.fromkeys(("Cmd", "Command", "Args", "Arguments"), ("", "did you mean Parameters?")),
        **dict.fromkeys(
            ("Env", "Environment"), ("", "did you mean EnvironmentVariables, or the task's Env?")
        ),
        **dict.fromkeys(("WorkDir", "Path"), ("", "did you mean WorkingDirectory?")),
    },
    build=_docker,
)


def _other(values: dict[str, Any], path: Path, report: Report) -> tuple[OtherTask, tuple[InputSource, ...]]:
    return OtherTask(name=values["Name"], params=values.get("Params", {})), ()


class ModuleField:
    """A WASM module: the path of an input, or, as in old job files, an input source itself.

    Such a source is read as an input whose Target is `target` (with {} for its number).
    """

    def __init__(self, target: str) -> None:
        self.path = Value(absolute_path, "the Target of an input source", PATH.pattern)
        self.input = ObjectOf(
            Field("Source", SOURCE, required=True, hint="a map of Type and Params"),
            Field("Alias", TEXT, about="Not looked at."),
            Field("Target", TEXT, about="Not looked at."),
        )
        self._target = target

    def read(self, node: Node, path: Path, report: Report) -> Any:
        """The path as text, or an `InputSource`; None if it is neither."""
        if type(node) is MappingNode:
            found = self.input.read(node, path, report)
            message = "a source here is an old form; make it one of InputSources and name its Target"
            report.warning(path, message, node)
            number = path[-1] if isinstance(path[-1], int) else 0
            return found and InputSource(source=found["Source"], target=self._target.format(number))
        if type(node) is Sequence:
            report.error(path, f"expected the Target of an input source, found {shown(node)}", node)
            return None
        return self.path.read(node, path, report)


def _wasm(values: dict[str, Any], path: Path, report: Report) -> tuple[WasmTask, tuple[InputSource, ...]]:
    modules = (values["EntryModule"], *values.get("ImportModules", ()))
    paths = tuple(one.target if isinstance(one, InputSource) else one for one in modules)
    engine = WasmTask(
        entry_module=paths[0],
        entrypoint=values.get("Entrypoint", "_start"),
        parameters=values.get("Parameters", ()),
        import_modules=paths[1:],
        environment=values.get("EnvironmentVariables", {}),
    )
    return engine, tuple(one for one in modules if isinstance(one, InputSource))


WASM = ObjectOf(
    Field(
        "EntryModule",
        ModuleField("/wasm/entry.wasm"),
        required=True,
        hint="the Target of the input that is the module",
        about="The module to run: the Target of an input source, or a path below one.",
        example="/module/program.wasm",
    ),
    Field(
        "Entrypoint",
        SOME_TEXT,
        about="The function of the module to call.",
        default="_start",
        example="_start",
    ),
    _PARAMETERS,
    Field(
        "ImportModules",
        ListOf(ModuleField("/wasm/imports/module_{}.wasm")),
        about="Modules that it imports from, each as EntryModule.",
        default=(),
        example=["/module/library.wasm"],
    ),
    _VARIABLES,
    build=_wasm,
)


OTHER = ObjectOf(
    Field(
        "Name",
        Value(_other_name, "the name of an engine", "^(?!(docker|wasm|other)$)[^\\x00-\\x1f]{1,256}$"),
        required=True,
        hint="the engine, as node list shows it",
        about="An engine without a form here, as node list shows it; peers that have it are asked.",
        example="echo",
    ),
    Field(
        "Params",
        TextMap(),
        about="What the engine makes of the job; only the peers that have it check that.",
        default={},
        example={"Text": "hello"},
    ),
    build=_other,
)


class EngineKind(Typed):
    """An engine, with the inputs that old forms of its parameters hold."""

    def read(self, node: Node, path: Path, report: Report) -> Any:
        found = super().read(node, path, report)
        return found and found[1]


ENGINE = EngineKind(
    {
        "docker": Variant("docker", DOCKER),
        "wasm": Variant("wasm", WASM),
        "other": Variant("other", OTHER),
    },
    "a type of engine",
)
