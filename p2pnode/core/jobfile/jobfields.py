"""Every field of a job file, what it may hold, and the rules between fields.

`JOB` is the whole, declared from the bottom up as a tree of kinds; reading a node with it
gives a `JobSpec`. Names and rules are those of the job-type page and of the system that
it describes, but what that system finds only on the peer that would run the job, or
silently ignores (unknown keys, a second task), is an error here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from p2pnode.core.placement import constraints, forwarding, targets
from p2pnode.core.values import mounts
from p2pnode.core.values.units import AMOUNT_MAX, DURATION_ALLOWED
from p2pnode.core.wire.spec import (
    DEFAULT_NAMESPACE,
    DEPUTIES_DEFAULT,
    DEPUTIES_WANTED_MAX,
    RETRIES_MAX,
    RETRIES_META_KEY,
    WITHOUT_DEPUTIES,
    Constraint,
    DockerTask,
    InputSource,
    JobSpec,
    JobType,
    ResultPath,
    Source,
    Task,
    WasmTask,
)

from .converters import Choice, Integer
from .enginefields import ENGINE, VARIABLE_PATTERN, variable_name
from .forms import OF_THE_NETWORK
from .kinds import NAME, TEXT, Field, ListOf, ObjectOf, TextMap, Value, when
from .problems import Path, Report
from .sources import INPUT, PUBLISHER
from .taskfields import NETWORK, RESOURCES, RESULT_PATH, TIMEOUTS

# Placing more replicas than the largest network has peers serves nobody.
COUNT_MAX = 10_000
# The system whose job files we read keeps notes of its own under such names.
_META = TextMap(reserved_prefix="bacalhau.org/")
# For the schema.
_ONE = {"minItems": 1, "maxItems": 1}
_INTEGER = {"type": ["string", "integer"], "pattern": "^[+-]?[0-9]{1,19}$"}
_EVERYWHERE = (JobType.OPS, JobType.DAEMON)
_ENDLESS = (JobType.DAEMON, JobType.SERVICE)


def _constraint(values: dict[str, Any], path: Path, report: Report) -> Constraint | None:
    found = Constraint(key=values["Key"], operator=values["Operator"], values=values.get("Values", ()))
    if report.has_error_under((*path, "Values")):
        return None
    if problem := constraints.problem(found):
        report.error(path, problem)
        return None
    return found


CONSTRAINT = ObjectOf(
    Field(
        "Key",
        NAME,
        required=True,
        hint="the label to look at",
        about="The label to look at. After favour_ it is a preference, and excludes no peer.",
        example="Operating-System",
    ),
    Field(
        "Operator",
        Value(Choice(constraints.OPERATORS, "an operator"), "an operator"),
        required=True,
        hint="one of " + ", ".join(constraints.OPERATORS),
        about="How it is compared, as in Kubernetes: != and notin hold for a peer without the label as well.",
        example="=",
    ),
    Field(
        "Values",
        ListOf(TEXT, null=""),
        about="What it is compared with: none for exists and !, any number for in and notin, else one.",
        default=(),
        example=["linux"],
    ),
    build=_constraint,
    rules=(
        when("Operator", ["exists", "!"], then={"Values": {"maxItems": 0}}),
        when("Operator", ["in", "notin"], then={"Values": {"minItems": 1}}, needs=["Values"]),
        when("Operator", ["=", "==", "!="], then={"Values": _ONE}, needs=["Values"]),
        when("Operator", ["gt", "lt"], then={"Values": _ONE | {"items": _INTEGER}}, needs=["Values"]),
    ),
)


def _check_task(values: dict[str, Any], path: Path, report: Report) -> None:
    inputs, results = values.get("InputSources", ()), values.get("ResultPaths", ())
    _mounted_once(inputs, results, path, report)
    _files_are_named(inputs, values.get("Engine"), path, report)
    if isinstance(publisher := values.get("Publisher"), Source) and publisher.type == "none" and results:
        report.warning((*path, "ResultPaths"), "are not kept, as Publisher is none")
    if "Engine" not in values or report.has_error_under((*path, "InputSources")):
        return
    engine, own_inputs = values["Engine"]
    if isinstance(engine, DockerTask):
        _mountable(inputs, results, path, report)
    if isinstance(engine, WasmTask):
        _no_file_is_written(inputs, path, report)
        _modules_are_inputs(engine, [one.target for one in (*inputs, *own_inputs)], path, report)


def _mounted_once(
    inputs: Iterable[InputSource], results: Iterable[ResultPath], path: Path, report: Report
) -> None:
    targets = {one.target for one in inputs}
    for one in results:
        if one.path in targets:
            report.error((*path, "ResultPaths"), f"{one.path} is also the Target of an input source")


def _files_are_named(inputs: Iterable[InputSource], engine: Any, path: Path, report: Report) -> None:
    """Warns of a Target that looks like a file and becomes a folder."""
    modules: tuple[str, ...] = ()
    if engine is not None and isinstance(engine[0], WasmTask):
        modules = (engine[0].entry_module, *engine[0].import_modules)
    for index, one in enumerate(inputs):
        single = targets.is_single(one.source) and one.target not in modules
        if single and targets.looks_like_a_file(one) and not targets.is_itself(one):
            message = (
                f"{one.target} becomes a folder, and the file lies in it under its own name; for the file "
                "itself, end Target with that name, or with its suffix"
            )
            report.warning((*path, "InputSources", index, "Target"), message)


def _no_file_is_written(inputs: Iterable[InputSource], path: Path, report: Report) -> None:
    for index, one in enumerate(inputs):
        params = one.source.params
        if params.get("CreateAs") == "file" and params.get("ReadWrite") is True:
            message = "file: a WASM program can write only below a folder; make that its SourcePath"
            report.error((*path, "InputSources", index, "Source", "Params", "CreateAs"), message)


def _mountable(
    inputs: Iterable[InputSource], results: Iterable[ResultPath], path: Path, report: Report
) -> None:
    """A container's places can be made; where only the inputs themselves tell, it is a warning."""
    for index, source in enumerate(inputs):
        # A single file may go into /etc beside what is there.
        beside = targets.is_single(source.source) and not targets.is_itself(source)
        if why := mounts.misplaced(source.target, folder=beside):
            report.error((*path, "InputSources", index, "Target"), f"{source.target} {why}")
    read_only = {one.target: one for one in inputs if one.source.params.get("ReadWrite") is not True}
    for index, result in enumerate(results):
        here = (*path, "ResultPaths", index, "Path")
        if why := mounts.misplaced(result.path, folder=True):
            report.error(here, f"{result.path} {why}")
        elif above := mounts.lowest_above(result.path, read_only):
            kind = "file" if read_only[above].source.type == "inline" else "input"
            said = f"{result.path} lies below the {kind} at {above}, which is read-only"
            if kind == "file":
                report.error(here, said)
            else:
                report.warning(here, f"{said}: that must have such a folder; better choose another path")


