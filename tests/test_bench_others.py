"""The benchmark of the same jobs on other systems, against a program that stands in for each."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.benchmarks import others

STAND_IN = str(Path(__file__).with_name("stand_in.py"))
EACH = pytest.mark.parametrize("system", others.SYSTEMS, ids=[one.variable for one in others.SYSTEMS])


@EACH
def test_jobs_run_to_their_end_and_the_program_is_ended(
    system: others.System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(others, "JOBS", 3)
    monkeypatch.setattr(others, "JOBS_IN_FLIGHT", 20)
    with others.running(system, STAND_IN) as api:
        median_s, each_s = others.measured(lambda number: others.done(system, api, number))
    assert median_s > 0 and each_s > 0
    with pytest.raises(others.NotMeasured):
        system.nodes_ready(api)


@EACH
def test_a_job_that_fails_is_no_figure(system: others.System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", "failing")
    with (
        others.running(system, STAND_IN) as api,
        pytest.raises(others.NotMeasured, match="job 7 is "),
    ):
        others.done(system, api, 7)


@EACH
@pytest.mark.parametrize(
    ("program", "said"),
    [(STAND_IN, "it ended with 1: no licence was found"), ("/nowhere/program", "No such file or directory")],
    ids=["one that ends at once", "one that is not there"],
)
def test_a_program_that_does_not_run_is_told(
    system: others.System, program: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "ending")
    with pytest.raises(others.NotMeasured, match=said), others.running(system, program):
        pass


def test_without_a_program_it_is_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for system in others.SYSTEMS:
        monkeypatch.delenv(system.variable, raising=False)
    monkeypatch.setattr("sys.argv", ["others"])
    with pytest.raises(SystemExit) as ended:
        others.main()
    assert not ended.value.code
    assert [line.split(": ")[1] for line in capsys.readouterr().out.splitlines()] == [
        f"skipped, as {system.variable} names no program" for system in others.SYSTEMS
    ]
