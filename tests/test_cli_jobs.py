"""Job files on the command line: templates, `validate`, `plan`, and a job as a file again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from p2pnode.cli.main import main
from tests.fake_node import Served

Output = pytest.CaptureFixture[str]

TEMPLATE = """\
Name: {{or (index . "name") "unnamed"}}
Type: batch
Tasks:
- Engine:
    Type: docker
    Params:
      Image: busybox
      Parameters: ["{{.query}}"]
"""


@pytest.fixture
def template(served: Served) -> str:
    Path("job.yaml").write_text(TEMPLATE)
    return "job.yaml"


def parameters(served: Served) -> tuple[str, ...]:
    return served.node.submitted[-1].task.engine.parameters


def test_templates_are_filled_in_before_a_job_is_sent(served: Served, template: str) -> None:
    assert main(["submit", template, "-V", "query=a,b=c", "-V", "name=works"]) == 0
    assert parameters(served) == ("a,b=c",)
    assert [job["name"] for job in served.node.newest()] == ["works"]


def test_the_environment_fills_in_what_it_is_asked_for(
    served: Served, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("query", "of the environment")
    monkeypatch.setenv("name", "not asked for")
    assert main(["submit", template, "-E", "^query$"]) == 0
    assert parameters(served) == ("of the environment",)
    assert served.node.newest()[0]["name"] == "unnamed"
    assert main(["submit", template, "-E", "quer*", "-V", "query=given"]) == 0
    assert parameters(served) == ("given",)


@pytest.mark.parametrize("command", ["submit", "validate", "plan"])
def test_a_missing_variable_is_named_with_its_place_and_the_flag_to_give(
    served: Served, template: str, capfd: Output, command: str
) -> None:
    assert main([command, template]) == 2
    out, err = capfd.readouterr()
    assert "job.yaml:8:" in err
    assert "-V query=" in err
    assert out == ""
    assert served.node.submitted == []


def test_without_templates_braces_are_text(served: Served, capfd: Output) -> None:
    Path("job.yaml").write_text(TEMPLATE.replace('"name"', "'name'").replace("Name: {{", "Name: a {{"))
    assert main(["submit", "--no-template", "job.yaml"]) == 0
    assert parameters(served) == ("{{.query}}",)


@pytest.mark.parametrize("flags", [["-V", "query"], ["-V", "=x"], ["-E", "("]])
def test_a_variable_without_a_form_is_wrong_usage(template: str, capfd: Output, flags: list[str]) -> None:
    assert main(["validate", template, *flags]) == 2
    assert f"Invalid value for '{flags[0]}'" in capfd.readouterr().err


def test_validate_json_lists_every_problem_with_its_place(served: Served, capfd: Output) -> None:
    Path("bad.yaml").write_text("Type: batch\nCount: many\nTasks: 3\n")
    assert main(["validate", "--json", "bad.yaml"]) == 2
    answer = json.loads(capfd.readouterr().out)
    assert answer["valid"] is False
    assert [(one["line"], one["field"], one["severity"]) for one in answer["problems"]] == [
        (2, "Count", "error"),
        (3, "Tasks", "error"),
    ]
    assert all(one["file"] == "bad.yaml" and one["column"] and one["message"] for one in answer["problems"])


def test_warnings_are_shown_and_do_not_stop_a_job(served: Served, capfd: Output) -> None:
    Path("old.yaml").write_text(TEMPLATE.replace("batch", "ops\nCount: 1"))
    assert main(["validate", "--json", "old.yaml", "-V", "query=x"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert answer["valid"] is True
    assert [(one["field"], one["severity"]) for one in answer["problems"]] == [("Count", "warning")]
    assert main(["submit", "old.yaml", "-V", "query=x"]) == 0
    assert "old.yaml:3:8: warning: Count:" in capfd.readouterr().err


def test_spec_prints_the_schema_that_editors_check_job_files_with(capfd: Output) -> None:
    assert main(["spec"]) == 0
    schema = json.loads(capfd.readouterr().out)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert {"Type", "Count", "Tasks"} <= schema["properties"].keys()


def test_plan_says_who_would_be_asked_and_why_not_the_others(
    served: Served, template: str, capfd: Output
) -> None:
    assert main(["plan", template, "-V", "query=x"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split(maxsplit=2)[:2] for line in lines[:3]] == [
        ["Executions", "1"],
        ["Peers", "known"],
        ["Would", "bid"],
    ]
    assert any(line.startswith("Asked") and "alpha" in line for line in lines)
    assert any(line.startswith("Unsuitable") and "2: no docker engine" in line for line in lines)
    assert not any("\x1b" in line for line in lines)
    assert served.node.submitted == []


def test_a_plan_that_no_peer_fits_exits_as_its_job_would(
    served: Served, template: str, capfd: Output
) -> None:
    assert main(["plan", "--json", template, "-V", "query=x", "-V", "name=unplaceable"]) == 3
    found = json.loads(capfd.readouterr().out)
    assert found["asked"] == []
    assert found["unsuitable"] == [{"reason": "no docker engine", "peers": 4}]


def test_a_described_job_can_be_submitted_again(served: Served, template: str, capfd: Output) -> None:
    main(["submit", template, "-V", "query=x: # y", "-V", "name=works"])
    first = served.node.newest()[0]
    capfd.readouterr()
    assert main(["job", "describe", first["id"], "-o", "yaml"]) == 0
    Path("again.yaml").write_text(capfd.readouterr().out)
    assert main(["submit", "again.yaml"]) == 0
    assert served.node.newest()[0]["id"] != first["id"]
    assert served.node.newest()[0]["spec"] == first["spec"]


def test_a_described_job_with_braces_says_how_to_submit_it_again(
    served: Served, template: str, capfd: Output
) -> None:
    main(["submit", template, "-V", "query={{x}}"])
    job = served.node.newest()[0]
    capfd.readouterr()
    main(["job", "describe", job["id"], "-o", "yaml"])
    out, err = capfd.readouterr()
    assert "--no-template" in err
    Path("again.yaml").write_text(out)
    assert main(["submit", "--no-template", "again.yaml"]) == 0
    assert served.node.newest()[0]["spec"] == job["spec"]


def test_both_flags_for_json_give_the_same(served: Served, template: str, capfd: Output) -> None:
    main(["submit", template, "-V", "query=x"])
    job = served.node.newest()[0]["id"]
    capfd.readouterr()
    answers = []
    for flags in (["--json"], ["-o", "json"]):
        assert main(["job", "describe", job, *flags]) == 0
        answers.append(json.loads(capfd.readouterr().out))
    assert answers[0] == answers[1]
    assert answers[0]["id"] == job


SERVICE = """\
Name: web
Type: service
Count: 2
Tasks:
- Engine: {Type: docker, Params: {Image: busybox}}
"""


def service_file(count: int = 2) -> str:
    Path("web.yaml").write_text(SERVICE.replace("Count: 2", f"Count: {count}"))
    return "web.yaml"


def test_a_service_is_submitted_once_it_runs_and_its_id_is_the_answer(served: Served, capfd: Output) -> None:
    assert main(["submit", service_file()]) == 0
    assert capfd.readouterr().out.strip() in served.node.records


def test_the_same_file_is_the_same_service_and_a_changed_one_its_next_version(
    served: Served, capfd: Output
) -> None:
    main(["submit", service_file()])
    job = capfd.readouterr().out
    assert main(["submit", service_file()]) == 0
    out, err = capfd.readouterr()
    assert (out, "unchanged: version 1" in err) == (job, True)
    assert main(["submit", "--no-wait", service_file(count=3)]) == 0
    out, err = capfd.readouterr()
    assert (out, "updated: version 2" in err) == (job, True)
    assert main(["submit", "--new", service_file(count=3)]) == 0
    assert capfd.readouterr().out != job


def test_a_dry_run_shows_the_difference_and_sends_nothing(served: Served, capfd: Output) -> None:
    assert main(["submit", "--dry-run", service_file()]) == 0
    assert capfd.readouterr().out == "a new job\n"
    main(["submit", service_file()])
    capfd.readouterr()
    assert main(["submit", "--dry-run", service_file(count=3)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert {"-Count: 2", "+Count: 3"} <= set(lines)
    assert len(served.node.submitted) == 1


def test_what_a_job_did_is_listed_by_events_executions_and_versions(served: Served, capfd: Output) -> None:
    main(["submit", service_file()])
    job = capfd.readouterr().out.strip()
    found = {}
    for command in ("history", "executions", "versions"):
        assert main(["job", command, job]) == 0
        assert "\x1b" not in capfd.readouterr().out
        assert main(["job", command, "--json", job]) == 0
        found[command] = json.loads(capfd.readouterr().out)
    assert len(found["history"]["events"]) == 6
    assert [one["state"] for one in found["executions"]["executions"]] == ["Running"] * 2
    assert found["versions"]["version"] == 1


def test_waiting_ends_with_what_was_waited_for_or_with_its_time(
    served: Served, template: str, capfd: Output
) -> None:
    main(["submit", service_file()])
    job = capfd.readouterr().out.strip()
    assert main(["job", "wait", job, "--for", "running"]) == 0
    assert main(["job", "wait", job, "--timeout", "0"]) == 5
    assert "has not ended" in capfd.readouterr().err
    main(["submit", template, "-V", "query=x", "-V", "name=exits-3"])
    assert main(["job", "wait", served.node.newest()[0]["id"]]) == 4


def test_a_job_is_begun_again(served: Served, template: str, capfd: Output) -> None:
    main(["submit", template, "-V", "query=x"])
    job = served.node.newest()[0]
    assert main(["job", "rerun", "--no-wait", job["id"]]) == 0
    assert served.node.newest()[0]["run"] == 2
    assert main(["job", "rerun", job["id"]]) == 0
    assert "Completed" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("command", "scheduling"),
    [
        (["cordon"], "cordoned"),
        (["uncordon"], "schedulable"),
        (["drain", "--timeout", "5m"], "draining"),
        (["drain", "--wait", "--stay", "--timeout", "5m"], "draining"),
    ],
)
def test_what_a_node_takes_on_is_set_by_its_operator(
    served: Served, command: list[str], scheduling: str
) -> None:
    assert main(["node", *command]) == 0
    assert served.node.takes == scheduling
    assert served.node.drain_timeout_s == (300 if scheduling == "draining" else None)
    assert served.node.leaves == (scheduling == "draining" and "--stay" not in command)


def test_the_networks_jobs_are_listed_and_who_is_silent_is_said(served: Served, capfd: Output) -> None:
    main(["submit", service_file()])
    job = capfd.readouterr().out.strip()
    assert main(["job", "list", "--network"]) == 0
    said = capfd.readouterr()
    assert job[:10] in said.out and "OWNER" in said.out
    assert said.err == "1 of the known nodes did not answer: mute\n"


def test_a_list_is_narrowed_by_filters_which_the_networks_has_not(served: Served, capfd: Output) -> None:
    main(["submit", service_file()])
    job = capfd.readouterr().out.strip()
    assert main(["job", "list", "--state", "running", "--state", "failed"]) == 0
    assert job[:10] in capfd.readouterr().out
    assert main(["job", "list", "--state", "failed"]) == 0
    assert job[:10] not in capfd.readouterr().out
    assert main(["job", "list", "--network", "--state", "failed"]) == 2
    assert "cannot be filtered" in capfd.readouterr().err


def test_a_version_of_a_job_is_shown_as_a_file_that_can_be_submitted(served: Served, capfd: Output) -> None:
    main(["submit", service_file()])
    job = capfd.readouterr().out.strip()
    assert main(["job", "versions", "--show", "1", job]) == 0
    Path("old.yaml").write_text(capfd.readouterr().out)
    assert main(["validate", "old.yaml"]) == 0
    capfd.readouterr()
    assert main(["job", "versions", "--show", "2", job]) != 0
    assert "version 2 is not kept" in capfd.readouterr().err
