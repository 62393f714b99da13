"""Every field of a job file, what it may hold, and the rules between fields.

`JOB` is the whole, declared from the bottom up as a tree of kinds; reading a node with it
gives a `JobSpec`. Names and rules are those of the job-type page and of the system that
it describes, but what that system finds only on the peer that would run the job, or
silently ignores (unknown keys, a second task), is an error here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import constraints
from .enginefields import ENGINE, variable_name
from .kinds import NAME, TEXT, Field, ListOf, Object, TextMap, Value, choice, integer
from .problems import Path, Report
from .sources import INPUT, PUBLISHER
from .spec import Constraint, InputSource, JobSpec, JobType, ResultPath, Source, Task, WasmEngine
from .taskfields import NETWORK, RESOURCES, RESULT_PATH, TIMEOUTS
from .units import AMOUNT_MAX

# Placing more replicas than the largest network has peers serves nobody.
COUNT_MAX = 10_000
# The system whose job files we read keeps notes of its own under such names.
_META = TextMap(reserved_prefix="bacalhau.org/")
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


CONSTRAINT = Object(
    Field("Key", NAME, required=True, hint="the label to look at"),
    Field(
        "Operator",
        Value(choice(constraints.OPERATORS, "an operator"), "an operator"),
        required=True,
        hint="one of " + ", ".join(constraints.OPERATORS),
    ),
    Field("Values", ListOf(TEXT, null="")),
    build=_constraint,
)


def _check_task(values: dict[str, Any], path: Path, report: Report) -> None:
    inputs, results = values.get("InputSources", ()), values.get("ResultPaths", ())
    _mounted_once(inputs, results, path, report)
    if isinstance(publisher := values.get("Publisher"), Source) and publisher.type == "none" and results:
        report.warning((*path, "ResultPaths"), "are not kept, as Publisher is none")
    if "Engine" not in values or report.has_error_under((*path, "InputSources")):
        return
    engine, own_inputs = values["Engine"]
    if isinstance(engine, WasmEngine):
        _modules_are_inputs(engine, [one.target for one in (*inputs, *own_inputs)], path, report)


def _mounted_once(
    inputs: Iterable[InputSource], results: Iterable[ResultPath], path: Path, report: Report
) -> None:
    targets = {one.target for one in inputs}
    for one in results:
        if one.path in targets:
            report.error((*path, "ResultPaths"), f"{one.path} is also the Target of an input source")


def _modules_are_inputs(engine: WasmEngine, targets: list[str], path: Path, report: Report) -> None:
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


TASK = Object(
    Field("Name", NAME),
    Field("Engine", ENGINE, required=True, hint="a map of Type and Params"),
    Field("Env", TextMap(check_key=variable_name)),
    Field("Meta", _META),
    Field("Publisher", PUBLISHER),
    Field("InputSources", ListOf(INPUT, unique={"Target": "target", "Alias": "alias"})),
    Field("ResultPaths", ListOf(RESULT_PATH, unique={"Name": "name", "Path": "path"})),
    Field("Resources", RESOURCES),
    Field("Network", NETWORK),
    Field("Timeouts", TIMEOUTS),
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
    if tasks is not None and len(tasks) != 1 and not report.has_error_under((*path, "Tasks")):
        report.error((*path, "Tasks"), f"{len(tasks)} tasks; allowed: exactly one")
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
        namespace=values.get("Namespace") or "default",
        priority=values.get("Priority", 0),
        count=1 if kind in _EVERYWHERE else values.get("Count", 1),
        constraints=values.get("Constraints", ()),
        meta=values.get("Meta", {}),
        labels=values.get("Labels", {}),
    )


_OF_THE_NETWORK = "is given to a job by the network and cannot be set in its file; leave it out"
_TYPES = {kind.value: kind for kind in JobType}

JOB = Object(
    Field("Name", NAME),
    Field("Namespace", NAME),
    Field(
        "Type", Value(choice(_TYPES, "a type of job"), "a type of job"), True, "one of " + ", ".join(_TYPES)
    ),
    Field("Priority", Value(integer(-AMOUNT_MAX, AMOUNT_MAX), "a whole number")),
    Field("Count", Value(integer(0, COUNT_MAX), "a whole number")),
    Field("Meta", _META),
    Field("Labels", TextMap()),
    Field("Constraints", ListOf(CONSTRAINT)),
    Field("Tasks", ListOf(TASK), required=True, hint="a list of one task"),
    check=_check_job,
    build=_job,
    refused=dict.fromkeys(
        ("ID", "State", "Version", "Revision", "CreateTime", "ModifyTime"), _OF_THE_NETWORK
    ),
)
