"""Names of hosts that a job may reach under `Network: {Type: HTTP, Domains: [...]}`.

`example.com` means that host alone, `.example.com` also all below it, an IP address
itself. One meaning serves the job file's check and the gateway that holds a job to it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

# RFC 1035 section 2.3.4.
_DOMAIN_CHARS_MAX = 253
# Underscores are no host names by RFC 952, but object stores have them in theirs.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
# The last label is no number, or 300.1.1.1 would be a domain.
_DOMAIN = re.compile(rf"\.?(?:{_LABEL}\.)*(?!\d+\Z){_LABEL}")

DOMAIN_ALLOWED = "a host such as example.com, .example.com (that domain and all below it) or an IP address"


def parse_domain(text: str) -> str:
    """The domain in lower case, the IP address in its usual form.

    Raises `ValueError` saying what is allowed for anything else: a URL, a port, a
    network such as 10.0.0.0/8, a wildcard.
    """
    domain = text.strip().lower()
    if address := _address(domain):
        return address
    if len(domain) > _DOMAIN_CHARS_MAX or not _DOMAIN.fullmatch(domain):
        raise ValueError(f'"{text[:80]}" is not a domain; allowed: {DOMAIN_ALLOWED}{_hint(domain)}')
    return domain


def allows(domains: Iterable[str], host: str) -> bool:
    """Whether a host (a name or an IP address, without a port) is among the domains of a job."""
    name = host.strip().lower().removesuffix(".")
    name = _address(name) or name
    return any(
        name == one or (one.startswith(".") and (name == one[1:] or name.endswith(one))) for one in domains
    )


def _address(text: str) -> str | None:
    """The text as an IP address in its usual form; None if it is none."""
    try:
        address = ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    # fe80::1%eth0: what an interface of the author's machine is called means nothing elsewhere.
    return None if "%" in text else str(address)


def _hint(domain: str) -> str:
    if "://" in domain:
        return "; write the host alone, without http:// and path"
    if domain.startswith("*."):
        return f"; for all below it write {domain[1:]}"
    if not domain.isascii():
        return "; write an international name in its xn-- form"
    return ""
