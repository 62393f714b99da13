"""The command line against a node behind a real requester: what it prints where, and its exit statuses."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from p2pnode.cli.app import SECTIONS, front_page, program
from p2pnode.cli.main import HELP_FILE, main
from p2pnode.core import jobfile
from tests.fake_node import PEER, Served

JOB = """\
Name: {name}
Type: batch
Count: {count}
Tasks:
- Engine: {{Type: docker, Params: {{Image: busybox}}}}
"""


def job_file(name: str, count: int = 1) -> str:
    Path(f"{name}.yaml").write_text(JOB.format(name=name, count=count))
    return f"{name}.yaml"


Output = pytest.CaptureFixture[str]


def test_submit_prints_one_cid_per_replica_and_nothing_else(served: Served, capfd: Output) -> None:
    assert main(["submit", job_file("works", count=2)]) == 0
    out, err = capfd.readouterr()
    assert out.splitlines() == [served.node.result] * 2
    assert [step in err for step in ("asked 3 peers", "2 bids", "awarded", "running", "publishing")] == [
        True
    ] * 5
    assert "p2pnode get j-" in err
    assert "\x1b" not in err


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("works", 0, "Completed"),
        ("unplaceable", 3, "2 of 2: no docker engine"),
        ("exits-3", 4, "the program exited 3"),
        ("times-out", 5, "TotalTimeout"),
    ],
)
def test_the_exit_status_says_how_the_job_ended(
    served: Served, capfd: Output, name: str, status: int, said: str
) -> None:
    assert main(["submit", job_file(name)]) == status
    assert said in capfd.readouterr().err


def test_a_failed_programs_result_is_printed_too(served: Served, capfd: Output) -> None:
    main(["submit", job_file("exits-3")])
    assert capfd.readouterr().out == f"{served.node.result}\n"


def test_submit_json_and_describe_json_give_the_same_object(served: Served, capfd: Output) -> None:
    main(["submit", "--json", job_file("works")])
    submitted = json.loads(capfd.readouterr().out)
    assert main(["job", "describe", "--json", submitted["id"][:6]]) == 0
    assert json.loads(capfd.readouterr().out) == submitted
    execution = submitted["executions"][0]
    assert {"id", "state", "reason", "executions"} <= submitted.keys()
    assert {"id", "peer", "state", "exit_code", "result_cid", "receipt_cid"} <= execution.keys()


def test_without_waiting_submit_prints_the_id(served: Served, capfd: Output) -> None:
    assert main(["submit", "--no-wait", job_file("endless")]) == 0
    out, err = capfd.readouterr()
    assert out.strip() in served.node.records
    assert "p2pnode job describe" in err


@pytest.mark.parametrize("arguments", [["submit", "-"], ["submit"]])
def test_a_job_file_is_read_from_stdin(
    served: Served, capfd: Output, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    text = JOB.format(name="works", count=1)
    piped = SimpleNamespace(buffer=io.BytesIO(text.encode()), isatty=lambda: False)
    monkeypatch.setattr(sys, "stdin", piped)
    assert main(arguments) == 0
    assert served.node.submitted == [jobfile.parse(text, "job").spec]


def test_following_puts_the_programs_output_on_stderr(served: Served, capfdbinary: Output) -> None:
    assert main(["submit", "--follow", job_file("works")]) == 0
    out, err = capfdbinary.readouterr()
    assert out == f"{served.node.result}\n".encode()  # type: ignore[comparison-overlap]
    assert b"out \xff\n" in err  # type: ignore[operator]


def test_submit_connects_to_the_peers_that_it_names(served: Served, capfd: Output) -> None:
    address = f"/ip4/127.0.0.1/tcp/4002/p2p/{PEER}"
    assert main(["submit", "--peer", address, job_file("works")]) == 0
    assert served.node.connected == [address]


@pytest.mark.parametrize("command", ["submit", "validate"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"Type: batch\nTasks: 3\n", "bad.yaml:2:8: error: Tasks:"),
        (b"{", "error: not YAML"),
        (b"\xff\xfe\x00", "bad.yaml:1:"),
        (b"#" * 1_000_000, "over the limit"),
        (None, "bad.yaml: No such file"),
    ],
)
def test_a_bad_job_file_is_shown_with_its_place_and_never_sent(
    served: Served, capfd: Output, command: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        Path("bad.yaml").write_bytes(content)
    assert main([command, "bad.yaml"]) == 2
    out, err = capfd.readouterr()
    assert said in err
    assert out == ""
    assert served.node.submitted == []


def test_validate_needs_no_node(capfd: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2PNODE_DATA_DIR", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    assert main(["validate", job_file("works")]) == 0
    assert "valid batch job" in capfd.readouterr().out


@pytest.mark.parametrize("arguments", [["job", "list"], ["id"], ["node", "list"], ["ipfs", "add", "."]])
def test_without_a_node_commands_say_how_to_start_one(
    arguments: list[str], capfd: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("P2PNODE_DATA_DIR", str(tmp_path))
    assert main(arguments) == 6
    assert "p2pnode serve" in capfd.readouterr().err


def test_a_named_node_that_cannot_be_reached_is_no_reason_to_start_another(
    served: Served, capfd: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("P2PNODE_API", "http://127.0.0.1:9")
    assert main(["submit", job_file("works")]) == 6
    assert "cannot be reached" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Usage: p2pnode [OPTIONS] COMMAND"),
        (["job"], "Usage: p2pnode job [OPTIONS] COMMAND"),
        (["nonsense"], "error: No such command 'nonsense'"),
        (["sumbit"], "Did you mean 'submit'?"),
        (["submit", "x", "--fol"], "Did you mean '--follow'?"),
        (["job", "logs", "j-", "--stream", "x"], "Try 'p2pnode job logs --help' for help."),
        (["devnet", "up", "--peers", "0"], "0 is not in the range"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_was_expected(
    arguments: list[str], said: str, capfd: Output
) -> None:
    assert main(arguments) == 2
    out, err = capfd.readouterr()
    assert said in err
    assert out == ""


def commands_of(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words that name each command, and each group."""
    for name in group.list_commands(click.Context(group)):
        yield (*words, name)
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from commands_of(command, (*words, name))


