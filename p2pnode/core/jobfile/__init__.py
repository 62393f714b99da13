"""A job file's text as a `JobSpec`, with every mistake found at once; and a spec as a job file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from p2pnode.core.values.units import format_bytes, format_cpu
from p2pnode.core.wire import codec
from p2pnode.core.wire.spec import (
    Constraint,
    InputSource,
    JobSpec,
    JobType,
    NetworkType,
    OtherTask,
    Port,
    SomeEngine,
    Source,
    Task,
    WasmTask,
)

from . import forms, yamltree
from .jobfields import JOB
from .problems import FileProblem, JobFileError, Report, Severity

if TYPE_CHECKING:
    from .template.expanded import Expanded

# Up to here a line may hold a comment, in which braces are nobody's business.
_TEMPLATE_ACTION = re.compile(r"^[^#\n]*?(\{\{[^\n]{0,40})", re.MULTILINE)

# How types are written that the spec has in lower case.
_TYPE_NAMES = {"urldownload": "urlDownload"}
_NETWORK_NAMES = {
    NetworkType.NONE: "None",
    NetworkType.HOST: "Host",
    NetworkType.BRIDGE: "Bridge",
    NetworkType.HTTP: "HTTP",
}


@dataclass(frozen=True, slots=True)
class ParsedJob:
    spec: JobSpec
    # The things that the author should know though the file is accepted.
    warnings: tuple[FileProblem, ...]


def parse(text: str | bytes, name: str, *, literal_braces: bool = False) -> ParsedJob:
    """The job that a file describes; `name` is the file's, for the messages.

    YAML or JSON. Templates in it are a mistake, or, with `literal_braces`, text like any
    other. Raises `JobFileError` with all that is wrong, whatever the text is.
    """
    return _read(_tree(text, name, literal_braces), name)


def parse_template(text: str | bytes, variables: Mapping[str, str], name: str) -> ParsedJob:
    """The job that a file describes once its templates are filled in (`core.jobfile.template`).

    Lines and columns of problems are those of the file as it was written. Raises
    `JobFileError` as `parse` does; while templates are wrong, with what is wrong in these alone.
    """
    try:
        # A mark before the text would move its first line by a column.
        readable = (yamltree.decode(text) if isinstance(text, bytes) else text).removeprefix("\ufeff")
    except yamltree.BadYaml as exc:
        raise JobFileError(
            (FileProblem(name, exc.line, exc.column, "", Severity.ERROR, exc.message),)
        ) from exc
    if "{{" not in readable:
        return _read(_tree(readable, name, literal_braces=False), name)
    from .template import rendering, values

    expanded = rendering.expand(readable, variables, name)
    try:
        root = _tree(expanded.text, name, literal_braces=True)
        parsed = _read(root, name)
    except JobFileError as exc:
        raise JobFileError(_at_their_origin(values.blamed(exc.problems, expanded), expanded)) from exc
    warnings = (*_at_their_origin(parsed.warnings, expanded), *values.changed(root, expanded, name))
    return replace(parsed, warnings=tuple(sorted(warnings, key=lambda one: (one.line, one.column))))


def _tree(text: str | bytes, name: str, literal_braces: bool) -> yamltree.Node:
    try:
        return yamltree.compose(text, literal_braces=literal_braces)
    except yamltree.BadYaml as exc:
        problem = FileProblem(name, exc.line, exc.column, "", Severity.ERROR, exc.message)
        raise JobFileError((problem if literal_braces else _unreadable(text, problem),)) from exc


def _at_their_origin(problems: tuple[FileProblem, ...], expanded: Expanded) -> tuple[FileProblem, ...]:
    found = []
    for one in problems:
        line, column = expanded.origin(one.line, one.column)
        found.append(replace(one, line=line, column=column))
    return tuple(found)


def check(spec: JobSpec) -> None:
    """Holds a spec that did not come from a file here (a peer's, a command line's) to the same rules.

    Raises `JobFileError`.
    """
    # Extensions come from no file: what they mean is checked by who knows them.
    plain = codec.replace(spec, task=codec.replace(spec.task, extensions=UNSET), extensions=UNSET)
    if _read(yamltree.from_plain(render(spec)), "job").spec != plain:
        message = "the spec has fields in a form that no job file leads to"
        raise JobFileError((FileProblem("job", 1, 1, "", Severity.ERROR, message),))


def _read(root: yamltree.Node, name: str) -> ParsedJob:
    root = forms.unwrapped(root)
    report = Report(name, root)
    if other := forms.other_form(root):
        report.error((), other[1], other[0])
        raise JobFileError(report.problems())
    spec = JOB.read(root, (), report)
    if report.has_errors:
        raise JobFileError(report.problems())
    return ParsedJob(spec, report.problems())


def _unreadable(text: str | bytes, problem: FileProblem) -> FileProblem:
    """The YAML error, or, where braces of a template or another program's language led to it, what to do."""
    readable = text.decode(errors="replace") if isinstance(text, bytes) else text
    if forms.is_hcl(readable):
        return replace(problem, line=1, column=1, message=forms.NOMAD)
    action = _TEMPLATE_ACTION.search(readable)
    if action is None:
        return problem
    line = readable.count("\n", 0, action.start(1)) + 1
    if line > problem.line:
        return problem
    column = action.start(1) - readable.rfind("\n", 0, action.start(1))
    message = (
        f"found the template action {action[1].strip()}; give its variables with -V name=value, "
        "or put the text in quotes if the braces are meant"
    )
    return replace(problem, line=line, column=column, message=message)


