"""Words of other programs on the command line: each is answered with what it is here."""

from __future__ import annotations

import click
import pytest

from p2pnode.cli import familiar
from p2pnode.cli.app import program
from p2pnode.cli.main import main
from tests.fake_node import Served
from tests.test_cli import job_file


def all_commands(group: click.Group, words: tuple[str, ...] = ()) -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command
        found[" ".join([*words, name])] = command
        if isinstance(command, click.Group):
            found |= all_commands(command, (*words, name))
    return found


COMMANDS = all_commands(program)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("help", "Did you mean 'p2pnode --help'?"),
        ("help submit", "Did you mean 'p2pnode submit --help'?"),
        ("version", "Did you mean 'p2pnode --version'?"),
        ("ps", "'job list' or 'node executions'"),
        ("run", "'docker run' or 'wasm run' or 'submit'"),
        ("logs", "Did you mean 'job logs'?"),
        ("job ls", "Did you mean 'job list'?"),
        ("node status", "'node list'"),
        ("devnet list", "Did you mean 'devnet status'?"),
        ("docker logs", "Did you mean 'job logs'?"),
        ("config get", "Did you mean 'config explain'?"),
        ("token rm", "Did you mean 'token revoke'?"),
        ("ipfs pin lst", "Did you mean 'ipfs pin ls'?"),
        ("docker run -d busybox", "No such option '-d': it is --no-wait here."),
        ("docker run --rm busybox", "a container is removed when it has ended"),
        ("docker run --volume=/a:/b busybox", "it is --input here"),
        ("serve --port 4001", "it is --listen or --api-port here"),
        ("submit -f job.yaml", "the file is named without a flag"),
    ],
)
def test_a_word_of_another_program_is_answered_with_what_it_is_here(
    typed: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(typed.split()) == 2
    assert said in capfd.readouterr().err


@pytest.mark.parametrize("word", familiar.COMMANDS)
def test_each_familiar_word_leads_to_a_command_that_is_there(word: str) -> None:
    ends = {one.split(" ")[-1] for one in COMMANDS}
    assert word not in COMMANDS or word == "get"
    for one in familiar.COMMANDS[word]:
        assert one in COMMANDS or one in ends


@pytest.mark.parametrize("flag", familiar.OPTIONS)
def test_each_familiar_flag_leads_to_one_that_is_there(flag: str) -> None:
    flags = {one for command in COMMANDS.values() for param in command.params for one in param.opts}
    flags |= {
        one for command in COMMANDS.values() for param in command.params for one in param.secondary_opts
    }
    assert {*familiar.OPTIONS[flag]} - {"--version"} <= flags


def test_a_group_says_in_whole_sentences_what_its_commands_do(capfd: pytest.CaptureFixture[str]) -> None:
    main(["node", "--help"])
    help_text = capfd.readouterr().out
    assert "finish or move away, then leave the" in " ".join(help_text.split())


def test_who_names_no_job_that_is_there_learns_how_jobs_are_named(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["job", "describe", "e-12345678"]) == 5
    assert "a job is named by its id" in capfd.readouterr().err


def test_a_job_without_a_name_of_its_own_shows_its_id_once(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    main(["submit", "--no-wait", job_file("works")])
    (job,) = served.node.records.values()
    job["name"] = job["id"] = "j-" + 32 * "a"
    capfd.readouterr()
    main(["job", "list"])
    assert job["id"] not in capfd.readouterr().out


def test_an_address_in_the_environment_that_leads_to_no_node_is_named(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("P2PNODE_API", "http://127.0.0.1:9")
    monkeypatch.setenv("P2PNODE_TOKEN", "0" * 64)
    assert main(["id"]) == 6
    err = capfd.readouterr().err
    assert "Errno" not in err and "P2PNODE_API names that node" in err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("ipfs add /nope", "error: /nope: No such file or directory"),
        ("ipfs get bafynope", "'bafynope': not a CID"),
        ("docker run -it busybox sh", "it begins without a terminal"),
        ("get endless", "when it has ended: p2pnode job wait j-"),
        ("node problems --show 7", "there is no problem 7; see p2pnode node problems"),
    ],
)
def test_a_slip_is_answered_with_what_was_typed_and_what_to_do(
    served: Served, capfd: pytest.CaptureFixture[str], typed: str, said: str
) -> None:
    main(["submit", "--no-wait", job_file("endless")])
    words = [served.node.newest()[0]["id"] if word == "endless" else word for word in typed.split()]
    assert main(words) != 0
    assert said in capfd.readouterr().err


def test_a_profile_without_a_node_is_named_in_what_starts_one(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("P2PNODE_DATA_DIR", "P2PNODE_API"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("P2PNODE_PROFILE", "none-of-this-name")
    assert main(["id"]) == 6
    assert "p2pnode --profile none-of-this-name serve" in capfd.readouterr().err