@pytest.mark.parametrize("words", list(commands_of(program)), ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...], capfd: Output) -> None:
    for flag in ("-h", "--help"):
        assert main([*words, flag]) == 0
        out, err = capfd.readouterr()
        assert out.startswith(f"Usage: p2pnode {' '.join(words)} [OPTIONS]")
        assert err == ""


def test_the_table_of_commands_says_what_their_own_pages_say() -> None:
    for section in SECTIONS.values():
        for name, lazy in section.items():
            command = program.get_command(click.Context(program), name)
            assert command is not None and command.help is not None
            assert command.help.startswith(lazy.short_help.rstrip(".")), name


def test_the_stored_front_page_is_the_one_that_click_prints() -> None:
    renew = "from p2pnode.cli.app import front_page; print(front_page(), end='')"
    assert Path(HELP_FILE).read_text() == front_page(), (
        f'renew it: .venv/bin/python -c "{renew}" > p2pnode/cli/help.txt'
    )


def test_the_front_page_is_an_answer_only_if_it_was_asked_for(capfd: Output) -> None:
    assert [main([flag]) for flag in ("-h", "--help")] == [0, 0]
    assert capfd.readouterr() == (front_page() * 2, "")
    assert main([]) == 2
    assert capfd.readouterr() == ("", front_page())


def test_unknown_and_ambiguous_ids_are_refused(served: Served, capfd: Output) -> None:
    for _ in range(2):
        main(["submit", "--no-wait", job_file("endless")])
    assert main(["job", "describe", "j-"]) == 2
    assert main(["job", "stop", "j-none"]) == 5
    assert "there is no job j-none" in capfd.readouterr().err


