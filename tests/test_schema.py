"""The JSON Schema and the page of all fields say what the parser does."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from p2pnode.core.jobfile import kinds, parse, parse_template, render, yamltree
from p2pnode.core.jobfile.enginefields import Assignments, ModuleField
from p2pnode.core.jobfile.jobfields import JOB
from p2pnode.core.jobfile.problems import JobFileError, Report, Severity
from p2pnode.core.jobfile.schema import schema
from p2pnode.core.jobfile.sources import Typed
from p2pnode.core.jobfile.template.rendering import expand
from p2pnode.core.values.units import DURATION_ALLOWED

HERE = Path(__file__).parent
SEEDS = sorted((HERE / "jobfiles").glob("*.yaml"))
DEVNET = sorted((HERE.parent / "devnet" / "jobs").glob("*.yaml"))
PAGE = (HERE.parent / "protocols" / "job-file.md").read_text()
VARIABLES = {"query": "q", "OpenSearchEndpoint": "o", "AccessLogBucket": "b", "AWSRegion": "r"}

SCHEMA = schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

JOB_OF_ALL: dict[str, Any] = {
    "Type": "batch",
    "Constraints": [{"Key": "zone", "Operator": "in", "Values": ["a"]}],
    "Tasks": [
        {
            "Engine": {"Type": "docker", "Params": {"Image": "busybox", "Parameters": ["a", None, 1]}},
            "InputSources": [
                {
                    "Target": "/a",
                    "Source": {
                        "Type": "s3",
                        "Params": {"Bucket": "b", "Partition": {"Type": "regex", "Pattern": "a"}},
                    },
                }
            ],
            "Network": {"Type": "Bridge", "Ports": [{"Name": "web", "Target": 80}]},
            "Publisher": {"Type": "ipfs"},
            "ResultPaths": [{"Name": "o", "Path": "/o"}],
            "Resources": {"CPU": 0.25, "Memory": "1Gb", "Disk": "", "GPU": 0},
            "Timeouts": {"ExecutionTimeout": "1h30m", "QueueTimeout": 0},
        }
    ],
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The job of all with something else at a place: `Tasks.0.Resources.CPU`; Ellipsis takes it away."""
    job: Any = copy.deepcopy(JOB_OF_ALL)
    here, (*way, last) = job, [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in way:
        here = here[step]
    if value is ...:
        del here[last]
    else:
        here[last] = value
    return job


def parser_takes(job: Any) -> bool:
    try:
        parse(json.dumps(job), "job")
    except JobFileError:
        return False
    return True


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize("path", [*SEEDS, *DEVNET], ids=lambda path: path.name)
def test_the_examples_hold_to_the_schema(path: Path) -> None:
    text = expand(path.read_text(), VARIABLES, path.name).text
    VALIDATOR.validate(yaml.safe_load(text))
    VALIDATOR.validate(render(parse_template(path.read_text(), VARIABLES, path.name).spec))


WASM = {"Type": "wasm", "Params": {"EntryModule": "/a/m.wasm", "ImportModules": ["/a"], "Entrypoint": "go"}}
GOOD = [
    ("Name", None),
    ("Name", 5),
    ("Priority", -7),
    ("Priority", "7"),
    ("Count", 0),
    ("Labels", {"a": 1, "b": None, "c d": True}),
    ("Constraints", []),
    ("Constraints.0", {"Key": "a", "Operator": "exists"}),
    ("Constraints.0", {"Key": "a", "Operator": "gt", "Values": [3]}),
    ("Constraints.0", {"Key": "a", "Operator": "==", "Values": ["x"]}),
    ("Tasks.0.Engine", WASM),
    ("Tasks.0.Engine.Params.Entrypoint", None),
    ("Tasks.0.Engine.Params.Entrypoint", []),
    ("Tasks.0.Engine.Params.EnvironmentVariables", ["A = b", "C="]),
    ("Tasks.0.Engine.Params.WorkingDirectory", ""),
    ("Tasks.0.Engine.Params.WorkingDirectory", "/"),
    ("Tasks.0.Env", {"A_B": "c"}),
    ("Tasks.0.Publisher", None),
    ("Tasks.0.Publisher", {"Type": "noop"}),
    ("Tasks.0.Publisher", {"Type": "s3", "Params": {"Bucket": "b", "Key": "k", "Encoding": "gzip"}}),
    ("Tasks.0.InputSources.0.Source", {"Type": "localDirectory", "Params": {"SourcePath": "/a"}}),
    ("Tasks.0.InputSources.0.Source", {"Type": "inline", "Params": {"URL": "data:,x"}}),
    ("Tasks.0.Network", {"Type": "Full"}),
    ("Tasks.0.Network", {"Type": "HTTP", "Domains": [".a.io", "::1"]}),
    ("Tasks.0.Resources", None),
    ("Tasks.0.Resources.CPU", "250m"),
    ("Tasks.0.Resources.CPU", ".5"),
    ("Tasks.0.Resources.Memory", "1.5 GiB"),
    ("Tasks.0.Resources.Memory", 1e9),
    ("Tasks.0.Timeouts.TotalTimeout", "2h"),
    ("Tasks.0.Timeouts.TotalTimeout", "10800"),
]
WRONG = [
    ("Type", ...),
    ("Type", None),
    ("Type", "cron"),
    ("Tipe", "batch"),
    ("ID", "j-1"),
    ("Name", ["a"]),
    ("Priority", 1.5),
    ("Priority", "high"),
    ("Count", -1),
    ("Count", 10_001),
    ("Labels", ["a"]),
    ("Labels", {"a": {}}),
    ("Constraints.0", {"Key": "a", "Operator": "~", "Values": ["x"]}),
    ("Constraints.0", {"Key": "a", "Operator": "="}),
    ("Constraints.0", {"Key": "a", "Operator": "=", "Values": ["x", "y"]}),
    ("Constraints.0", {"Key": "a", "Operator": "in", "Values": []}),
    ("Constraints.0", {"Key": "a", "Operator": "!", "Values": ["x"]}),
    ("Constraints.0", {"Key": "a", "Operator": "lt", "Values": ["x"]}),
    ("Constraints.0.Key", ...),
    ("Tasks", []),
    ("Tasks", ...),
    ("Tasks", {}),
    ("Tasks.0.Engine", ...),
    ("Tasks.0.Engine.Type", "dokcer"),
    ("Tasks.0.Engine.Params", ...),
    ("Tasks.0.Engine.Params.Image", ...),
    ("Tasks.0.Engine.Params.Image", "A B"),
    ("Tasks.0.Engine.Params.Imgae", "x"),
    ("Tasks.0.Engine.Params.EntryModule", "/a"),
    ("Tasks.0.Engine.Params.EnvironmentVariables", ["A"]),
    ("Tasks.0.Engine.Params.EnvironmentVariables", {"A": "b"}),
    ("Tasks.0.Engine.Params.WorkingDirectory", "tmp"),
    ("Tasks.0.Env", {"2A": "b"}),
    ("Tasks.0.Env", {"BACALHAU_X": "b"}),
    ("Tasks.0.Publisher", {"Type": "s3"}),
    ("Tasks.0.Publisher", {"Type": "s3managed"}),
    ("Tasks.0.Publisher", {"Type": "ipfs", "Params": {"Bucket": "b"}}),
    ("Tasks.0.InputSources", {}),
    ("Tasks.0.InputSources.0", None),
    ("Tasks.0.InputSources.0.Target", "data"),
    ("Tasks.0.InputSources.0.Target", "/"),
    ("Tasks.0.InputSources.0.Source", {"Type": "ipfs", "Params": {"CID": "x"}}),
    ("Tasks.0.InputSources.0.Source", {"Type": "ipfs", "Params": {"CID": "bafkreigeud/a/../b"}}),
    ("Tasks.0.InputSources.0.Source", {"Type": "urlDownload", "Params": {"URL": "ftp://a"}}),
    ("Tasks.0.InputSources.0.Source.Params.Partition.Pattern", ...),
    ("Tasks.0.Network", {"Type": "HTTP"}),
    ("Tasks.0.Network", {"Domains": ["a.io"]}),
    ("Tasks.0.Network", {"Type": "HTTP", "Domains": ["http://a.io/x"]}),
    ("Tasks.0.Network", {"Type": "None", "Ports": [{"Name": "a"}]}),
    ("Tasks.0.Network", {"Type": "Host", "Ports": [{"Name": "a", "Target": 80}]}),
    ("Tasks.0.Network.Ports.0.Static", 80),
    ("Tasks.0.ResultPaths.0.Name", "a/b"),
    ("Tasks.0.Resources", "big"),
    ("Tasks.0.Resources.CPU", "fast"),
    ("Tasks.0.Resources.CPU", 0),
    ("Tasks.0.Resources.CPUs", 1),
    ("Tasks.0.Resources.Memory", "1 gigabyte"),
    ("Tasks.0.Resources.GPU", "1.5"),
    ("Tasks.0.Timeouts.QueueTimeout", "soon"),
    ("Tasks.0.Timeouts.QueueTimeout", -1),
    ("Tasks.0.Timeouts.QueueTimeout", 1.5),
]


@pytest.mark.parametrize(("path", "value"), GOOD, ids=str)
def test_what_the_parser_takes_the_schema_takes(path: str, value: Any) -> None:
    job = changed(path, value)
    assert parser_takes(job)
    VALIDATOR.validate(job)


@pytest.mark.parametrize(("path", "value"), WRONG, ids=str)
def test_what_the_schema_refuses_the_parser_refuses(path: str, value: Any) -> None:
    job = changed(path, value)
    assert not VALIDATOR.is_valid(job)
    assert not parser_takes(job)


Named = tuple[str, kinds.Field, kinds.ObjectOf]


def fields(kind: Any, path: str = "") -> Iterator[Named]:
    """Every field that the parser knows, with its path as the page writes it."""
    match kind:
        case kinds.ObjectOf():
            for one in kind.fields:
                here = f"{path}.{one.name}".removeprefix(".")
                yield here, one, kind
                yield from fields(one.kind, here)
        case kinds.ListOf():
            yield from fields(kind.item, f"{path}[]")
        case Assignments():
            yield from fields(kind.list, path)
        case Typed():
            for name, variant in kind.variants.items():
                if name and not variant.refused and not variant.deprecated:
                    yield from fields(variant.params, f"{path}({name}).Params")


def part_of_schema(path: str) -> dict[str, Any]:
    """The schema of the field at a path of `fields`."""
    found = SCHEMA
    for step in path.split("."):
        name, _, kind = step.removesuffix("[]").removesuffix(")").partition("(")
        found = found["properties"][name]
        found = found["items"] if step.endswith("[]") else found
        if kind:
            (rule,) = [
                one["then"] for one in found["allOf"] if one["if"]["properties"]["Type"]["const"] == kind
            ]
            found = {"properties": {**found["properties"], **rule["properties"]}}
    return found


ALL_FIELDS = list(fields(JOB))


@pytest.mark.parametrize(("path", "one", "parent"), ALL_FIELDS, ids=[path for path, *_ in ALL_FIELDS])
def test_every_field_is_in_the_schema_with_a_description(
    path: str, one: kinds.Field, parent: kinds.ObjectOf
) -> None:
    found = part_of_schema(path)
    assert found["description"].endswith(".") and len(found["description"]) > 10
    assert set(found) > {"description"}
    holder, _, name = path.rpartition(".")
    whole = part_of_schema(holder) if holder else SCHEMA
    if not holder.endswith("Params"):
        assert (name in whole["required"]) == one.required


@pytest.mark.parametrize(
    ("path", "one"),
    [(path, one) for path, one, _ in ALL_FIELDS if not isinstance(one.kind, ModuleField)],
    ids=[path for path, one, _ in ALL_FIELDS if not isinstance(one.kind, ModuleField)],
)
def test_every_example_and_default_can_be_written(path: str, one: kinds.Field) -> None:
    for value in (one.example, one.default):
        if value is None:
            continue
        node = yamltree.from_plain(value)
        report = Report("example", node)
        one.kind.read(node, (), report)
        assert not [problem for problem in report.problems() if problem.severity is Severity.ERROR]
        jsonschema.Draft202012Validator(part_of_schema(path.removesuffix("[]"))).validate(
            list(value) if isinstance(value, tuple) else value
        )


def test_a_default_that_is_written_down_changes_nothing() -> None:
    docker = {"Type": "docker", "Params": {"Image": "busybox"}}
    wasm = {"Type": "wasm", "Params": {"EntryModule": "/m"}}
    inputs = [{"Target": "/m", "Source": {"Type": "inline", "Params": {"URL": "data:,x"}}}]
    for engine in (docker, wasm):
        bare = {"Type": "batch", "Tasks": [{"Engine": engine, "InputSources": inputs}]}
        written = copy.deepcopy(bare)
        fill_in_defaults(written, JOB)
        assert written["Tasks"][0]["Resources"]["CPU"] == "500m"
        assert parse(json.dumps(written), "job").spec == parse(json.dumps(bare), "job").spec


def fill_in_defaults(here: dict[str, Any], kind: kinds.ObjectOf) -> None:
    for one in kind.fields:
        if one.default is not None:
            here.setdefault(one.name, copy.deepcopy(one.default))
        value = here.get(one.name)
        if isinstance(one.kind, kinds.ObjectOf) and isinstance(value, dict):
            fill_in_defaults(value, one.kind)
        elif isinstance(one.kind, kinds.ListOf) and isinstance(one.kind.item, kinds.ObjectOf):
            for item in value or ():
                fill_in_defaults(item, one.kind.item)
        elif isinstance(one.kind, Typed) and value:
            fill_in_defaults(value["Params"], one.kind.variants[value["Type"]].params)


def type_of(kind: Any) -> str:
    """How the page calls what a field holds."""
    match kind:
        case kinds.ListOf():
            return f"list of {type_of(kind.item)}".replace("map", "maps")
        case Assignments():
            return "list of NAME = value"
        case kinds.TextMap():
            return "map of texts"
        case kinds.ObjectOf() | Typed():
            return "map"
        case ModuleField():
            return "path"
    words = getattr(kind.convert, "words", None)
    if words and kind is not kinds.BOOLEAN:
        return "one of " + ", ".join(f"`{word}`" for word in words)
    if kind.expected == DURATION_ALLOWED:
        return "duration"
    return re.sub("^an? ", "", kind.expected) if len(kind.expected) < 30 else "amount"


def row(path: str, one: kinds.Field) -> str:
    """The line of the page for a field, which its table must have just so."""
    left_out = "required" if one.required else "" if one.default is None else f"`{shown(one.default)}`"
    about = one.about or f"{one.hint[:1].upper()}{one.hint[1:]}."
    example = "" if one.example is None else f"`{shown(one.example)}`"
    cells = (f"`{path}`", type_of(one.kind), left_out, about, example)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def shown(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)


def test_the_page_has_a_line_for_every_field_and_no_other() -> None:
    expected = [row(path, one) for path, one, _ in ALL_FIELDS]
    found = [line for line in PAGE.splitlines() if re.match(r"\| `[A-Z]", line)]
    assert sorted(found) == sorted(expected)
