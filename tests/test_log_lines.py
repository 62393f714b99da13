"""The lines of the log: in both forms they carry what they are about, and a stranger's words forge none."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from p2pnode.core.values.text import visible
from p2pnode.core.wire.compartments import Compartment
from p2pnode.faults.guards import Guards
from p2pnode.system import log_lines
from p2pnode.system.log_lines import JsonLines, TextLines, concerning, ids_of

FORGED = 'x\n{"level":"info"}\n2026-01-01 INFO all is well\x1b[1A\u202e\u2028\x00'
JOB, EXECUTION, PEER = "j-1", "e-2", "12D3KooWa"


@dataclass
class Lines:
    """The logger of a test, and what it has written."""

    log: logging.Logger
    stream: io.StringIO

    @property
    def texts(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().split("\n")[:-1]]


def lines(form: logging.Formatter) -> Lines:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(form)
    log = logging.Logger("p2pnode.test")
    log.addHandler(handler)
    return Lines(log, stream)


@pytest.fixture
def text() -> Lines:
    return lines(TextLines("%(levelname)s %(name)s: %(message)s"))


@pytest.fixture
def as_json() -> Lines:
    return lines(JsonLines())


@pytest.fixture
def node_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """The log as a node that writes JSON sets it up."""
    kept = (sys.excepthook, sys.unraisablehook, logging.getLogger().handlers[:])
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    root = logging.getLogger()
    root.handlers = []
    log_lines.set_up("warning", "json")
    yield Lines(logging.getLogger("p2pnode.test"), stream)
    logging.captureWarnings(False)
    sys.excepthook, sys.unraisablehook, root.handlers = kept


def test_a_line_of_json_has_its_time_level_logger_message_and_ids(as_json: Lines) -> None:
    record = logging.LogRecord("p2pnode.node.driver", logging.WARNING, "", 0, "%s of %d", ("one", 2), None)
    record.created = 1767323045.6789
    with concerning(job=JOB, execution=EXECUTION, peer=PEER):
        as_json.log.handle(record)
    assert as_json.entries == [
        {
            "time": "2026-01-02T03:04:05.678Z",
            "level": "warning",
            "logger": "p2pnode.node.driver",
            "message": "one of 2",
            "job": JOB,
            "execution": EXECUTION,
            "peer": PEER,
        }
    ]


def test_a_line_of_text_has_the_ids_that_its_words_lack(text: Lines) -> None:
    with concerning(job=JOB, peer=PEER):
        text.log.warning("%s is slow", PEER)
    text.log.warning("all is well")
    assert text.texts == [
        f"WARNING p2pnode.test: {PEER} is slow [job={JOB}]",
        "WARNING p2pnode.test: all is well",
    ]


def test_ids_are_those_of_the_innermost_block_and_gone_after_it(as_json: Lines) -> None:
    with concerning(peer="a", job=JOB):
        with concerning(peer="b", execution=EXECUTION):
            as_json.log.error("1")
        with concerning(anew=True, execution=EXECUTION):
            as_json.log.error("2")
        as_json.log.error("3")
    as_json.log.error("4")
    found = [{k: v for k, v in one.items() if k in ("job", "execution", "peer")} for one in as_json.entries]
    assert found == [
        {"peer": "b", "job": JOB, "execution": EXECUTION},
        {"execution": EXECUTION},
        {"peer": "a", "job": JOB},
        {},
    ]


async def test_tasks_and_threads_that_are_begun_in_a_block_carry_its_ids(as_json: Lines) -> None:
    async def task() -> None:
        await trio.to_thread.run_sync(as_json.log.error, "in a thread")

    async with trio.open_nursery() as nursery:
        with concerning(execution=EXECUTION):
            nursery.start_soon(task)
        with concerning(execution="e-other"):
            await task()
    assert {one["execution"] for one in as_json.entries} == {EXECUTION, "e-other"}


def test_a_stranger_s_words_are_one_line_without_control_characters_in_both_forms(
    text: Lines, as_json: Lines
) -> None:
    for form in (text, as_json):
        with concerning(peer=FORGED):
            form.log.warning("refused: %s", FORGED)
        written = form.stream.getvalue()
        assert written.count("\n") == 1
        assert visible(written[:-1]) == written[:-1]
    (entry,) = as_json.entries
    assert entry["message"].startswith('refused: x\\n{"level":"info"}\\n2026') and entry["level"] == "warning"


def test_a_traceback_is_in_the_line_and_forges_none(as_json: Lines) -> None:
    try:
        raise ValueError(FORGED)
    except ValueError:
        as_json.log.exception("it failed")
    (entry,) = as_json.entries
    assert as_json.stream.getvalue().count("\n") == 1
    shown = entry["exception"].split("\n")
    assert shown[0].startswith("Traceback") and any(line.startswith("ValueError: x") for line in shown)
    assert all(visible(line) == line for line in shown)


def test_a_crash_and_what_is_raised_where_nobody_takes_it_are_lines_too(node_log: Lines) -> None:
    try:
        raise RuntimeError("a fault")
    except RuntimeError as error:
        sys.excepthook(RuntimeError, error, error.__traceback__)

    class Bad:
        def __del__(self) -> None:
            raise KeyError("lost")

    Bad()
    crash, lost = node_log.entries
    assert crash["level"] == "critical" and "RuntimeError: a fault" in crash["exception"]
    assert "KeyError: 'lost'" in lost["exception"]


def test_what_is_said_at_any_level_has_the_log_s_form(
    node_log: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    log_lines.tell("json", logging.INFO, "a node is ready", "  API x")
    (entry,) = node_log.entries
    assert (entry["level"], entry["message"]) == ("info", "a node is ready; API x")
    log_lines.tell("text", logging.INFO, "a node is ready", "  API x\x1b")
    assert capsys.readouterr().err == "a node is ready\n  API x\\x1b\n"


@pytest.mark.parametrize(
    ("kind", "subject", "ids"),
    [
        (Compartment.JOB, JOB, {"job": JOB}),
        (Compartment.EXECUTION, EXECUTION, {"execution": EXECUTION}),
        (Compartment.LINK, PEER, {"peer": PEER}),
        (Compartment.MESSAGE, f"12 of {PEER}", {"peer": PEER}),
        (Compartment.TASK, "capacity", {}),
    ],
)
def test_a_guard_s_lines_are_about_what_it_guards(
    kind: Compartment, subject: str, ids: dict[str, str], node_log: Lines
) -> None:
    assert ids_of(kind, subject) == ids
    with Guards(lambda *noted: None, lambda error: None).guard(kind, subject):
        node_log.log.error("inside")
        raise ValueError("no")
    inside, failed = node_log.entries
    assert "ValueError: no" in failed["exception"]
    for entry in (inside, failed):
        assert {name: entry[name] for name in ("job", "execution", "peer") if name in entry} == ids
