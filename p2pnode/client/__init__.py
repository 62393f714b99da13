"""A client of a node's API, for the command line and for others' programs.

    from p2pnode.client import connect

    mine = connect()
    result = mine.submit("job.yaml").result()
    print(result.stdout)

`connect` finds the node that runs here, as the command line does. The same on trio is `p2pnode.client.trio`.
All that goes wrong with a node, a job or a result is a `ClientError` (`client.errors`).

May know the API's shapes, where a node's data lies (`config`), and what results are verified with: `ipfs`,
`identity` and the core; nothing that a node is made of. Known by the command line, which is written with it,
by `doctor`, and by others' programs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .connecting import connect
    from .errors import (
        CannotSave,
        ClientError,
        Interrupted,
        JobFailed,
        NodeUnreachable,
        NoSuchFile,
        NotVerified,
        Refused,
        ResultTooLarge,
        WaitTimeout,
    )
    from .exec import EnteredProgram
    from .jobs import OutputLine, SubmittedJob
    from .node_client import NodeClient
    from .results import READ_SIZE_BYTES_MAX, JobResult

__all__ = [
    "READ_SIZE_BYTES_MAX",
    "CannotSave",
    "ClientError",
    "EnteredProgram",
    "Interrupted",
    "JobFailed",
    "JobResult",
    "NoSuchFile",
    "NodeClient",
    "NodeUnreachable",
    "NotVerified",
    "OutputLine",
    "Refused",
    "ResultTooLarge",
    "SubmittedJob",
    "WaitTimeout",
    "connect",
]

# A command that only asks a node imports nothing that verifies; names that are not here are errors.
_ROOMS = {
    "connect": "connecting",
    "NodeClient": "node_client",
    "EnteredProgram": "exec",
    "OutputLine": "jobs",
    "SubmittedJob": "jobs",
    "JobResult": "results",
    "READ_SIZE_BYTES_MAX": "results",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_ROOMS.get(name, 'errors')}", __name__), name)


def __dir__() -> list[str]:
    return __all__
