"""The peers behind names in DNS and in a file, looked up again now and then, for who dials them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import trio

from p2pnode.core.wire import bootstrap
from p2pnode.core.wire.addresses import BadAddress, parse
from p2pnode.core.wire.bootstrap import Dnsaddr

from .dns_addresses import DnsAddresses, NamesNothing

log = logging.getLogger(__name__)

FILE_SIZE_BYTES_MAX = 64 * 1024
# A file that was changed is read within that time.
FILE_LOOK_S = 5.0
# A name that failed: at first a network that is not up yet.
RETRY_S = 5.0
RETRY_S_MAX = 300.0
# While none of its peers is connected; else once an hour.
ALONE_S = 60.0
AGAIN_S = 3600.0

# Told: the name or file, its peers with their addresses, and why there are none ("": there are).
Give = Callable[[str, Mapping[str, Sequence[str]], str], None]


class Bootstrap:
    """Gives what `given` names and the lines of `file` stand for, the latter read now and on each change.

    Raises `BadAddress`, also for a file that cannot be read. `is_connected` tells of a peer.
    """

    def __init__(
        self,
        given: Sequence[str],
        file: Path | None,
        give: Give,
        is_connected: Callable[[str], bool],
        names: DnsAddresses,
    ) -> None:
        self._give = give
        self._is_connected = is_connected
        self._names = names
        self._file = file
        self._file_seen: tuple[int, int] | None = None
        self._given_names = [bootstrap.parse_dnsaddr(one) for one in given if bootstrap.is_dnsaddr(one)]
        self._file_names: list[Dnsaddr] = []
        self._of_file: Mapping[str, Sequence[str]] = {}
        self._looking: dict[Dnsaddr, trio.CancelScope] = {}
        if plain := _by_peer(one for one in given if not bootstrap.is_dnsaddr(one)):
            give("", plain, "")
        if file is not None:
            self._take(_read(file))

    async def run(self) -> None:
        """Works until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                wanted = {*self._given_names, *self._file_names}
                for name in self._looking.keys() - wanted:
                    self._looking.pop(name).cancel()
                    self._give(str(name), {}, "")
                for name in wanted - self._looking.keys():
                    self._looking[name] = trio.CancelScope()
                    nursery.start_soon(self._keep_looking, name, self._looking[name])
                if self._file is None:
                    await trio.sleep_forever()
                await trio.sleep(FILE_LOOK_S)
                await self._look_at(self._file)

    async def _look_at(self, file: Path) -> None:
        try:
            if await trio.to_thread.run_sync(_seen, file) != self._file_seen:
                self._take(await trio.to_thread.run_sync(_read, file))
                log.info("%s was read again", file)
        except (BadAddress, OSError) as exc:
            # Its lines of before stay in force, and it is looked at again.
            log.debug("the file of peers is not used: %s", exc)
            self._give(str(file), self._of_file, str(exc))

    def _take(self, read: tuple[tuple[int, int], list[str]]) -> None:
        self._file_seen, lines = read
        self._file_names = [bootstrap.parse_dnsaddr(one) for one in lines if bootstrap.is_dnsaddr(one)]
        self._of_file = _by_peer(one for one in lines if not bootstrap.is_dnsaddr(one))
        self._give(str(self._file), self._of_file, "")

    async def _keep_looking(self, name: Dnsaddr, scope: trio.CancelScope) -> None:
        retry_s = RETRY_S
        with scope:
            while True:
                try:
                    found = await self._names.find(name)
                except NamesNothing as exc:
                    # Peers found before may still be there.
                    self._give(str(name), {}, str(exc))
                    await trio.sleep(retry_s)
                    retry_s = min(2 * retry_s, RETRY_S_MAX)
                    continue
                retry_s = RETRY_S
                self._give(str(name), found, "")
                await trio.sleep(ALONE_S)
                slept_s = ALONE_S
                while slept_s < AGAIN_S and any(map(self._is_connected, found)):
                    await trio.sleep(ALONE_S)
                    slept_s += ALONE_S


def _by_peer(texts: Iterable[str]) -> dict[str, list[str]]:
    peers: dict[str, list[str]] = {}
    for address in map(parse, texts):
        peers.setdefault(address.peer, []).append(address.transport)
    return peers


def _seen(file: Path) -> tuple[int, int]:
    """Marks that change with a file's content, as far as its directory tells."""
    status = file.stat()
    return status.st_mtime_ns, status.st_size


def _read(file: Path) -> tuple[tuple[int, int], list[str]]:
    """A file as it was seen, and its lines; raises `BadAddress`."""
    try:
        seen = _seen(file)
        with file.open("rb") as opened:
            data = opened.read(FILE_SIZE_BYTES_MAX + 1)
    except OSError as exc:
        raise BadAddress(f"peers_file: {file}: {exc.strerror}") from exc
    if len(data) > FILE_SIZE_BYTES_MAX:
        raise BadAddress(f"peers_file: {file}: over the limit of {FILE_SIZE_BYTES_MAX:,} bytes")
    return seen, bootstrap.lines_of_file(data.decode("utf-8", "replace"), str(file))
