"""The libraries' logs, kept from the user unless asked for.

libp2p logs warnings with no handler, which Python then prints to stderr; it also logs
to the root logger, both of its own modules' names and by `logging.debug`, which sets up
a handler on stderr where there is none.
"""

from __future__ import annotations

import logging
from pathlib import Path

import libp2p

_LIBRARIES = ("libp2p", "zeroconf", "multiaddr", "multiformats", "aioquic", "quic", "trio.serve_listeners")
_LIBP2P_DIRECTORY = str(Path(libp2p.__file__).parent)


class _ToRoot(logging.Handler):
    """Passes records on to the root logger. Levels of child loggers do not count here, as they do
    nowhere when a record goes up."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger().handle(record)


class _NotOfLibp2p(logging.Filter):
    """Keeps out what libp2p logs to the root logger itself."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self._level = level

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= self._level or not record.pathname.startswith(_LIBP2P_DIRECTORY)


def limit_dependency_logs(level: int | None = None) -> None:
    """Lets the libraries' log records of `level` and above through to the root logger; None: none."""
    threshold = logging.CRITICAL + 1 if level is None else level
    root = logging.getLogger()
    if not root.handlers:
        # Or the first logging.debug() anywhere would set up stderr.
        root.addHandler(logging.NullHandler())
    for old in [old for old in root.filters if isinstance(old, _NotOfLibp2p)]:
        root.removeFilter(old)
    root.addFilter(_NotOfLibp2p(threshold))
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.setLevel(threshold)
        library.propagate = False
        library.handlers = [_ToRoot(threshold)]
