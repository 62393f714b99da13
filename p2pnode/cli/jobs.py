"""`job list`, `job describe`, `job logs` and `job stop`."""

from __future__ import annotations

import argparse
import sys

from p2pnode.api.service import ExecutionJson, JobJson
from p2pnode.cli.output import answer, answer_json, clock, fields, say, short_id, short_peer, table
from p2pnode.cli.requester import running
from p2pnode.cli.status import Status


def list_jobs(arguments: argparse.Namespace) -> int:
    jobs = running().jobs()
    if arguments.json:
        answer_json({"jobs": jobs})
        return Status.OK
    rows = [
        [short_id(job["id"]), job["name"], job["type"], job["state"], clock(job["created"]), job["reason"]]
        for job in jobs
    ]
    for line in table(["ID", "NAME", "TYPE", "STATE", "CREATED", "REASON"], rows):
        answer(line)
    return Status.OK


def describe(arguments: argparse.Namespace) -> int:
    """Show one job; as JSON it is the object that `submit --json` gives."""
    client = running()
    job = client.job(arguments.job)
    if arguments.json:
        answer_json(job)
        return Status.OK
    for line in fields(_header(job)):
        answer(line)
    if job["executions"]:
        answer("\nExecutions")
        for line in table(
            ["ID", "REPLICA", "PEER", "STATE", "EXIT", "MODIFIED", "RESULT", "REASON"],
            [_execution_row(one) for one in job["executions"]],
        ):
            answer(line)
    answer("\nHistory")
    events = [
        [clock(event["at"]), short_id(event["execution"]), event["topic"], event["message"]]
        for event in client.job_events(job["id"])
    ]
    for line in table(["TIME", "EXECUTION", "TOPIC", "EVENT"], events):
        answer(line)
    return Status.OK


def logs(arguments: argparse.Namespace) -> int:
    """Copy the programs' stdout to stdout and their stderr to stderr, as they wrote it."""
    client = running()
    job = client.job(arguments.job)
    targets = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
    for chunk in client.logs(job["id"], arguments.execution, arguments.stream, arguments.follow):
        target = targets[chunk["stream"]]
        target.write(chunk["data"])
        target.flush()
    return Status.OK


def stop(arguments: argparse.Namespace) -> int:
    job = running().stop(arguments.job, arguments.reason)
    say(f"{job['id']} {job['state']}")
    return Status.OK


def _header(job: JobJson) -> list[tuple[str, str]]:
    return [
        ("ID", job["id"]),
        ("Name", job["name"]),
        ("Type", job["type"]),
        ("Namespace", job["namespace"]),
        ("State", job["state"]),
        ("Reason", job["reason"]),
        ("Priority", str(job["priority"])),
        ("Count", str(job["count"])),
        ("Created", clock(job["created"])),
        ("Modified", clock(job["modified"])),
        ("Owner", job["owner"]),
    ]


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