def _modules_are_inputs(engine: WasmTask, targets: list[str], path: Path, report: Report) -> None:
    params = (*path, "Engine", "Params")
    wanted: list[tuple[Path, str]] = [((*params, "EntryModule"), engine.entry_module)]
    for index, module in enumerate(engine.import_modules):
        wanted.append(((*params, "ImportModules", index), module))
    for here, module in wanted:
        if not any(module == target or module.startswith(f"{target}/") for target in targets):
            there_are = ", ".join(targets[:20]) or "none"
            report.error(
                here, f"{module} is not the Target of an input source, nor below one; Targets: {there_are}"
            )


def _task(values: dict[str, Any], path: Path, report: Report) -> Task:
    engine, own_inputs = values["Engine"]
    defaults: dict[str, Any] = {
        attribute: values[name]
        for name, attribute in (
            ("Publisher", "publisher"),
            ("Env", "environment"),
            ("Meta", "meta"),
            ("ResultPaths", "results"),
            ("Resources", "resources"),
            ("Network", "network"),
            ("Timeouts", "timeouts"),
        )
        if name in values
    }
    inputs = (*values.get("InputSources", ()), *own_inputs)
    return Task(engine=engine, name=values.get("Name") or "main", inputs=inputs, **defaults)


TASK = ObjectOf(
    Field("Name", NAME, about="What the task is called.", default="main", example="calculate"),
    Field(
        "Engine",
        ENGINE,
        required=True,
        hint="a map of Type and Params",
        about="What runs the task.",
        example={"Type": "docker", "Params": {"Image": "busybox"}},
    ),
    Field(
        "Env",
        TextMap(check_key=variable_name, check_value=forwarding.check_value, key_pattern=VARIABLE_PATTERN),
        about="Variables for the program, whatever the engine. env:NAME is the value of the peer's own "
        "variable NAME.",
        default={},
        example={"MODE": "fast"},
    ),
    Field("Meta", _META, about="Notes for people about the task.", default={}, example={"Goal": "test"}),
    Field("Publisher", PUBLISHER, about="Where the results go; left out, nowhere.", example={"Type": "ipfs"}),
    Field(
        "InputSources",
        ListOf(INPUT, unique={"Target": "target", "Alias": "alias"}),
        about="Data that is there before the task begins, each at a Target of its own.",
        default=(),
        example=[{"Target": "/logs", "Source": {"Type": "local", "Params": {"SourcePath": "/var/log"}}}],
    ),
    Field(
        "ResultPaths",
        ListOf(RESULT_PATH, unique={"Name": "name", "Path": "path"}),
        about="Folders of the task that are part of its result; no two alike. Only for jobs that end.",
        default=(),
        example=[{"Name": "outputs", "Path": "/outputs"}],
    ),
    Field("Resources", RESOURCES, about="What the task asks of a peer.", default={}, example={"CPU": "2"}),
    Field("Network", NETWORK, about="What the task may reach.", default={}, example={"Type": "Host"}),
    Field(
        "Timeouts",
        TIMEOUTS,
        about=f"How long things may take: {DURATION_ALLOWED}.",
        default={},
        example={"TotalTimeout": "1h"},
    ),
    slips={
        "Outputs": ("ResultPaths", "it is ResultPaths now: [{Name: outputs, Path: /outputs}]"),
        "Inputs": ("InputSources", "did you mean InputSources?"),
        "Timeout": ("Timeouts", "it is Timeouts: {TotalTimeout: ...}"),
        "EnvironmentVariables": (
            "Env",
            "it is Env, a map of names to texts; a list belongs into Engine.Params",
        ),
        "Annotations": ("", "Labels are the job's, above Tasks"),
        **dict.fromkeys(
            ("Image", "Entrypoint", "Parameters", "WorkingDirectory"), ("", "it belongs into Engine.Params")
        ),
        **dict.fromkeys(("CPU", "Memory", "Disk", "GPU"), ("", "it belongs into Resources")),
        **dict.fromkeys(
            ("Count", "Type", "Constraints", "Labels", "Priority", "Namespace"),
            ("", "it is the job's, above Tasks"),
        ),
    },
    check=_check_task,
    build=_task,
)


