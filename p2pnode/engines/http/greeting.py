"""The host that a TLS client greets, read by `ssl` as a server does that ends the handshake there."""

from __future__ import annotations

import ssl
import sys

from p2pnode.core.wire.codec import BadMessage

# The largest TLS greetings, with post-quantum keys, take some 2 kB.
GREETING_SIZE_BYTES_MAX = 16_384


class Greeting:
    """One client's greeting (RFC 8446 section 4.1.2), as it comes."""

    def __init__(self) -> None:
        self._name: str | None = None
        self._size = 0
        self._incoming = ssl.MemoryBIO()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # The other server decides what the two sides can do together: old clients are read, too.
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.sni_callback = self._note
        self._server = context.wrap_bio(self._incoming, ssl.MemoryBIO(), server_side=True)

    def name_untrusted(self, data: bytes) -> str | None:
        """The name after these bytes, too ("" if there is none); None while the greeting is incomplete.

        Raises `BadMessage` for anything else.
        """
        self._size += len(data)
        if self._size > GREETING_SIZE_BYTES_MAX:
            raise BadMessage(f"a TLS greeting of more than {GREETING_SIZE_BYTES_MAX} bytes")
        self._incoming.write(data)
        hook, sys.unraisablehook = sys.unraisablehook, _pass_over
        try:
            self._server.do_handshake()
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLError as error:
            if self._name is None:
                raise BadMessage("not a TLS greeting") from error
        finally:
            sys.unraisablehook = hook
        return self._name

    def _note(self, server: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int:
        self._name = (name or "").lower()
        return ssl.ALERT_DESCRIPTION_USER_CANCELLED


def _pass_over(error: sys.UnraisableHookArgs) -> None:
    """Keeps a name that is not ASCII, of which `ssl` prints a traceback, out of the node's log."""
    if not isinstance(error.exc_value, UnicodeDecodeError):
        sys.__unraisablehook__(error)