def render(spec: JobSpec) -> dict[str, Any]:
    """The job file that leads to this spec, ready for YAML or JSON: `parse` gives the same spec again.

    Fields that hold nothing are left out; defaults are written down.
    """
    job: dict[str, Any] = {"Name": spec.name} if spec.name else {}
    job |= {"Type": spec.type.value, "Namespace": spec.namespace, "Priority": spec.priority}
    if spec.type in (JobType.BATCH, JobType.SERVICE):
        job["Count"] = spec.count
    job["Deputies"] = spec.deputies
    return job | _filled(
        Meta=dict(spec.meta),
        Labels=dict(spec.labels),
        Constraints=[_constraint(one) for one in spec.constraints],
        Tasks=[_task(spec.task)],
    )


def _filled(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in ("", None, [], {})}


def _constraint(one: Constraint) -> dict[str, Any]:
    return {"Key": one.key, "Operator": one.operator.value} | (
        {"Values": list(one.values)} if one.values else {}
    )


def _task(task: Task) -> dict[str, Any]:
    resources, timeouts = task.resources, task.timeouts
    rendered: dict[str, Any] = {"Name": task.name, "Engine": _engine(task.engine)}
    rendered |= _filled(
        Env=dict(task.environment),
        Meta=dict(task.meta),
        Publisher=task.publisher and _source(task.publisher),
        InputSources=[_input(one) for one in task.inputs],
        ResultPaths=[{"Name": one.name, "Path": one.path} for one in task.results],
    )
    rendered["Resources"] = {
        "CPU": format_cpu(resources.cpu_millis),
        "Memory": format_bytes(resources.memory_bytes),
        "Disk": format_bytes(resources.disk_bytes),
        "GPU": str(resources.gpus),
    }
    network = _filled(Domains=list(task.network.domains), Ports=[_port(one) for one in task.network.ports])
    rendered["Network"] = {"Type": _NETWORK_NAMES[task.network.type]} | network
    # Whole seconds, as the files that people have; 0 in the queue is not the same as nothing.
    times = (
        ("ExecutionTimeout", timeouts.execution_s),
        ("QueueTimeout", timeouts.queue_s),
        ("TotalTimeout", timeouts.total_s),
        ("StopGracePeriod", timeouts.stop_grace_s),
    )
    limits = {name: seconds for name, seconds in times if seconds is not None}
    return rendered | ({"Timeouts": limits} if limits else {})


def _engine(engine: SomeEngine) -> dict[str, Any]:
    if isinstance(engine, OtherTask):
        return {"Type": "other", "Params": {"Name": engine.name} | _filled(Params=dict(engine.params))}
    variables = [f"{name}={value}" for name, value in engine.environment.items()]
    parameters = list(engine.parameters)
    if isinstance(engine, WasmTask):
        return {
            "Type": "wasm",
            "Params": {"EntryModule": engine.entry_module, "Entrypoint": engine.entrypoint}
            | _filled(
                Parameters=parameters,
                ImportModules=list(engine.import_modules),
                EnvironmentVariables=variables,
            ),
        }
    # An empty entrypoint does without the image's own, none at all uses it.
    entrypoint = {} if engine.entrypoint is None else {"Entrypoint": list(engine.entrypoint)}
    rest = _filled(
        Parameters=parameters,
        WorkingDirectory=engine.working_directory,
        EnvironmentVariables=variables,
        Meta=dict(engine.meta),
    )
    return {"Type": "docker", "Params": {"Image": engine.image} | entrypoint | rest}


def _source(source: Source) -> dict[str, Any]:
    params = {"Params": dict(source.params)} if source.params else {}
    return {"Type": _TYPE_NAMES.get(source.type, source.type)} | params


def _input(one: InputSource) -> dict[str, Any]:
    return _filled(Target=one.target, Alias=one.alias) | {"Source": _source(one.source)}


def _port(port: Port) -> dict[str, Any]:
    return _filled(Name=port.name, Static=port.static, Target=port.target, HostNetwork=port.host_network)
