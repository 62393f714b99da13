"""The addresses of peers that stand in DNS, as TXT records, by the nameservers of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import trio

from p2pnode.core.wire.bootstrap import Dnsaddr, records_untrusted

from .streams import NetworkError

# Names that stand for further names: a list of a list, as libp2p's own, is two.
DEPTH_MAX = 4
# In all, whatever the records say.
NAMES_MAX = 32
PEERS_MAX = 64
ADDRESSES_PER_PEER_MAX = 8
# One name's, with a second nameserver asked after the first.
LOOKUP_S_MAX = 8.0


class NamesNothing(NetworkError):
    """A name gave no addresses; the message says why."""


class DnsAddresses:
    """Looks names up; `nameserver` is asked instead of the machine's own, by its IP address and port."""

    def __init__(self, nameserver: tuple[str, int] | None = None) -> None:
        self._nameserver = nameserver

    async def find(self, name: Dnsaddr) -> dict[str, list[str]]:
        """The addresses that the name stands for, by peer; raises `NamesNothing`."""
        found: dict[str, list[str]] = {}
        asked: set[Dnsaddr] = set()
        level, reason = [name], ""
        for _ in range(DEPTH_MAX):
            following: list[Dnsaddr] = []
            for one in level:
                if one in asked or len(asked) >= NAMES_MAX:
                    continue
                asked.add(one)
                try:
                    texts = await self._texts(one.name)
                except NamesNothing as exc:
                    reason = reason or str(exc)
                    continue
                peers, names = records_untrusted(texts, one)
                following += names
                for peer, addresses in peers.items():
                    if peer in found or len(found) < PEERS_MAX:
                        known = found.setdefault(peer, [])
                        known += [text for text in addresses if text not in known]
                        del known[ADDRESSES_PER_PEER_MAX:]
            level = following
        if not found:
            raise NamesNothing(
                reason or f"_dnsaddr.{name.name} has no TXT record with a peer's address over TCP"
            )
        return found

    async def _texts(self, name: str) -> Sequence[str]:
        # Its library takes 6 MB.
        import dns.asyncresolver
        import dns.exception
        import dns.resolver

        try:
            with trio.fail_after(LOOKUP_S_MAX):
                answer = await self._resolver().resolve(f"_dnsaddr.{name}.", "TXT", lifetime=inf)
        except trio.TooSlowError as exc:
            raise NamesNothing(f"no answer for _dnsaddr.{name} within {LOOKUP_S_MAX:.0f} s") from exc
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer) as exc:
            raise NamesNothing(f"_dnsaddr.{name} has no TXT record") from exc
        except (dns.exception.DNSException, OSError) as exc:
            raise NamesNothing(f"_dnsaddr.{name} could not be looked up: {exc}") from exc
        return ["".join(part.decode("ascii", "replace") for part in record.strings) for record in answer]

    def _resolver(self) -> Any:
        """Made anew each time: /etc/resolv.conf changes as a machine moves."""
        import dns.asyncresolver

        if self._nameserver is None:
            return dns.asyncresolver.Resolver()
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = [self._nameserver[0]], self._nameserver[1]
        return resolver
