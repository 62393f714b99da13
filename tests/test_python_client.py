"""`p2pnode.client` against a fake node: what a program sees, and what it is told when something is wrong."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from p2pnode.api.shapes import TOKEN_FILE, Code
from p2pnode.client import (
    CannotSave,
    ClientError,
    JobFailed,
    NodeClient,
    NodeUnreachable,
    NoSuchFile,
    NotVerified,
    Refused,
    ResultTooLarge,
    SubmittedJob,
    WaitTimeout,
    connect,
    results,
)
from p2pnode.client.calls import Client
from p2pnode.core.jobfile import render
from p2pnode.ipfs import unixfs
from tests.fake_node import PEER, Served
from tests.fake_receipts import a_receipt, signed

TASK = "Tasks: [{Engine: {Type: docker, Params: {Image: busybox}}}]"
FILES = ["exitCode", "outputs/answer.txt", "stderr", "stdout"]


def a_job(name: str, count: int = 1) -> dict[str, Any]:
    task = {"Engine": {"Type": "docker", "Params": {"Image": "busybox"}}}
    return {"Name": name, "Type": "batch", "Count": count, "Tasks": [task]}


@pytest.fixture
def node(served: Served) -> Iterator[NodeClient]:
    with connect() as found:
        yield found


# The node


def test_a_node_is_found_as_the_command_line_finds_it_or_as_it_is_named(
    served: Served, tmp_path: Path
) -> None:
    token = (tmp_path / "data" / TOKEN_FILE).read_text().strip()
    for node in (connect(), connect(data_dir=tmp_path / "data"), connect(served.url, token)):
        assert (node.peer, node.name, node.url) == (PEER, "fake", served.url)
        assert repr(node) == f"<node fake ({PEER[-8:]}) at {served.url}>"
        node.close()


def test_a_profile_names_another_node_than_the_environment(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    with pytest.raises(NodeUnreachable, match=r"no node runs on .*profiles/work; start one"):
        connect(profile="work")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"url": "http://127.0.0.1:1"}, "url and a token"),
        ({"token": "t" * 32}, "url and a token"),
        ({"profile": "a", "data_dir": "b"}, "give one of them"),
        ({"profile": "a/b"}, "letters"),
        ({"ca_file": "a.pem"}, "for a url"),
    ],
)
def test_arguments_that_do_not_go_together_are_told(arguments: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        connect(**arguments)


def test_a_node_that_is_not_there_and_a_wrong_token_are_told(served: Served) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(NodeUnreachable, match="cannot be reached"):
        connect(url, "t" * 32)
    with pytest.raises(Refused) as refused:
        connect(served.url, "t" * 32)
    assert refused.value.code is Code.UNAUTHORIZED


def test_what_the_node_knows_is_listed(node: NodeClient) -> None:
    done, _ = node.submit(a_job("works")).wait(), node.submit(a_job("endless"))
    assert [one.name for one in node.jobs()] == ["endless", "works"]
    assert [one.id for one in node.jobs(state="Completed")] == [done.id]
    assert [one.id for one in node.jobs(state=["Completed", "Failed"])] == [done.id]
    assert node.job(done.id[:12]).id == done.id
    assert [one["name"] for one in node.nodes()] == ["fake"]
    assert node.plan(a_job("works", count=2))["needed"] == 2
    with pytest.raises(Refused) as refused:
        node.job("j-none")
    assert refused.value.code is Code.NOT_FOUND and isinstance(refused.value, ClientError)


# Submitting


def test_a_job_is_a_path_a_text_bytes_or_a_dictionary(served: Served, node: NodeClient) -> None:
    text = f"Name: works\nType: batch\n{TASK}\n"
    Path("job.yaml").write_text(text)
    for one in ("job.yaml", Path("job.yaml"), text, text.encode(), a_job("works")):
        assert node.submit(one).name == "works"
    assert len({json.dumps(render(spec)) for spec in served.node.submitted}) == 1


def test_templates_are_filled_in_and_braces_can_be_text(served: Served, node: NodeClient) -> None:
    text = f'Name: "{{{{.name}}}}"\nType: batch\n{TASK}\n'
    assert node.submit(text, variables={"name": "filled"}).name == "filled"
    assert node.submit(text, template=False).name == "{{.name}}"
    assert node.submit(a_job("{{.name}}")).name == "{{.name}}"
    assert node.submit(a_job("{{.name}}"), variables={"name": "filled"}).name == "filled"
    with pytest.raises(Refused, match="name"):
        node.submit(text)


def test_a_bad_job_is_told_whole_and_not_sent(served: Served, node: NodeClient) -> None:
    with pytest.raises(Refused) as refused:
        node.submit("Type: batsch\nCount: x\n")
    assert refused.value.code is Code.BAD_JOB
    assert "job:1:" in str(refused.value) and "job:2:" in str(refused.value)
    assert served.node.submitted == []
    with pytest.raises(FileNotFoundError):
        node.submit("none.yaml")


def test_an_added_folder_can_be_fetched_and_what_is_not_there_is_an_error(
    served: Served, node: NodeClient, tmp_path: Path
) -> None:
    Path("tree").mkdir()
    Path("tree/file").write_bytes(b"x")
    assert node.add("tree") == unixfs.add_path(tmp_path / "tree", served.node.blocks.put)
    with pytest.raises(FileNotFoundError):
        node.add("none")


# Waiting and results


def test_a_result_has_what_the_program_left(served: Served, node: NodeClient) -> None:
    job = node.submit(a_job("works"))
    assert (job.state, job.outcome) == ("Running", None)
    result = job.result(timeout_s=30)
    assert (job.state, job.outcome, job.reason) == ("Completed", "completed", "")
    assert (result.stdout, result.stderr, result.exit_code) == ("42\n", "", 0)
    assert result.files == FILES
    assert result.read("outputs/answer.txt") == b"forty-two"
    assert (result.cid, result.peer) == (served.node.result, PEER)
    assert result.save("out") == Path("out")
    assert Path("out/outputs/answer.txt").read_bytes() == b"forty-two"
    assert [one["id"] for one in job.executions] == [result.execution["id"]]


def test_each_replica_has_a_result(served: Served, node: NodeClient) -> None:
    served.node.results = {1: unixfs.add_directory({"stdout": b"other"}, served.node.blocks.put)}
    found = node.submit(a_job("works", count=2)).results()
    assert [one.stdout for one in found] == ["42\n", "other"]


@pytest.mark.parametrize(
    ("name", "outcome", "reason"),
    [
        ("exits-3", "program", "exited 3"),
        ("times-out", "timeout", "TotalTimeout"),
        ("unplaceable", "no-suitable-peer", "no docker"),
    ],
)
def test_a_failed_job_is_an_error_with_its_reason(
    node: NodeClient, name: str, outcome: str, reason: str
) -> None:
    job = node.submit(a_job(name))
    with pytest.raises(JobFailed, match=reason) as failed:
        job.result()
    assert (failed.value.outcome, failed.value.job) == (outcome, job.id)
    assert reason in failed.value.reason


def test_what_a_failed_program_left_can_be_read(node: NodeClient) -> None:
    assert node.submit(a_job("exits-3")).result(check=False).exit_code == 3
    with pytest.raises(JobFailed):
        node.submit(a_job("unplaceable")).result(check=False)


def test_waiting_ends_at_its_deadline(node: NodeClient) -> None:
    job = node.submit(a_job("endless"))
    with pytest.raises(WaitTimeout, match=r"goes on after 0\.1 s, Running: wait again"):
        job.wait(timeout_s=0.1)
    with pytest.raises(TimeoutError):
        job.result(timeout_s=0)
    assert job.stop("enough").outcome == "stopped"
    assert job.wait().reason == "enough"
    assert job.rerun().outcome is None


def test_output_and_history_come_as_lines_and_events(node: NodeClient) -> None:
    job = node.submit(a_job("works"))
    assert [(one.stream, one.data, str(one)) for one in job.logs()] == [
        ("stdout", b"out \xff", "out \ufffd"),
        ("stderr", b"err", "err"),
    ]
    assert [one.stream for one in job.logs(stream="stderr")] == ["stderr"]
    assert [one["number"] for one in job.history(since=4)] == [5, 6]


# Strangers


def test_a_receipt_that_does_not_hold_gives_no_result(served: Served, node: NodeClient) -> None:
    job = node.submit(a_job("works")).wait()
    execution = job.executions[0]["id"]
    told = a_receipt(job.id, execution, "bafyother")
    served.node.signed[execution] = signed(told)
    with pytest.raises(NotVerified, match="another result"):
        job.result()
    del served.node.signed[execution]
    with pytest.raises(NotVerified, match="has no receipt"):
        job.results(check=False)


def test_another_block_is_never_given_out(served: Served, node: NodeClient) -> None:
    result = node.submit(a_job("works")).result()
    good = served.node.export_car

    async def damaged(cid: str, hints: list[str]):  # type: ignore[no-untyped-def]
        async for chunk in good(cid, hints):
            yield chunk.replace(b"forty-two", b"forty-one").replace(b"exitCode", b"exitcode")

    served.node.export_car = damaged  # type: ignore[method-assign]
    for use in (lambda: result.read("outputs/answer.txt"), lambda: result.files, lambda: result.save("out")):
        with pytest.raises(NotVerified, match="not the block"):
            use()
    assert not list(Path().glob("*out*"))


def test_the_names_that_a_result_is_listed_with_lead_nowhere_else(served: Served, node: NodeClient) -> None:
    served.node.results = {0: unixfs.add_directory({"..": b""}, served.node.blocks.put)}
    result = node.submit(a_job("works")).result()
    with pytest.raises(NotVerified, match="name"):
        _ = result.files


def test_a_large_result_is_refused_unless_it_is_allowed(
    served: Served, node: NodeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = bytes(3 * 256 * 1024)
    tree: unixfs.Tree = {"stdout": big, **{f"n{number}": b"" for number in range(20)}}
    served.node.results = {0: unixfs.add_directory(tree, served.node.blocks.put)}
    result = node.submit(a_job("works")).result()
    with pytest.raises(ResultTooLarge, match=r"stdout has more than 786 KB: raise size_bytes_max"):
        result.read("stdout", size_bytes_max=len(big) - 1)
    assert result.read("stdout", size_bytes_max=len(big)) == big
    with pytest.raises(ResultTooLarge, match="size_bytes_max and files_max of save allow more"):
        result.save("out", size_bytes_max=100_000)
    assert not Path("out").exists()
    monkeypatch.setattr(results, "FILES_MAX", 20)
    with pytest.raises(ResultTooLarge, match="save the result instead"):
        _ = result.files


def test_what_is_not_in_a_result_is_told_with_what_is_there(node: NodeClient) -> None:
    result = node.submit(a_job("works")).result()
    with pytest.raises(NoSuchFile, match=r"no entry 'nothing'; it has 'answer\.txt'"):
        result.read("outputs/nothing")
    for path in ("outputs", "../stdout", "/stdout", ""):
        with pytest.raises(NoSuchFile):
            result.read(path)


def test_nothing_is_saved_over_what_is_there(node: NodeClient) -> None:
    result = node.submit(a_job("works")).result()
    result.save("out")
    result.save("out")
    Path("out/stdout").write_text("mine")
    with pytest.raises(CannotSave, match="not an empty directory"):
        result.save("out")
    assert Path("out/stdout").read_text() == "mine"


def test_a_notebook_shows_strangers_words_as_text(served: Served, node: NodeClient) -> None:
    job = node.submit(a_job("works")).wait()
    record = served.node.records[job.id]
    record["reason"] = record["executions"][0]["reason"] = "<script>alert(1)</script>\x1b[31m"
    record["executions"][0]["peer_name"] = "<img src=x>"
    result = job.refresh().result()
    for shown in (job._repr_html_(), result._repr_html_()):
        assert "<script" not in shown and "<img" not in shown and "&lt;img" in shown and "\x1b" not in shown
    assert "\x1b" not in repr(job) and repr(job).startswith(f"<job {job.id[:10]} 'works' Completed")
    assert repr(result).endswith("exit code 0>")


# A node that goes away


def test_a_node_that_is_gone_in_the_middle_is_told() -> None:
    event = b'event: item\ndata: {"number": 1}\n\n'
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(event), event)

    def answer_half() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(answer)

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=answer_half)
        thread.start()
        client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}", "token")
        record: Any = {"id": "j-1"}
        history = SubmittedJob(client, record).history(follow=True)
        assert next(history)["number"] == 1
        with pytest.raises(NodeUnreachable):
            next(history)
        thread.join()
