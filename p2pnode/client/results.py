"""A job's results as a program reads them: nothing is given out of a block that was not verified."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from p2pnode.api.shapes import ExecutionJson, JobJson
from p2pnode.core.values import content_paths
from p2pnode.core.values.units import about_bytes
from p2pnode.ipfs import car, reading
from p2pnode.ipfs.dagpb import DagNode, NodeKind
from p2pnode.ipfs.export import check_name
from p2pnode.ipfs.unixfs import DEPTH_MAX

from .calls import Client
from .content import Unwatched, fetch, told
from .errors import JobFailed, NoSuchFile, NotVerified, ResultTooLarge
from .executions import final_executions
from .interrupts import check_interrupt
from .receipts import verified
from .shortening import short_id
from .unfolding import Unfolding
from .views import ResultView

# A result is a stranger's: one file of it is not to fill the memory of whoever looks at it.
READ_SIZE_BYTES_MAX = 64 * 1024**2
# Names of a result that are held at once; each folder is asked for by itself.
FILES_MAX = 10_000
_FOLDERS = (NodeKind.DIRECTORY, NodeKind.SHARD)


class JobResult(ResultView):
    """The result of an execution: a folder with `stdout`, `stderr`, `exitCode` and the job's outputs.

    Its receipt is verified. The first use has the node fetch it whole from the peers that hold it; each
    block is verified when it comes, and a wrong one raises `NotVerified`.
    """

    def __init__(self, client: Client, execution: ExecutionJson) -> None:
        self._client = client
        self._execution = execution

    @property
    def execution(self) -> ExecutionJson:
        return self._execution

    @property
    def stdout(self) -> str:
        """The text that the program wrote there, up to `READ_SIZE_BYTES_MAX` (else `ResultTooLarge`).

        Bytes that are no UTF-8 are replaced.
        """
        return self.read("stdout").decode(errors="replace")

    @property
    def stderr(self) -> str:
        """As `stdout`."""
        return self.read("stderr").decode(errors="replace")

    @property
    def files(self) -> list[str]:
        """The paths of all files, as `read` takes them; symbolic links are not among them.

        Raises `ResultTooLarge` beyond `FILES_MAX` files and folders.
        """
        with told():
            return sorted(self._files())

    def read(self, path: str, *, size_bytes_max: int = READ_SIZE_BYTES_MAX) -> bytes:
        """The bytes of a file, such as "outputs/a.csv".

        Raises `NoSuchFile`, and `ResultTooLarge` where it has more bytes than allowed.
        """
        try:
            names = content_paths.names(path)
        except ValueError as error:
            raise NoSuchFile(str(error)) from error
        content = bytearray()
        try:
            with told():
                wanted = reading.resolve(self.cid, names, self._block)
                with closing(self._client.export_car(wanted, [self.peer])) as stream:
                    for chunk in reading.read_file(wanted, car.blocks_in_order(stream)):
                        if len(content) + len(chunk) > size_bytes_max:
                            most = about_bytes(size_bytes_max)
                            raise ResultTooLarge(
                                f"{path} has more than {most}: raise size_bytes_max, or save it"
                            )
                        content += chunk
        except reading.NoSuchPath as error:
            raise NoSuchFile(str(error)) from error
        return bytes(content)

    def save(
        self,
        directory: str | os.PathLike[str],
        *,
        size_bytes_max: int | None = None,
        files_max: int | None = None,
    ) -> Path:
        """Write all of it to a directory that is to be made, or is empty; gives its path.

        The directory is there whole or not at all; one with the same content is left. Raises `CannotSave`
        where something else is there, `OSError`, and `ResultTooLarge` for more than is allowed: unless
        told otherwise at most 1 GB, and not far more than the blocks that came.
        """
        place = Path(directory)
        room = Unfolding(size_bytes_max, files_max, yes=False)
        try:
            fetch(self._client, self.cid, place, [self.peer], room, Unwatched())
        except ResultTooLarge as error:
            raise ResultTooLarge(f"{error}; size_bytes_max and files_max of save allow more") from error
        return place

    def _files(self) -> Iterator[str]:
        reader = reading.Reader(self._block)
        # A folder's CID and path, and what is known of its block.
        waiting = [(self.cid, "", 0)]
        count = 0
        while waiting:
            cid, path, depth = waiting.pop()
            check_interrupt()
            node = reader.node(cid)
            if node.kind not in _FOLDERS:
                yield from _file_at(node, path)
                continue
            if depth > DEPTH_MAX:
                raise NotVerified(f"{self.cid} has folders more than {DEPTH_MAX} deep")
            for link in reader.entries(node):
                count += 1
                if count > FILES_MAX:
                    raise ResultTooLarge(f"more than {FILES_MAX:,} files: save the result instead")
                check_name(link.name)
                below = f"{path}/{link.name}" if path else link.name
                if reading.is_raw(link.cid):
                    yield below
                else:
                    waiting.append((link.cid, below, depth + 1))

    def _block(self, cid: str) -> bytes | None:
        """One block, verified."""
        check_interrupt()
        with closing(self._client.export_car(cid, [self.peer])) as stream:
            return car.blocks_in_order(stream)(cid)


def _file_at(node: DagNode, path: str) -> Iterator[str]:
    if node.kind in (NodeKind.FILE, NodeKind.RAW):
        yield path


def results_of(client: Client, record: JobJson, check: bool) -> list[JobResult]:
    """The results of a job's replicas, their receipts verified.

    Raises `JobFailed` where there are none or, with `check`, the job has not completed; and `NotVerified`.
    """
    found = [one for one in final_executions(record) if one["result_cid"]]
    if found and (record["outcome"] == "completed" or not check):
        verified(client, record, found)
        return [JobResult(client, one) for one in found]
    reason = f": {record['reason']}" if record["reason"] else ""
    hint = "; result(check=False) gives what it left" if found else ""
    raise JobFailed(
        f"{short_id(record['id'])} is {record['state']}{reason}{hint or '; it has no result'}",
        record["id"],
        record["outcome"],
        record["reason"],
    )