def test_stopping_a_job_names_its_new_state(served: Served, capfd: Output) -> None:
    main(["submit", "--no-wait", job_file("endless")])
    job = capfd.readouterr().out.strip()
    assert main(["job", "stop", job[:8]]) == 0
    assert capfd.readouterr().err == f"{job} Stopped\n"
    assert main(["job", "stop", job[:8]]) == 0
    assert capfd.readouterr().err == f"{job} has ended already: Stopped\n"


def test_logs_go_where_the_program_wrote_them(served: Served, capfdbinary: Output) -> None:
    main(["submit", "--no-wait", job_file("works")])
    job = next(iter(served.node.records))
    capfdbinary.readouterr()
    assert main(["job", "logs", job]) == 0
    assert capfdbinary.readouterr() == (b"out \xff\n", b"err\n")  # type: ignore[comparison-overlap]


def test_tables_show_no_control_characters_of_peers(served: Served, capfd: Output) -> None:
    main(["submit", job_file("works")])
    job = next(iter(served.node.records))
    capfd.readouterr()
    for arguments in (["job", "describe", job], ["job", "list"], ["node", "list"], ["id"]):
        assert main(arguments) == 0
    out = capfd.readouterr().out
    assert "alpha" in out
    assert "\x1b" not in out


def test_ctrl_c_while_waiting_says_that_the_job_goes_on(served: Served) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "p2pnode", "submit", job_file("endless")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    for line in process.stderr:
        if "publishing" in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert out == ""
    assert "goes on" in err
    assert "p2pnode job describe" in err
    assert "Traceback" not in err


def test_a_closed_pipe_is_no_error(served: Served) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "p2pnode", "job", "list"],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
        timeout=10,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_help_imports_nothing_slow() -> None:
    script = (
        "import sys\n"
        "from p2pnode.cli.main import main\n"
        "main(['--help'])\n"
        "sys.stderr.write(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    slow = {"click", "http.client", "json", "enum"}
    assert not slow & set(done.stderr.split())


def test_submit_imports_nothing_that_only_other_commands_need() -> None:
    script = (
        "import sys\n"
        "from p2pnode.cli.main import main\n"
        "main(['submit', '--no-wait', 'devnet/jobs/noop.yaml'])\n"
        "sys.stderr.write(' '.join(sys.modules))"
    )
    environ = os.environ | {"P2PNODE_API": "http://127.0.0.1:9", "P2PNODE_TOKEN": "a" * 43}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environ)
    assert "cannot be reached" in done.stderr
    slow = {"nacl", "tomllib", "p2pnode.config.settings", "p2pnode.core.records.events", "p2pnode.ipfs"}
    slow |= {"p2pnode.core.jobfile.template.syntax"}
    assert not slow & set(done.stderr.split())


def test_help_takes_at_most_four_times_as_long_as_python_itself() -> None:
    # Compiled modules are kept, as after any first start.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def fastest_s(*arguments: str) -> float:
        took = []
        for _ in range(9):
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, env=environ, check=True)
            took.append(time.perf_counter() - start)
        return min(took)

    fastest_s("-m", "p2pnode", "--help")
    assert fastest_s("-m", "p2pnode", "--help") <= 4 * fastest_s("-c", "pass")


@pytest.mark.parametrize("command", [name for commands in SECTIONS.values() for name in commands])
@pytest.mark.parametrize("where", [1, 2, 3])
def test_an_argument_that_is_no_text_is_wrong_usage_of_every_command(
    command: str, where: int, capfd: Output
) -> None:
    arguments = [command, "a", "b"]
    arguments.insert(where, "x\udcff\x1b")
    assert main(arguments) == 2
    out, err = capfd.readouterr()
    assert (out, err) == ("", f"error: the argument {where + 1} ('x\\xff\\x1b') is not valid UTF-8 text\n")


def test_a_setting_that_is_no_text_is_wrong_usage(monkeypatch: pytest.MonkeyPatch, capfd: Output) -> None:
    monkeypatch.setenv("P2PNODE_NAME", "\udcff")
    assert main(["serve"]) == 2
    assert "P2PNODE_NAME" in capfd.readouterr().err
