"""An external Kubo daemon, where the operator has one: takes results, and gives inputs.

Graphs go both ways as CAR streams (`dag/import`, `dag/export`), so the daemon has the same
blocks and CIDs as we do, and each block that comes is verified. RPC:
https://docs.ipfs.tech/reference/kubo/rpc/. ipfshttpclient is synchronous: all this blocks.
"""

from __future__ import annotations

import ipaddress
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from p2pnode.core.wire.codec import BadMessage
from p2pnode.ipfs import car
from p2pnode.ipfs import cid as cids
from p2pnode.ipfs.blocks import BlockStore

if TYPE_CHECKING:
    import ipfshttpclient

# A daemon that runs accepts at once, also across a LAN.
CONNECT_TIMEOUT_S = 5.0
# Between two pieces of an answer. The daemon may have to find a provider first; who has not found one
# by then seldom does.
READ_TIMEOUT_S = 120.0
CHUNK_SIZE_BYTES = 256 * 1024


class KuboFailed(Exception):
    """The daemon is away, refuses, or cannot find something; the message says which and where it is."""


class KuboDaemon:
    def __init__(self, api: str) -> None:
        """`api` is a multiaddr (/ip4/127.0.0.1/tcp/5001) or a URL (http://127.0.0.1:5001).

        Nothing is sent before the first call. Raises `ValueError` with what is wrong with `api`.
        """
        self.api = api
        self._multiaddr = multiaddr_of(api)

    def version(self) -> str:
        """The daemon's version; raises `KuboFailed`."""
        with self._client() as client:
            return str(client.version(timeout=CONNECT_TIMEOUT_S)["Version"])

    def add(self, root: str, stream: Iterable[bytes]) -> None:
        """Store and pin the graph of a CAR stream there; raises `KuboFailed` and what the stream raises."""
        with self._client() as client:
            answer = client.dag.imprt(_Readable(iter(stream)), opts={"pin-roots": "true"})
        pinned = answer["Root"]
        problem = pinned.get("PinErrorMsg")
        if problem or cids.canonical(pinned["Cid"]["/"]) != cids.canonical(root):
            raise KuboFailed(f"the Kubo daemon at {self.api} did not pin {root}: {problem or 'another root'}")

    def fetch(
        self, root: str, blocks: BlockStore, progress: Callable[[int], None], size_bytes_max: int
    ) -> None:
        """Store the graph below `root` here; `progress` is told the bytes so far.

        The stream may end early, so the caller looks whether all is here. Raises `KuboFailed`, `OSError`.
        """
        size_bytes = 0
        with self._client() as client:
            try:
                with client.dag.export(str(cids.parse(root)), stream=True) as stream:
                    for cid, data in car.read_car_untrusted(stream):
                        size_bytes += len(data)
                        if size_bytes > size_bytes_max:
                            raise KuboFailed(f"{root} has more than {size_bytes_max} bytes")
                        blocks.put_verified(cid, data)
                        progress(size_bytes)
            except BadMessage as exc:
                raise KuboFailed(f"what the Kubo daemon at {self.api} sent for {root}: {exc}") from exc

    def fetch_block(self, cid: str, blocks: BlockStore) -> None:
        """Store one block here; raises `KuboFailed`, `OSError`."""
        with self._client() as client:
            data = client.block.get(str(cids.parse(cid)))
        try:
            blocks.put_verified(cid, data)
        except BadMessage as exc:
            raise KuboFailed(f"what the Kubo daemon at {self.api} sent for {cid}: {exc}") from exc

    @contextmanager
    def _client(self) -> Iterator[ipfshttpclient.Client]:
        # Imported here, as most nodes have no daemon and it takes longer than all else that they import.
        import ipfshttpclient
        from ipfshttpclient import exceptions

        with warnings.catch_warnings():
            # From urllib3, about an argument that ipfshttpclient passes.
            warnings.simplefilter("ignore", FutureWarning)
            # Not `connect`, which refuses every daemon of today by its version.
            client = ipfshttpclient.Client(
                self._multiaddr, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S), chunk_size=CHUNK_SIZE_BYTES
            )
            try:
                yield client
            except (exceptions.ConnectionError, exceptions.ProtocolError) as exc:
                raise KuboFailed(f"no Kubo daemon answers at {self.api}: is `ipfs daemon` running?") from exc
            except exceptions.TimeoutError as exc:
                raise KuboFailed(
                    f"the Kubo daemon at {self.api} found nothing within {READ_TIMEOUT_S:.0f} s"
                ) from exc
            except exceptions.Error as exc:
                raise KuboFailed(f"the Kubo daemon at {self.api} refuses: {exc}") from exc
            finally:
                client.close()


def multiaddr_of(api: str) -> str:
    """A daemon's address as ipfshttpclient takes it; raises `ValueError`."""
    if api.startswith("/"):
        parts = api.strip("/").split("/")
        if len(parts) < 4 or parts[2] != "tcp" or not parts[3].isdecimal():
            raise ValueError("expected an address such as /ip4/127.0.0.1/tcp/5001")
        return api
    url = urlsplit(api)
    if url.scheme not in ("http", "https") or not url.hostname or url.path.strip("/"):
        raise ValueError("expected an address such as http://127.0.0.1:5001")
    try:
        kind = f"ip{ipaddress.ip_address(url.hostname).version}"
    except ValueError:
        kind = "dns"
    port = url.port or (443 if url.scheme == "https" else 80)
    return f"/{kind}/{url.hostname}/tcp/{port}/{url.scheme}"


class _Readable:
    """A stream of pieces as the file that ipfshttpclient wants."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, size: int = -1) -> bytes:
        """The next piece, whatever its size; an empty one only at the end."""
        return next((piece for piece in self._pieces if piece), b"")
