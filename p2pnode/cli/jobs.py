"""`job list`, `job describe`, `job logs` and `job stop`; the other commands of `job` are in `control`."""

from __future__ import annotations

import click

from p2pnode.api.shapes import PAGE_ROWS_MAX, ExecutionJson, JobJson, MemberJson
from p2pnode.cli import control, exec, options
from p2pnode.cli.groups import Group
from p2pnode.cli.output import (
    ProgramOutput,
    answer,
    answer_job_file,
    answer_json,
    clock,
    clock_ms,
    fields,
    say,
    short_id,
    short_peer,
    table,
)
from p2pnode.cli.requester import running
from p2pnode.cli.status import Status
from p2pnode.core.jobfile import yamltree
from p2pnode.core.records.lifecycle import LIVE, OPEN, ExecutionState
from p2pnode.core.wire.spec import WITHOUT_DEPUTIES, JobType
from p2pnode.core.wire.states import JobState


@click.group(cls=Group)
def job() -> None:
    """Look at jobs, rerun and stop them.

    A job is named by its id or a unique prefix of it, or by its Name: the last job that has it.
    """


for _command in (control.rerun, control.wait, control.history, control.executions, control.versions):
    job.add_command(_command)
job.add_command(exec.exec)


@job.command("list")
@click.option("--network", is_flag=True, help="The jobs of all nodes that this one knows, unfiltered.")
@click.option("--state", multiple=True, type=click.Choice(list(JobState), case_sensitive=False))
@click.option("--type", "types", multiple=True, type=click.Choice(list(JobType), case_sensitive=False))
@click.option("--label", "labels", multiple=True, metavar="KEY[=VALUE]", help="With all of these labels.")
@click.option("--namespace", default="", help="Of this namespace only.")
@click.option("--text", default="", help="With this text in id, name or reason, in any case.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=PAGE_ROWS_MAX, show_default=True)
@options.as_json
def list_jobs(
    network: bool,
    state: tuple[JobState, ...],
    types: tuple[JobType, ...],
    labels: tuple[str, ...],
    namespace: str,
    text: str,
    limit: int,
    as_json: bool,
) -> int:
    """List the jobs that this node owns or keeps a copy of, newest first.

    Filters narrow the list; an option that is given twice means either, --label both.
    """
    if network:
        if state or types or labels or namespace or text:
            raise click.UsageError(
                "the jobs of other nodes cannot be filtered: leave out --network, or filters"
            )
        return _list_network(as_json)
    jobs = running().jobs(state=state, type=types, label=labels, namespace=namespace, text=text, limit=limit)
    if as_json:
        answer_json({"jobs": jobs})
        return Status.OK
    rows = [
        [short_id(one["id"]), one["name"], one["type"], one["state"], clock(one["created"]), one["reason"]]
        for one in jobs
    ]
    for line in table(["ID", "NAME", "TYPE", "STATE", "CREATED", "REASON"], rows):
        answer(line)
    return Status.OK


def _list_network(as_json: bool) -> int:
    found = running().network_jobs()
    if as_json:
        answer_json(found)
    else:
        rows = [
            [
                short_id(one["id"]),
                one["name"],
                one["type"],
                one["state"],
                clock(one["created"]),
                one["owner_name"] or short_peer(one["owner"]),
                one["reason"],
            ]
            for one in found["jobs"]
        ]
        for line in table(["ID", "NAME", "TYPE", "STATE", "CREATED", "OWNER", "REASON"], rows):
            answer(line)
    if found["silent"]:
        say(f"{len(found['silent'])} of the known nodes did not answer: {', '.join(found['silent'])}")
    return Status.OK


@job.command()
@options.job_id
@click.option("-o", "--output", "form", type=click.Choice(["yaml", "json"]), help="Print it in this form.")
@click.option("--json", "form", flag_value="json", help="As -o json.")
def describe(job_id: str, form: str | None) -> int:
    """Show a job, its executions and its history.

    As JSON it is the object that `submit --json` gives; as YAML it is a job file that can be submitted
    again.
    """
    client = running()
    found = client.job(job_id)
    if form == "json":
        answer_json(found)
        return Status.OK
    if form == "yaml":
        answer_job_file(yamltree.dump(found["spec"]))
        return Status.OK
    for line in fields(_header(found)):
        answer(line)
    if found["executions"]:
        answer()
        answer("Executions")
        for line in table(
            ["ID", "REPLICA", "PEER", "STATE", "EXIT", "MODIFIED", "RESULT", "REASON"],
            [_execution_row(one) for one in found["executions"]],
        ):
            answer(line)
    answer()
    answer("History")
    events = [
        [clock_ms(event["at"]), short_id(event["execution"]), event["topic"], event["message"]]
        for event in client.job_events(found["id"])
    ]
    for line in table(["TIME", "EXECUTION", "TOPIC", "EVENT"], events):
        answer(line)
    return Status.OK


@job.command()
@options.job_id
@click.option("-e", "--execution", metavar="ID", help="Of this execution only.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--stream", type=click.Choice(["stdout", "stderr", "both"]), default="both")
@click.option("--raw", is_flag=True, help="Show control characters to the terminal as they are.")
def logs(job_id: str, execution: str | None, follow: bool, stream: str, raw: bool) -> int:
    """Show what a job's programs wrote.

    Their stdout goes to stdout and their stderr to stderr: to a file or pipe as they wrote it, to a
    terminal with control characters spelt out (\\x1b).
    """
    client = running()
    found = client.job(job_id)
    targets = {"stdout": ProgramOutput("stdout", raw), "stderr": ProgramOutput("stderr", raw)}
    seen = set()
    for chunk in client.logs(found["id"], execution, stream, follow):
        seen.add(chunk["execution"])
        targets[chunk["stream"]].write(chunk["data"])
    for one in client.job(found["id"])["executions"]:
        wanted = one["id"].startswith(execution or "")
        if wanted and one["id"] not in seen and (reason := _no_output(one)):
            say(f"{short_id(one['id'])}: no output: {reason}")
    return Status.OK


def _no_output(one: ExecutionJson) -> str:
    """Why there is none of an execution that has ended, or "" where nothing was written or may yet come."""
    if one["result_cid"] or ExecutionState(one["state"]) in (*OPEN, *LIVE):
        return ""
    state = f"{one['state']}: {one['reason']}" if one["reason"] else one["state"]
    if one["receipt_cid"]:
        return f"its peer kept none ({state})"
    return f"its peer has told of none ({state})"


@job.command()
@options.job_id
@click.option("--reason", default="stopped by its owner", help="Kept with the job.")
def stop(job_id: str, reason: str) -> int:
    """Stop a job."""
    client = running()
    stopped = client.stop(client.job(job_id)["id"], reason)
    say(f"{stopped['id']} {stopped['state']}")
    return Status.OK


def _header(job: JobJson) -> list[tuple[str, str]]:
    return [
        ("ID", job["id"]),
        ("Name", job["name"]),
        ("Type", job["type"]),
        ("Namespace", job["namespace"]),
        ("State", job["state"]),
        ("Reason", job["reason"]),
        ("First failure", job["first_failure"]),
        ("Priority", str(job["priority"])),
        ("Count", "" if job["type"] in ("ops", "daemon") else str(job["count"])),
        ("Created", clock(job["created"])),
        ("Modified", clock(job["modified"])),
        ("Version", str(job["version"])),
        ("Run", str(job["run"])),
        ("Owner", _named(job["owner_name"], job["owner"])),
        ("Charter", f"number {job['serial']} of its requester"),
        *(("Member", _member(one, job["owner"])) for one in job["members"]),
        *(("Controller", _named(one["name"], one["peer"])) for one in job["controllers"]),
        ("Deputies", "" if job["deputies_wanted"] else f"0: {WITHOUT_DEPUTIES}"),
    ]


def _member(one: MemberJson, owner: str) -> str:
    role = "requester" if one["rank"] == 0 else f"deputy {one['rank']}"
    return f"{_named(one['name'], one['peer'])}, {role}{', acts now' * (one['peer'] == owner)}"


def _named(name: str, peer: str) -> str:
    return f"{name} ({peer})" if name else peer


def _execution_row(one: ExecutionJson) -> list[str]:
    return [
        short_id(one["id"]),
        str(one["replica"]),
        one["peer_name"] or short_peer(one["peer"]),
        one["state"],
        "" if one["exit_code"] is None else str(one["exit_code"]),
        clock(one["modified"]),
        one["result_cid"] or "",
        one["reason"],
    ]
