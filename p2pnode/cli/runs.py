"""`docker run` and `wasm run`: a job made of flags, checked and submitted as a job file is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from p2pnode.cli import options, results, runflags, submit
from p2pnode.cli.groups import Group
from p2pnode.cli.options import ParsedValue, Waiting
from p2pnode.cli.output import Styled, answer_job_file, say
from p2pnode.cli.status import CommandError, Status
from p2pnode.client.jobfiles import for_a_node
from p2pnode.core import jobfile
from p2pnode.core.jobfile import yamltree
from p2pnode.core.jobfile.problems import JobFileError
from p2pnode.core.values import content_paths
from p2pnode.core.wire.spec import JobType
from p2pnode.ipfs import cid

# Where the program finds its own module; a file of that name does not hide anything.
MODULE_TARGET = "/wasm/entry.wasm"
# Words after the program are its own, also where they look like a flag of ours.
_PROGRAM_LAST = {"allow_interspersed_args": False}

_OPTIONS = (
    click.option("--name", help="A name for people.  [default: the job's id]"),
    click.option(
        "--type",
        "kind",
        type=click.Choice([kind.value for kind in JobType]),
        default=JobType.BATCH.value,
        help="How it is run.",
    ),
    click.option("--count", type=int, metavar="N", help="How many executions.  [default: 1]"),
    click.option("--priority", type=int, metavar="N", help="Higher goes first.  [default: 0]"),
    click.option(
        "--constraint",
        "constraints",
        metavar="EXPR",
        type=ParsedValue("constraint", runflags.constraint),
        multiple=True,
        help="What labels a peer must have, such as zone=north or 'zone in (a, b)'; may be repeated.",
    ),
    click.option(
        "--label",
        "labels",
        metavar="K=V",
        type=ParsedValue("label", runflags.pair),
        multiple=True,
        help="A label of the job; may be repeated.",
    ),
    click.option(
        "-e",
        "--env",
        metavar="NAME=VALUE",
        type=ParsedValue("variable", runflags.pair),
        multiple=True,
        help="A variable of the program's environment; may be repeated.",
    ),
    click.option(
        "-i",
        "--input",
        "inputs",
        metavar="URI[:TARGET]",
        type=ParsedValue("input", runflags.input_source),
        multiple=True,
        help="Data for the program: ipfs://CID[/PATH], s3://BUCKET/KEY, http(s)://..., file:///PATH (of the "
        f"peer), or src=URI,dst=TARGET; may be repeated.  [default target: {runflags.INPUT_TARGET}]",
    ),
    click.option(
        "-o",
        "--output",
        "outputs",
        metavar="NAME:PATH",
        type=ParsedValue("output", runflags.result_path),
        multiple=True,
        help="A directory of the program that is kept in its result; may be repeated.",
    ),
    click.option(
        "-p",
        "--publisher",
        metavar="TYPE|URI",
        type=ParsedValue("publisher", runflags.publisher),
        help="Where results go: ipfs, local, none or s3://BUCKET/KEY.  [default: ipfs]",
    ),
    click.option("--cpu", metavar="CPU", help="Cores, such as 0.5 or 250m.  [default: 500m]"),
    click.option("--memory", metavar="SIZE", help="Such as 512mb or 1GiB.  [default: 512mb]"),
    click.option("--disk", metavar="SIZE", help="Such as 10gb."),
    click.option("--gpu", metavar="N", help="How many GPUs.  [default: 0]"),
    click.option(
        "--network",
        type=click.Choice(["None", "Host", "Bridge", "HTTP"], case_sensitive=False),
        help="What the program can reach.  [default: None, or HTTP with --domain]",
    ),
    click.option(
        "--domain",
        "domains",
        metavar="HOST",
        multiple=True,
        help="A host that it can reach by HTTP, .HOST for all below it; may be repeated.",
    ),
    click.option("--timeout", metavar="TIME", help="For the whole job: seconds, or such as 1h30m."),
    click.option("--queue-timeout", metavar="TIME", help="For finding a peer: seconds, or such as 5m."),
    click.option("--dry-run", is_flag=True, help="Print the job file, and send nothing."),
)


def _flags(command: Callable[..., int]) -> Callable[..., int]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group(cls=Group)
def docker() -> None:
    """Run a container as a job that is made of flags."""


@docker.command("run", context_settings=_PROGRAM_LAST)
@click.argument("image")
@click.argument("command", metavar="[CMD]...", nargs=-1, type=click.UNPROCESSED)
@_flags
@options.waiting(options.json_alone)
def docker_run(image: str, command: tuple[str, ...], dry_run: bool, waiting: Waiting, **flags: Any) -> int:
    """Run a container of IMAGE, and wait for its results.

    CMD and what follows it are the container's. Waiting, output and exit status are those of `submit`.
    """
    engine = {
        "Type": "docker",
        "Params": {"Image": image} | ({"Parameters": list(command)} if command else {}),
    }
    return _run(runflags.job(engine, [], flags), "docker run", dry_run, waiting)


@click.group(cls=Group)
def wasm() -> None:
    """Run a WASM module as a job that is made of flags."""


@wasm.command("run", context_settings=_PROGRAM_LAST)
@click.argument("module", type=click.Path())
@click.argument("arguments", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
@_flags
@options.waiting(options.json_alone)
def wasm_run(module: str, arguments: tuple[str, ...], dry_run: bool, waiting: Waiting, **flags: Any) -> int:
    """Run a WASM module, and wait for its results.

    MODULE is a file on this machine, which is added to the node's block store, or a CID
    (ipfs://CID, ipfs://CID/PATH). ARGS are the program's. Waiting, output and exit status are those of
    `submit`.
    """
    file = Path(module)
    local = file.is_file()
    source = {"Type": "ipfs", "Params": {"CID": results.hashed(file) if local else _module_cid(module)}}
    parameters = {"Parameters": list(arguments)} if arguments else {}
    engine = {"Type": "wasm", "Params": {"EntryModule": MODULE_TARGET} | parameters}
    job = runflags.job(engine, [{"Target": MODULE_TARGET, "Source": source}], flags)
    return _run(job, "wasm run", dry_run, waiting, (file,) if local else ())


def _module_cid(module: str) -> str:
    try:
        root, below = content_paths.split(module)
        return content_paths.join(cid.canonical(root), below)
    except (cid.BadCid, ValueError) as error:
        raise CommandError(
            Status.USAGE, f"MODULE: {module!r} is neither a file on this machine nor a CID, nor CID/PATH"
        ) from error


def _run(
    job: Mapping[str, Any], name: str, dry_run: bool, waiting: Waiting, files: tuple[Path, ...] = ()
) -> int:
    """Submit the job, or print its file; `files` are those of its inputs that the node has to be given."""
    text = yamltree.dump(job)
    try:
        parsed = jobfile.parse(text, name, literal_braces=True)
    except JobFileError as error:
        for problem in error.problems:
            say(Styled("error:", "red"), f" {runflags.flag_of(problem.path)}: {problem.message}")
        raise CommandError(Status.USAGE, "no job can be made of these flags; nothing was sent") from error
    for warning in parsed.warnings:
        say(Styled("warning:", "yellow"), f" {runflags.flag_of(warning.path)}: {warning.message}")
    if dry_run:
        answer_job_file(text)
        return Status.OK
    sent = for_a_node(text.encode(), parsed.spec)
    return submit.run(sent, parsed.spec.type, name, waiting, files)
