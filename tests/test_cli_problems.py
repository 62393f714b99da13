"""`node problems`: what has failed on the node, and what people do about it."""

from __future__ import annotations

import json

import pytest

from p2pnode.api.shapes import ProblemJson
from p2pnode.cli.main import main
from tests.fake_node import START, Served

Output = pytest.CaptureFixture[str]
JOB = "j-" + "0" * 32


@pytest.fixture
def troubled(served: Served) -> Served:
    served.node.troubles = [
        ProblemJson(
            number=7,
            kind="job",
            subject=JOB,
            reason="KeyError: 'x'\x1b[2J\nforged",
            detail="Traceback\n  line 1\x1b[2J\n",
            aside=True,
            count=2,
            first_at=START,
            last_at=START,
        )
    ]
    return served


def test_a_node_without_problems_says_so(served: Served, capfd: Output) -> None:
    assert main(["node", "problems"]) == 0
    out, err = capfd.readouterr()
    assert (out, err) == ("", "nothing has failed on this node\n")


def test_problems_are_listed_in_a_table_of_one_line_each(troubled: Served, capfd: Output) -> None:
    assert main(["node", "problems"]) == 0
    heading, line = capfd.readouterr().out.splitlines()
    assert heading.split() == ["NO", "LAST", "WHAT", "WHICH", "STATE", "TIMES", "REASON"]
    assert JOB in line and "set aside" in line
    assert line.endswith("KeyError: 'x'\\x1b[2J\\nforged")


def test_one_problem_is_shown_with_its_place_in_the_program(troubled: Served, capfd: Output) -> None:
    assert main(["node", "problems", "--show", "7"]) == 0
    out = capfd.readouterr().out
    assert f"job {JOB}" in out and "  line 1\\x1b[2J" in out
    assert main(["node", "problems", "--show", "8"]) == 5
    assert "there is no problem 8" in capfd.readouterr().err


def test_problems_are_there_as_json(troubled: Served, capfd: Output) -> None:
    assert main(["node", "problems", "--json"]) == 0
    (one,) = json.loads(capfd.readouterr().out)["problems"]
    assert one == troubled.node.troubles[0]


def test_a_problem_is_tried_again_or_dropped_by_its_number(troubled: Served, capfd: Output) -> None:
    assert main(["node", "problems", "--retry", "7"]) == 0
    assert troubled.node.troubles[0]["aside"] is False
    assert main(["node", "problems", "--drop", "7"]) == 0
    assert troubled.node.troubles == []
    assert main(["node", "problems", "--drop", "7"]) != 0
    assert "there is no problem 7" in capfd.readouterr().err


def test_one_thing_is_asked_at_a_time(troubled: Served, capfd: Output) -> None:
    assert main(["node", "problems", "--drop", "7", "--retry", "7"]) == 2
    assert "one of --show, --retry and --drop" in capfd.readouterr().err
