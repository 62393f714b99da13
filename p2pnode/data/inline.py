"""The source `inline`: data that stands in the job file itself, as a data URL (RFC 2397).

A compressed archive (application/gzip), which is how Bacalhau's command line writes a folder,
is unpacked into a directory; anything else is one file.
"""

from __future__ import annotations

import base64
import binascii
import io
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from urllib.parse import unquote_to_bytes

from p2pnode.core.wire.states import Fault
from p2pnode.system.trees import PROGRAM_MODE, plain_mode

from .budget import Budget, on_disk
from .failures import DataFailed

# A job file is at most 256 KiB long; more entries than this in it are an attack.
ENTRIES_MAX = 10_000
_ARCHIVE = "application/gzip"


def write_inline(url: str, destination: Path, budget: Budget) -> None:
    """Make the file or the directory; raises `DataFailed` and `OSError`. Blocking."""
    head, _, text = url.partition(":")[2].partition(",")
    data = unquote_to_bytes(text)
    if head.lower().endswith(";base64"):
        try:
            data = base64.b64decode(data, validate=True)
        except binascii.Error as exc:
            raise DataFailed(Fault.JOB, f"the data URL is not base64: {exc}") from exc
    if head.lower().partition(";")[0].strip() == _ARCHIVE:
        _unpack(data, destination, budget)
    else:
        budget.take(on_disk(len(data)))
        destination.write_bytes(data)


def _unpack(data: bytes, destination: Path, budget: Budget) -> None:
    """Directories and plain files only: without links nothing can lead out of the destination."""
    destination.mkdir()
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for count, member in enumerate(archive):
                parts = PurePosixPath(member.name).parts
                if count >= ENTRIES_MAX or not (member.isfile() or member.isdir()) or {"..", "/"} & {*parts}:
                    raise DataFailed(Fault.JOB, f"the archive has an entry that is refused: {member.name!r}")
                path = destination.joinpath(*parts)
                budget.make_directory(path if member.isdir() else path.parent)
                file = archive.extractfile(member)
                if file is not None:
                    budget.take(on_disk(member.size))
                    path.write_bytes(file.read())
                    if plain_mode(member.mode) == PROGRAM_MODE:
                        path.chmod(PROGRAM_MODE)
    except (tarfile.TarError, EOFError, zlib.error, ValueError) as exc:
        raise DataFailed(Fault.JOB, f"the data URL is no archive that can be unpacked: {exc}") from exc
