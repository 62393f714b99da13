"""Posts a job's end to a URL after the Standard Webhooks specification (standardwebhooks.com), signed.

The secret is in the node's data directory, for its owner alone; receivers are given it to verify with.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from pathlib import Path

import trio

from p2pnode.api.files import write_private
from p2pnode.config.kinds import url_without_secrets
from p2pnode.data.failures import DataFailed, Retryable

from .posting import PostTarget
from .target import GoneAway, Notice, NotTaken, target_name

FILE_NAME = "webhook.secret"
SECRET_PREFIX = "whsec_"
# The specification wants 24 to 64 bytes.
SECRET_SIZE_BYTES = 32
SECRET_SIZE_BYTES_MIN, SECRET_SIZE_BYTES_MAX = 24, 64
# The specification's advice is 15 to 30 s; a receiver answers first and works then.
TRY_S_MAX = 20.0
STATUS_GONE = 410


class SecretError(Exception):
    """The file of the secret holds none; the message says what to do."""


def load_or_make_secret(data_dir: Path) -> bytes:
    """The secret of this node's webhooks; raises `SecretError` and `OSError`."""
    path = data_dir / FILE_NAME
    if not path.exists():
        made = secrets.token_bytes(SECRET_SIZE_BYTES)
        write_private(path, f"{SECRET_PREFIX}{base64.b64encode(made).decode()}\n")
        return made
    path.chmod(0o600)
    text = path.read_text(encoding="ascii", errors="replace").strip()
    try:
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    fits = SECRET_SIZE_BYTES_MIN <= len(secret) <= SECRET_SIZE_BYTES_MAX
    if not text.startswith(SECRET_PREFIX) or not fits:
        raise SecretError(
            f"{path} does not hold {SECRET_PREFIX} and {SECRET_SIZE_BYTES_MIN} to {SECRET_SIZE_BYTES_MAX}"
            " bytes in base64: mend it, or move it away and the node makes another"
        )
    return secret


def signature(secret: bytes, id: str, timestamp: int, body: bytes) -> str:
    """The header webhook-signature."""
    signed = hmac.new(secret, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


class Webhook:
    """One URL."""

    def __init__(self, url: str, secret: bytes) -> None:
        self.name = target_name(url)
        self.shown = f"job_end_webhooks {url_without_secrets(url)}"
        self._target = PostTarget(url)
        self._secret = secret

    async def tell(self, notice: Notice) -> None:
        """Post it; raises `NotTaken`, and `GoneAway` where nothing more is wanted."""
        timestamp = int(time.time())
        body = json.dumps(
            {"type": "job.ended", "timestamp": notice.ended, "data": notice.job}, ensure_ascii=False
        ).encode("utf-8", "backslashreplace")
        headers = {
            "webhook-id": notice.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._secret, notice.id, timestamp, body),
        }
        try:
            with trio.fail_after(TRY_S_MAX):
                status, said, _ = await self._target.post(body, headers, 0)
        except trio.TooSlowError:
            raise NotTaken(f"no answer within {TRY_S_MAX:.0f} s") from None
        except (Retryable, DataFailed) as error:
            raise NotTaken(str(error)) from error
        if status == STATUS_GONE:
            raise GoneAway(f"it answers {said}")
        if not 200 <= status < 300:
            raise NotTaken(f"it answers {said}")
