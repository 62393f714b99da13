"""Jobs and results as a program sees them, whichever way it waits, and as a notebook shows them.

Names and reasons are strangers' words: shown, each character is seen as what it is, and none is markup.
"""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Iterable

from p2pnode.api.shapes import ExecutionJson, JobJson
from p2pnode.core.values.text import visible
from p2pnode.core.wire.states import JobState, Outcome

from .shortening import short_id, short_peer

# Rows of a notebook's table; of more, the first are shown.
ROWS_SHOWN_MAX = 20


class JobView(ABC):
    """A job as it was when it was last looked at: by `submit`, `wait`, `refresh`, `stop` or `rerun`."""

    @property
    @abstractmethod
    def record(self) -> JobJson:
        """All that the node says of it; its fields are those of the API."""

    @property
    def id(self) -> str:
        return self.record["id"]

    @property
    def name(self) -> str:
        """Its Name; '' where the file gives none."""
        return self.record["name"]

    @property
    def state(self) -> JobState:
        """Pending, Queued, Running, Completed, Failed or Stopped."""
        return JobState(self.record["state"])

    @property
    def outcome(self) -> Outcome | None:
        """How it ended, for programs; None while it goes on."""
        outcome = self.record["outcome"]
        return Outcome(outcome) if outcome else None

    @property
    def reason(self) -> str:
        """One sentence on why it is as it is; '' where there is nothing to say."""
        return self.record["reason"]

    @property
    def executions(self) -> list[ExecutionJson]:
        """In the order of their awards."""
        return self.record["executions"]

    def __repr__(self) -> str:
        name = f" {visible(self.name)!r}" if self.name else ""
        reason = f": {visible(self.reason)}" if self.reason else ""
        return f"<job {short_id(self.id)}{name} {self.state}{reason}>"

    def _repr_html_(self) -> str:
        rows = [
            (short_id(one["id"]), one["peer_name"] or short_peer(one["peer"]), one["state"], one["reason"])
            for one in self.executions
        ]
        more = f"<p>and {len(rows) - ROWS_SHOWN_MAX} more</p>" if len(rows) > ROWS_SHOWN_MAX else ""
        title = " ".join(filter(None, (short_id(self.id), self.name, self.state, self.reason)))
        heading = f"<p>job <b>{_escaped(title)}</b></p>"
        if not rows:
            return heading
        return heading + _table(("execution", "peer", "state", "reason"), rows[:ROWS_SHOWN_MAX]) + more


class ResultView(ABC):
    """The result of one execution, whose receipt is verified."""

    @property
    @abstractmethod
    def execution(self) -> ExecutionJson:
        """The execution that it is the result of, as the node tells of it."""

    @property
    def cid(self) -> str:
        """The IPFS address of its folder, as the receipt of the peer has it."""
        return self.execution["result_cid"] or ""

    @property
    def exit_code(self) -> int | None:
        """As the receipt has it; None where no program came to its end."""
        return self.execution["exit_code"]

    @property
    def peer(self) -> str:
        """The id of the peer by whose signed word it is the result."""
        return self.execution["peer"]

    def __repr__(self) -> str:
        return f"<result {self.cid} of {short_id(self.execution['id'])}, exit code {self.exit_code}>"

    def _repr_html_(self) -> str:
        one = self.execution
        row = (
            short_id(one["id"]),
            one["peer_name"] or short_peer(one["peer"]),
            str(self.exit_code),
            self.cid,
        )
        return _table(("execution", "peer", "exit code", "CID"), [row])


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{_escaped(one)}</th>" for one in headings)
    body = "".join(f"<tr>{''.join(f'<td>{_escaped(one)}</td>' for one in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _escaped(text: str) -> str:
    return html.escape(visible(text))
