"""The parameters of a request, read and checked: its body, and the fields of its query."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import trio
from starlette.requests import Request

from p2pnode.core import jobfile
from p2pnode.core.jobfile.yamltree import TEXT_SIZE_BYTES_MAX
from p2pnode.core.wire.spec import JobSpec

from .requests import check_texts
from .shapes import Code, Json, ServiceError

# Requests other than a job file or a CAR hold an id, a reason or an address.
BODY_SIZE_BYTES_MAX = 64 * 1024
BODY_TIMEOUT_S = 30.0
# Between two pieces of a CAR on its way in: the client reads them from a disk.
CHUNK_TIMEOUT_S = 60.0


async def chunks(request: Request, size_bytes_max: int) -> AsyncIterator[bytes]:
    """The body as it comes; raises `ServiceError` where it is too large, or no more comes for a while."""
    received_bytes = 0
    stream = request.stream()
    while True:
        try:
            with trio.fail_after(CHUNK_TIMEOUT_S):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except trio.TooSlowError:
            raise ServiceError(Code.TIMEOUT, f"no data for {CHUNK_TIMEOUT_S:.0f} s") from None
        received_bytes += len(chunk)
        if received_bytes > size_bytes_max:
            raise ServiceError(Code.TOO_LARGE, f"the body is over the limit of {size_bytes_max:,} bytes")
        yield chunk


async def _body(request: Request, size_bytes_max: int) -> bytes:
    try:
        with trio.fail_after(BODY_TIMEOUT_S):
            return b"".join([chunk async for chunk in chunks(request, size_bytes_max)])
    except trio.TooSlowError:
        raise ServiceError(Code.TIMEOUT, f"the body took over {BODY_TIMEOUT_S:.0f} s") from None


async def job_file(request: Request) -> JobSpec:
    """The body as a job; raises `JobFileError`, whose problems name it as the query's `name` says."""
    body = await _body(request, TEXT_SIZE_BYTES_MAX)
    return jobfile.parse(body, request.query_params.get("name", "job")).spec


async def json_object(request: Request) -> Json:
    """The body as a JSON object of plain texts, an empty one without; raises `ServiceError` for another."""
    body = await _body(request, BODY_SIZE_BYTES_MAX)
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ServiceError(Code.BAD_REQUEST, "the body has to be a JSON object")
    check_texts(value)
    return value


async def reason(request: Request) -> str:
    """The body's field `reason` on one line, as histories have it; "" without."""
    found = (await json_object(request)).get("reason")
    if not isinstance(found, str | None):
        raise ServiceError(Code.BAD_REQUEST, "the field reason has to be a text")
    return " ".join((found or "").split())


def flag(request: Request, name: str) -> bool:
    """Whether a field of the query is set, and not to 0 or false."""
    return request.query_params.get(name, "0") not in ("0", "false", "")


def number(request: Request, name: str, default: int) -> int:
    """A field of the query as a whole number from 0; raises `ServiceError` for anything else."""
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise ServiceError(Code.BAD_REQUEST, f"{name} is {text!r}; it has to be a whole number from 0")
    return int(text)
