"""A node's refusals, as a client reads and raises them."""

from __future__ import annotations

import http.client
import json

from p2pnode.api.shapes import Code, Json

from .errors import Refused

# A bad job file's problems are some lines; what answers with more is no node.
REFUSAL_SIZE_BYTES_MAX = 16 * 1024**2


def refusal(response: http.client.HTTPResponse) -> Json:
    text = response.read(REFUSAL_SIZE_BYTES_MAX).decode(errors="replace")
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, dict) and "message" in value:
        return value
    return {"error": Code.INTERNAL, "message": f"HTTP {response.status}: {text[:200]}"}


def raise_refusal(value: Json) -> None:
    try:
        code = Code(value["error"])
    except ValueError:
        code = Code.INTERNAL
    problems = value.get("problems", [])
    raise Refused(code, "; ".join([*problems, str(value["message"])]))
