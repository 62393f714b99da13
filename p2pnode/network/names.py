"""The IP addresses behind a name in a peer's address, from the system's resolver, /etc/hosts included."""

from __future__ import annotations

import socket
from dataclasses import replace

import trio

from p2pnode.core.wire.addresses import Address, WebLayer

# The resolver's own tries take 10 s and more; a dial has less.
RESOLVE_S_MAX = 4.0
# Threads that a resolver which does not answer may hold: adverts of strangers may have names, too.
RESOLVING_MAX = 16
# The most of one name; a list of more would be dialled for ever.
RESOLVED_MAX = 4
_FAMILIES = {"dns": socket.AF_UNSPEC, "dns4": socket.AF_INET, "dns6": socket.AF_INET6}
_limiter = trio.lowlevel.RunVar[trio.CapacityLimiter]("p2pnode names")


class NameUnknown(OSError):
    """The name has no address; the message says why."""


async def resolve(address: Address) -> list[Address]:
    """The address with numbers for its name, as it is if it has none; raises `NameUnknown`."""
    family = _FAMILIES.get(address.family)
    if family is None:
        return [address]
    try:
        with trio.fail_after(RESOLVE_S_MAX):
            found = await trio.to_thread.run_sync(
                lambda: socket.getaddrinfo(address.host, address.port, family, socket.SOCK_STREAM),
                abandon_on_cancel=True,
                limiter=_threads(),
            )
    except trio.TooSlowError as exc:
        raise NameUnknown(
            f"this machine's resolver gave no answer for {address.host!r} within {RESOLVE_S_MAX:.0f} s"
        ) from exc
    except socket.gaierror as exc:
        raise NameUnknown(f"the name {address.host!r} is not known here: {exc.strerror}") from exc
    except UnicodeError as exc:
        raise NameUnknown(f"{address.host!r} is no name of a host") from exc
    hosts = dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found)
    # A link-local address needs an interface, which an address cannot name.
    fit = [host for host in hosts if "%" not in host][:RESOLVED_MAX]
    # The certificate is the name's, not the number's.
    name = address.name or (address.host if address.web is WebLayer.TLS else "")
    return [replace(address, family="ip6" if ":" in host else "ip4", host=host, name=name) for host in fit]


def _threads() -> trio.CapacityLimiter:
    """The limiter of this run of the loop."""
    try:
        return _limiter.get()
    except LookupError:
        limiter = trio.CapacityLimiter(RESOLVING_MAX)
        _limiter.set(limiter)
        return limiter
