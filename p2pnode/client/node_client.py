"""A node, as a program asks it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from p2pnode.api.shapes import PAGE_ROWS_MAX, IdentityJson, NodeJson, PlanJson
from p2pnode.core.jobfile.problems import JobFileError
from p2pnode.core.values.text import visible

from .calls import Client
from .errors import ClientError, bad_job
from .jobfiles import JobFile, JobSource, read_source
from .jobs import SubmittedJob
from .shortening import short_peer


class NodeClient:
    """A node of one's own, as `connect` finds it: what is asked raises `NodeUnreachable` and `Refused`.

    Threads may share it. In a `with` block it is closed at the end.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._identity: IdentityJson = client.identity()

    @property
    def peer(self) -> str:
        """Its peer id."""
        return self._identity["peer"]

    @property
    def name(self) -> str:
        return self._identity["name"]

    @property
    def url(self) -> str:
        """The address of its API."""
        return self._client.url

    def submit(
        self,
        job: JobSource,
        *,
        variables: Mapping[str, str] | None = None,
        template: bool = True,
        new: bool = False,
    ) -> SubmittedJob:
        """Submit a job: the path of a job file, its text (more than one line), its bytes, or a dictionary.

        Its templates are filled in with `variables`; without `template` braces are text. A job of the same
        name and type is changed, unless it has ended or `new` is set. A mistake in it is a `Refused` with
        the code "bad-job"; what its author should know comes as a warning. A file that can't be read is
        an `OSError`.
        """
        file = _valid(job, variables, template)
        submitted = self._client.submit_job(file.text, file.name, new)
        return SubmittedJob(self._client, self._client.job(submitted["id"]))

    def plan(
        self, job: JobSource, *, variables: Mapping[str, str] | None = None, template: bool = True
    ) -> PlanJson:
        """The peers that would be asked to run a job if it were submitted now, and why not the others."""
        file = _valid(job, variables, template)
        return self._client.plan(file.text, file.name)

    def job(self, id_or_name: str) -> SubmittedJob:
        """The job of an id, of a unique prefix of one, or the last job of a name."""
        return SubmittedJob(self._client, self._client.job(id_or_name))

    def jobs(
        self,
        *,
        state: str | Sequence[str] = (),
        type: str | Sequence[str] = (),
        label: str | Sequence[str] = (),
        namespace: str = "",
        text: str = "",
        limit: int = PAGE_ROWS_MAX,
    ) -> list[SubmittedJob]:
        """The jobs that the node has a record of, newest first.

        Each has one of the states, one of the types, all labels (KEY=VALUE or KEY), and `text` in its id,
        name or reason.
        """
        found = self._client.jobs(
            state=_several(state),
            type=_several(type),
            label=_several(label),
            namespace=namespace,
            text=text,
            limit=limit,
        )
        return [SubmittedJob(self._client, one) for one in found]

    def nodes(
        self, *, label: str | Sequence[str] = (), text: str = "", connected: bool | None = None
    ) -> list[NodeJson]:
        """The nodes that this one knows, itself first; only those that are as is asked."""
        labels = [label] if isinstance(label, str) else label
        return self._client.nodes(label=labels, text=text, connected=connected)

    def add(self, path: str | os.PathLike[str]) -> str:
        """Put a file or directory into the node's store; gives its CID, for inputs `ipfs://CID`.

        A pipe and its like can't be held there, and is left out with a warning. Raises `OSError`.
        """
        from p2pnode.ipfs.unixfs import CannotAdd

        from .content import Unwatched, add

        try:
            return add(self._client, Path(path), _warn, Unwatched())
        except CannotAdd as error:
            raise ClientError(str(error)) from error

    def close(self) -> None:
        """Close the connection that is kept; what is asked later opens another."""
        self._client.close()

    def __enter__(self) -> NodeClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<node {visible(self.name)} ({short_peer(self.peer)}) at {self.url}>"


def _valid(job: JobSource, variables: Mapping[str, str] | None, template: bool) -> JobFile:
    try:
        file = read_source(job, variables, template)
    except JobFileError as error:
        raise bad_job("\n".join(map(str, error.problems))) from error
    for one in file.parsed.warnings:
        _warn(str(one))
    return file


def _several(one_or_more: str | Sequence[str]) -> Sequence[str]:
    return (one_or_more,) if isinstance(one_or_more, str) else one_or_more


def _warn(text: str) -> None:
    # The line that submitted or added it.
    warnings.warn(visible(text), stacklevel=4)