def _check_job(values: dict[str, Any], path: Path, report: Report) -> None:
    kind, count, tasks = values.get("Type"), values.get("Count"), values.get("Tasks")
    if kind in _EVERYWHERE and count is not None:
        message = f"{kind} jobs run once on every suitable peer; leave Count out"
        if count > 1:
            report.error((*path, "Count"), message)
        else:
            report.warning((*path, "Count"), f"ignored: {message}")
    if values.get("Deputies") == 0:
        report.warning((*path, "Deputies"), f"0: {WITHOUT_DEPUTIES}")
    if tasks is not None and len(tasks) != 1 and not report.has_error_under((*path, "Tasks")):
        report.error((*path, "Tasks"), f"{len(tasks)} tasks; allowed: exactly one")
    retries = (values.get("Meta") or {}).get(RETRIES_META_KEY, "0")
    if not (retries.isascii() and retries.isdecimal() and int(retries) <= RETRIES_MAX):
        place = (*path, "Meta", RETRIES_META_KEY)
        report.error(place, f'"{retries[:80]}" is not a number of retries; allowed: 0 to {RETRIES_MAX}')
    if kind in _ENDLESS and tasks and tasks[0].results:
        message = f"{kind} jobs do not end, so what they write there is not published"
        report.warning((*path, "Tasks", 0, "ResultPaths"), message)


