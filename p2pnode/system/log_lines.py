"""The node's log in its two forms, and of which job, execution and peer each line is.

Whatever handles an event or an execution says so once, by `concerning`; each line that is logged within, in
threads as well, carries the ids. What others wrote is made visible in both forms: a line stays one line.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Any, TypedDict

from p2pnode.core.values.text import visible
from p2pnode.core.wire.compartments import Compartment

FORM_JSON = "json"


class LineIds(TypedDict, total=False):
    """The ids that a line carries."""

    job: str
    execution: str
    peer: str


_concerned: ContextVar[Mapping[str, str]] = ContextVar("concerned", default=MappingProxyType({}))


@contextmanager
def concerning(*, anew: bool = False, job: str = "", execution: str = "", peer: str = "") -> Iterator[None]:
    """Have the lines that are logged in the block carry these ids; "": as before.

    `anew`: nothing of what the surroundings are about counts, as for a task that outlives them.
    """
    given = {"job": job, "execution": execution, "peer": peer}
    before = {} if anew else _concerned.get()
    token = _concerned.set({**before, **{name: id for name, id in given.items() if id}})
    try:
        yield
    finally:
        _concerned.reset(token)


def ids_of(kind: Compartment, subject: str) -> LineIds:
    """The id in the name of what is worked on, as `concerning` takes it."""
    match kind:
        case Compartment.JOB:
            return {"job": subject}
        case Compartment.EXECUTION:
            return {"execution": subject}
        case Compartment.LINK | Compartment.MESSAGE:
            # A message is called "12 of PEER".
            return {"peer": subject.rpartition(" ")[2]}
        case Compartment.TASK:
            return {}


class TextLines(logging.Formatter):
    """A record as one line, with the ids that its words lack; below it a traceback, set in."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = super().formatMessage(record)
        lacking = [f"{name}={id}" for name, id in _concerned.get().items() if id not in text]
        return visible(f"{text} [{' '.join(lacking)}]" if lacking else text)

    def formatException(self, ei: Any) -> str:
        return "\n".join(f"  | {line}" for line in _lines(super().formatException(ei)))

    def formatStack(self, stack_info: str) -> str:
        return "\n".join(f"  | {line}" for line in _lines(stack_info))


class JsonLines(logging.Formatter):
    """A record as a JSON object in one line; a traceback is a text of several lines in it."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": visible(record.getMessage()),
        }
        entry |= {name: visible(id) for name, id in _concerned.get().items()}
        if record.exc_info:
            entry["exception"] = "\n".join(_lines(self.formatException(record.exc_info)))
        return json.dumps(entry, ensure_ascii=False)


def set_up(level: str, form: str) -> None:
    """Have the log go to stderr; as JSON also what ends the process, or is raised where nobody takes it."""
    handler = logging.StreamHandler(sys.stderr)
    as_text = TextLines("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonLines() if form == FORM_JSON else as_text)
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if form == FORM_JSON:
        logging.captureWarnings(True)
        sys.excepthook = _log_crash
        threading.excepthook = lambda end: _log_crash(
            end.exc_type, end.exc_value or end.exc_type(), end.exc_traceback
        )
        sys.unraisablehook = lambda end: _log_crash(
            end.exc_type, end.exc_value or end.exc_type(), end.exc_traceback
        )


def tell(form: str, level: int, *lines: str) -> None:
    """Say on stderr what is said whatever the log's level is; in JSON it is a record as any other."""
    if form != FORM_JSON:
        print("\n".join(map(visible, lines)), file=sys.stderr, flush=True)  # noqa: T201
        return
    message = "; ".join(line.strip() for line in lines)
    logger = logging.getLogger("p2pnode")
    logger.handle(logger.makeRecord(logger.name, level, "", 0, message, (), None))


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger("p2pnode").critical("this is a fault of p2pnode", exc_info=(kind, error, trace))


def _lines(text: str) -> list[str]:
    return [visible(line) for line in text.split("\n")]
