"""The audit log: who asked this node for what, when, and what came of it; a JSON object on each line.

It is for the operator alone (mode 0600). A line is written once the answer is known; what the disk does not
take is told in the node's log, and holds nobody up.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

from p2pnode.core.values.text import visible

log = logging.getLogger(__name__)

FILE_NAME = "audit.log"
# Some 50,000 lines; with the older files those of a year, where people and scripts ask for a thing a minute.
SIZE_BYTES_MAX = 10 * 1024**2
# FILE.1 is the newest of them.
OLD_FILES_MAX = 5
# A reason, an address, a name: beyond this nobody reads it.
TEXT_LENGTH_MAX = 300


class AuditLog:
    def __init__(self, data_dir: Path, size_bytes_max: int = SIZE_BYTES_MAX) -> None:
        self._path = data_dir / FILE_NAME
        self._size_bytes_max = size_bytes_max

    def note(self, caller: str, action: str, about: Mapping[str, object], result: str) -> None:
        """Add a line; texts lose what cannot be seen, and their ends."""
        now = time.time()
        at = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z"
        entry = {"at": at, "caller": caller, "action": action, **about, "result": result}
        line = json.dumps({name: _shown(value) for name, value in entry.items()}, ensure_ascii=False)
        try:
            self._write(f"{line}\n".encode())
        except OSError as exc:
            log.warning("%s cannot be written: %s", FILE_NAME, exc.strerror)

    def _write(self, line: bytes) -> None:
        if self._path.exists() and self._path.stat().st_size + len(line) > self._size_bytes_max:
            self._rotate()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def _rotate(self) -> None:
        files = [self._path, *(self._path.with_name(f"{FILE_NAME}.{n + 1}") for n in range(OLD_FILES_MAX))]
        for older, newer in zip(files[:0:-1], files[-2::-1], strict=True):
            if newer.exists():
                newer.replace(older)


def _shown(value: object) -> object:
    return visible(value[:TEXT_LENGTH_MAX]) if isinstance(value, str) else value