def _job(values: dict[str, Any], path: Path, report: Report) -> JobSpec | None:
    if len(values["Tasks"]) != 1:
        return None
    kind = values["Type"]
    return JobSpec(
        type=kind,
        task=values["Tasks"][0],
        name=values.get("Name", ""),
        namespace=values.get("Namespace") or DEFAULT_NAMESPACE,
        priority=values.get("Priority", 0),
        count=1 if kind in _EVERYWHERE else values.get("Count", 1),
        deputies=values.get("Deputies", DEPUTIES_DEFAULT),
        constraints=values.get("Constraints", ()),
        meta=values.get("Meta", {}),
        labels=values.get("Labels", {}),
    )


_OF_THE_NETWORK = "is given to a job by the network and cannot be set in its file; leave it out"
_TYPES = {kind.value: kind for kind in JobType}

JOB = ObjectOf(
    Field("Name", NAME, about="What the job is called; left out, its id.", default="", example="Word Count"),
    Field(
        "Namespace",
        NAME,
        about="Jobs of one namespace are listed together.",
        default="default",
        example="logging",
    ),
    Field(
        "Type",
        Value(Choice(_TYPES, "a type of job"), "a type of job"),
        required=True,
        hint="one of " + ", ".join(_TYPES),
        about="batch runs Count replicas to their end, ops one on every suitable peer; "
        "service and daemon are the same without an end.",
        example="batch",
    ),
    Field(
        "Priority",
        Value(Integer(-AMOUNT_MAX, AMOUNT_MAX), "a whole number"),
        about="Of one owner, jobs of a higher one are placed first.",
        default=0,
        example=100,
    ),
    Field(
        "Count",
        Value(Integer(0, COUNT_MAX), "a whole number"),
        about="How many replicas of a batch or service job are wanted. ops and daemon jobs leave it out.",
        default=1,
        example=3,
    ),
    Field(
        "Deputies",
        Value(Integer(0, DEPUTIES_WANTED_MAX), "a whole number"),
        about="How many peers keep a copy of the job, to take it over from a node that goes away; "
        "only peers that meet Constraints do.",
        default=DEPUTIES_DEFAULT,
        example=1,
    ),
    Field(
        "Meta",
        _META,
        about=f"Notes for people about the job. {RETRIES_META_KEY} has each replica that fails by itself "
        f"tried again so often, at most {RETRIES_MAX} times.",
        default={},
        example={"Purpose": "test"},
    ),
    Field("Labels", TextMap(), about="What jobs can be found by.", default={}, example={"team": "research"}),
    Field(
        "Constraints",
        ListOf(CONSTRAINT),
        about="Which peers are suitable: those whose labels hold to all of these.",
        default=(),
        example=[{"Key": "zone", "Operator": "in", "Values": ["a", "b"]}],
    ),
    Field(
        "Tasks",
        ListOf(TASK),
        required=True,
        hint="a list of one task",
        example=[{"Engine": {"Type": "docker", "Params": {"Image": "busybox"}}}],
    ),
    rules=(
        {"properties": {"Tasks": _ONE}},
        when("Type", [kind.value for kind in _EVERYWHERE], then={"Count": {"maximum": 1}}),
    ),
    check=_check_job,
    build=_job,
    refused=dict.fromkeys(OF_THE_NETWORK, _OF_THE_NETWORK),
    slips={
        "Annotations": ("Labels", "it is Labels now, a map of names to texts"),
        "Metadata": ("Meta", "notes are Meta, and what jobs are found by is Labels"),
        "Concurrency": ("Count", "did you mean Count?"),
        "Image": ("", "it belongs into Tasks[0].Engine.Params"),
        **dict.fromkeys(
            (
                *("Engine", "Env", "InputSources", "Network", "Publisher", "ResultPaths", "Resources"),
                *("Timeouts", "Timeout", "Inputs", "Outputs"),
            ),
            ("", "it belongs into the task, Tasks[0]"),
        ),
    },
)
