"""Options and arguments that several commands have."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click
from click.shell_completion import CompletionItem

from p2pnode.api.shapes import ServiceError
from p2pnode.cli.forms import OutputForm
from p2pnode.cli.output import short_id
from p2pnode.cli.status import CommandError
from p2pnode.client.errors import ClientError
from p2pnode.config import PROFILE_VARIABLE, ConfigError, check_profile
from p2pnode.core.jobfile.template.variables import parse_assignment, select_environment
from p2pnode.core.values.text import visible
from p2pnode.core.wire.bootstrap import parse_given

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
# More would be no help to choose from.
JOBS_COMPLETED_MAX = 100


def complete_jobs(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The ids of the newest jobs of the node that runs, short; none where no node answers."""
    from p2pnode.cli.requester import running

    try:
        jobs = running().jobs(limit=JOBS_COMPLETED_MAX)
    except (ClientError, ServiceError, ConfigError, CommandError):
        return []
    found = [(short_id(one["id"]), f"{one['name']} {one['state']}") for one in jobs]
    return [CompletionItem(id, help=visible(text)) for id, text in found if id.startswith(incomplete)]


job_id = click.argument("job_id", metavar="JOB", shell_complete=complete_jobs)
HOW_JOBS_ARE_NAMED = (
    "a job is named by its id or a prefix of it, j-..., or by its Name; see p2pnode job list [--network]"
)

# In a context's `meta` where --profile was given.
PROFILE_GIVEN = "p2pnode.profile"
# The profile is the flag's, so nothing else of the environment names a node.
_OTHER_NODES = ("P2PNODE_DATA_DIR", "P2PNODE_API", "P2PNODE_TOKEN")


def _take_profile(ctx: click.Context, option: click.Parameter, name: str | None) -> None:
    """Have this command, and those that it starts, use a profile's node."""
    if name is None:
        return
    try:
        check_profile(name)
    except ConfigError as error:
        if ctx.resilient_parsing:
            # A shell completes what is being typed.
            return
        raise click.UsageError(str(error), ctx) from error
    if ctx.meta.setdefault(PROFILE_GIVEN, name) != name:
        raise click.UsageError(f"two profiles are named: {ctx.meta[PROFILE_GIVEN]} and {name}")
    if not ctx.resilient_parsing:
        # A shell's completions are looked for when the context has been closed.
        before = dict(os.environ)
        ctx.find_root().call_on_close(lambda: _put_back(before))
    for variable in _OTHER_NODES:
        os.environ.pop(variable, None)
    os.environ[PROFILE_VARIABLE] = name


def _put_back(before: Mapping[str, str]) -> None:
    for variable in (*_OTHER_NODES, PROFILE_VARIABLE):
        os.environ.pop(variable, None)
        if variable in before:
            os.environ[variable] = before[variable]


def profile(*, hidden: bool = False) -> click.Option:
    """The flag --profile, which each command has and the front page explains."""
    return click.Option(
        ["--profile"],
        metavar="NAME",
        expose_value=False,
        is_eager=True,
        hidden=hidden,
        callback=_take_profile,
        help="Use the node of this profile: data and settings of its own (config profiles).",
    )


class ParsedValue(click.ParamType[Any]):
    """A value that a function reads, whose `ValueError` says what is wrong with it."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


peers = click.option(
    "--peer",
    "peers",
    metavar="ADDR",
    type=ParsedValue("address", parse_given),
    multiple=True,
    help="A node to connect to first, or /dnsaddr/NAME; may be repeated.",
)


@dataclass(frozen=True, slots=True)
class GivenFile:
    """A job file as the command line names it."""

    path: str
    # None: braces are text like any other.
    variables: dict[str, str] | None


def job_file(command: Callable[..., int]) -> Callable[..., int]:
    """SPEC and the flags of its templates, which the command gets as one `GivenFile` by the name `given`."""

    @click.argument("spec", type=click.Path(allow_dash=True), default="-")
    @click.option(
        "-V",
        "--template-vars",
        metavar="NAME=VALUE",
        type=ParsedValue("variable", parse_assignment),
        multiple=True,
        help="A variable of the file's templates; may be repeated, or NAME=VALUE,NAME=VALUE.",
    )
    @click.option(
        "-E",
        "--template-envs",
        metavar="PATTERN",
        type=ParsedValue("pattern", lambda text: select_environment(text, os.environ)),
        help="Variables from the environment: all whose name matches; * stands for any text, | for or.",
    )
    @click.option("--no-template", is_flag=True, help="The file has no templates; {{ is text.")
    @functools.wraps(command)
    def with_job_file(
        spec: str,
        template_vars: tuple[tuple[str, str], ...],
        template_envs: dict[str, str] | None,
        no_template: bool,
        **others: Any,
    ) -> int:
        variables = None if no_template else {**(template_envs or {}), **dict(template_vars)}
        return command(given=GivenFile(spec, variables), **others)

    return with_job_file


@dataclass(frozen=True, slots=True)
class Waiting:
    """How a command that submits a job waits for it, and through which node."""

    wait: bool
    follow: bool
    form: OutputForm
    peers: tuple[str, ...]
    # Another job, also where one of its name exists.
    new: bool
    # On a node of this command's own.
    here: bool = False


def waiting(takes_form: Callable[[Callable[..., int]], Callable[..., int]]) -> Callable[..., Any]:
    """The flags of `submit`, which the command gets as one `Waiting` by the name `waiting`.

    `takes_form` adds those of the answer's form: `forms.takes_form`, or `json_alone` where -o is another.
    """

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        return takes_form(_waiting(command))

    return decorate


def json_alone(command: Callable[..., int]) -> Callable[..., int]:
    """--json, which the command gets as one `OutputForm` by the name `form`."""

    @as_json
    @functools.wraps(command)
    def with_form(as_json: bool, **others: Any) -> int:
        return command(form=OutputForm.JSON if as_json else OutputForm.TABLE, **others)

    return with_form


def _waiting(command: Callable[..., int]) -> Callable[..., int]:
    @click.option(
        "--wait/--no-wait",
        default=True,
        help="Wait until the job has ended (a daemon or service: runs), or print its id and return.",
    )
    @click.option("--new", is_flag=True, help="Submit a new job, also where one of its name exists.")
    @click.option("--follow", is_flag=True, help="Show what the programs write, on stderr.")
    @click.option(
        "--here",
        is_flag=True,
        help="Run it on this machine alone, on a node that ends with the command, and fetch the results.",
    )
    @peers
    @functools.wraps(command)
    def with_waiting(
        wait: bool,
        new: bool,
        follow: bool,
        here: bool,
        peers: tuple[str, ...],
        form: OutputForm,
        **others: Any,
    ) -> int:
        if here and peers:
            raise click.UsageError("--here is without peers, so --peer cannot be given with it")
        if here and not wait:
            raise click.UsageError("a node of --here ends with the command, so --no-wait cannot be given")
        return command(waiting=Waiting(wait, follow, form, peers, new, here), **others)

    return with_waiting
