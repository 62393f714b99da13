"""An internet in a network namespace of its own: web servers, name servers, the metadata address.

It is a program for the other side, and the fixture's part that makes the namespace and runs it
there. Every connection and datagram that reaches it is a line of its output, so that a test can
say of an address not only that nothing came back, but that nothing arrived.
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import trio

from .docker_engine import cannot_run

# Addresses for tests of networks (RFC 2544), which nobody routes.
HOST, ALLOWED, EVIL = "198.18.77.1", "198.18.77.2", "198.18.77.3"
METADATA = "169.254.169.254"
# An address of the internet's own, but of those that RFC 7526 has taken out of use.
PUBLIC = "192.88.99.2"
NAMES = {
    "allowed.example": ALLOWED,
    "sub.wild.example": ALLOWED,
    "evil.example": EVIL,
    # Names of the job's own domains that lead into the operator's network.
    "inside.example": HOST,
    "metadata.wild.example": METADATA,
}
TLS_NAMES = ("allowed.example", "sub.wild.example", "evil.example")


GET = "import sys, urllib.request as w; print(w.urlopen(sys.argv[1], timeout=2).read().decode(), end='')"


class Internet:
    """The running internet: its certificate, and what has arrived at it."""

    def __init__(self, certificate: Path, log: Path, name: str) -> None:
        self.certificate = certificate
        self._log = log
        self._name = name

    def get(self, port: int) -> str:
        """The answer of a web server at a port of this machine to somebody from there."""
        command = ["ip", "netns", "exec", self._name, sys.executable, "-c", GET, f"http://{HOST}:{port}/"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def arrived(self) -> list[str]:
        """`tcp ADDRESS:PORT` or `udp ...` for each thing that came, in order."""
        return self._log.read_text().splitlines()[1:]


@contextmanager
def made_up_internet(directory: Path) -> Iterator[Internet]:
    """The internet, reached from this machine by a pair of interfaces that end with it."""
    if os.geteuid() or not shutil.which("ip"):
        cannot_run("a network namespace needs root and iproute2")
    certificate, key, log = directory / "certificate.pem", directory / "key.pem", directory / "log"
    _make_certificate(certificate, key)
    name, inner, outer = f"inet{os.getpid()}", f"ia{os.getpid()}", f"ib{os.getpid()}"
    with ExitStack() as stack:
        _ip("netns", "add", name)
        stack.callback(_ip, "netns", "del", name)
        _ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name)
        _ip("addr", "add", f"{HOST}/24", "dev", outer)
        _ip("link", "set", outer, "up")
        for address in (f"{ALLOWED}/24", f"{EVIL}/24", f"{METADATA}/32", f"{PUBLIC}/32"):
            _ip("-n", name, "addr", "add", address, "dev", inner)
        _ip("-n", name, "link", "set", inner, "up")
        # So that what a Bridge network sends is answered, and the metadata address really is there.
        _ip("-n", name, "route", "add", "default", "via", HOST)
        for address in (METADATA, PUBLIC):
            _ip("route", "add", f"{address}/32", "via", ALLOWED)
        with open(log, "wb") as output:
            command = ["ip", "netns", "exec", name, sys.executable, "-m", __name__, certificate, key]
            process = subprocess.Popen(command, stdout=output, cwd=Path(__file__).parent.parent)
            stack.callback(process.wait)
            stack.callback(process.terminate)
        while not log.read_text().startswith("ready"):
            assert process.poll() is None
        yield Internet(certificate, log, name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _make_certificate(certificate: Path, key: Path) -> None:
    names = ",".join(f"DNS:{name}" for name in TLS_NAMES)
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
    files = ["-keyout", key, "-out", certificate]
    subprocess.run(
        [*command.split(), "-addext", f"subjectAltName={names}", *files], check=True, capture_output=True
    )


async def _web(stream: trio.SocketStream, tls: ssl.SSLContext | None = None) -> None:
    """Any request is answered with its own head, so that the asker sees what came."""
    note("tcp", stream.socket.getsockname())
    try:
        speaking: trio.SocketStream | trio.SSLStream[trio.SocketStream] = stream
        if tls:
            speaking = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
        with trio.move_on_after(5):
            head = bytes(await speaking.receive_some(65_536))
            await speaking.send_all(b"HTTP/1.0 200 OK\r\n\r\nreached\n" + head)
            await speaking.aclose()
    except trio.BrokenResourceError:
        return
    finally:
        await trio.aclose_forcefully(stream)


async def _datagrams(address: str, port: int) -> None:
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as socket:
        await socket.bind((address, port))
        while True:
            data, sender = await socket.recvfrom(65_536)
            note("udp", (address, port))
            await socket.sendto(b"reached" + data, sender)


def note(kind: str, address: tuple[str, int]) -> None:
    sys.stdout.write(f"{kind} {address[0]}:{address[1]}\n")
    sys.stdout.flush()


async def _main(certificate: str, key: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with trio.open_nursery() as nursery:
        for address in (ALLOWED, EVIL, METADATA, PUBLIC):
            for port in (53, 443):
                nursery.start_soon(_datagrams, address, port)
            plain = [
                one for port in (22, 80, 8080) for one in await trio.open_tcp_listeners(port, host=address)
            ]
            secure = await trio.open_tcp_listeners(443, host=address)
            nursery.start_soon(trio.serve_listeners, _web, plain)
            nursery.start_soon(trio.serve_listeners, partial(_web, tls=context), secure)
        sys.stdout.write("ready\n")
        sys.stdout.flush()


if __name__ == "__main__":
    trio.run(_main, *sys.argv[1:])
