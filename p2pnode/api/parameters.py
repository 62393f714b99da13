"""The parameters of a request, read and checked: its body, and the fields of its query."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import cache
from typing import TypeVar, get_args, get_origin, get_type_hints

import msgspec
import trio
from msgspec.inspect import is_struct_type
from starlette.requests import Request

from p2pnode.core import jobfile
from p2pnode.core.jobfile import ParsedJob
from p2pnode.core.jobfile.yamltree import TEXT_SIZE_BYTES_MAX

from .queries import NUMBER_MAX, JsonBody, Query
from .requests import check_texts
from .shapes import Code, ServiceError

# Requests other than a job file or a CAR hold an id, a reason or an address.
BODY_SIZE_BYTES_MAX = 64 * 1024
BODY_TIMEOUT_S = 30.0
# Between two pieces of a CAR on its way in: the client reads them from a disk.
CHUNK_TIMEOUT_S = 60.0
T = TypeVar("T", bound=msgspec.Struct)
Q = TypeVar("Q", bound=Query)
B = TypeVar("B", bound=JsonBody)


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


async def octets(request: Request, size_bytes_max: int) -> bytes:
    """The body as bytes that mean nothing here; raises `ServiceError` where it is too large."""
    return await _body(request, size_bytes_max)


async def job_file(request: Request, name: str) -> ParsedJob:
    """The body as a job; raises `JobFileError`, whose problems call the file `name`."""
    return jobfile.parse(await _body(request, TEXT_SIZE_BYTES_MAX), name)


async def body(request: Request, kind: type[B]) -> B:
    """The body as a JSON object of this type, empty without; raises `ServiceError` naming the field."""
    data = await _body(request, BODY_SIZE_BYTES_MAX)
    try:
        value = json.loads(data or b"{}", parse_float=_number)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ServiceError(Code.BAD_REQUEST, "the body has to be a JSON object")
    check_texts(value)
    return _converted("field", value, kind, strict=True)


def _number(text: str) -> float:
    """A number with a point or exponent; JSON has one kind of numbers, so 80.0 is a whole one."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) <= NUMBER_MAX else number


def one_line(text: str | None) -> str:
    """A text on one line, as histories have it; "" without."""
    return " ".join((text or "").split())


def query(request: Request, kind: type[Q]) -> Q:
    """The query as a `kind`; raises `ServiceError` naming a parameter that is strange, or there twice."""
    several = _lists(kind)
    values: dict[str, str | list[str]] = {}
    for name, text in request.query_params.multi_items():
        if name in several:
            found = values.setdefault(name, [])
            assert isinstance(found, list)
            found.append(text)
        elif name in values:
            raise ServiceError(Code.BAD_REQUEST, f"the parameter {ascii(name)[1:-1]} is there twice")
        else:
            values[name] = text
    return _converted("parameter", values, kind, strict=False)


def _form(kind: type[msgspec.Struct], name: str) -> str:
    """The form of a text, in the words of its description; `name` may lead into fields of fields."""
    *outer, last = name.split(".")
    for part in outer:
        hint = get_type_hints(kind)[part]
        kind = next(one for one in (hint, *get_args(hint)) if is_struct_type(one))
    metadata = getattr(get_type_hints(kind, include_extras=True)[last], "__metadata__", ())
    described = (one.description for one in metadata if isinstance(one, msgspec.Meta))
    return next(filter(None, described), "a text of another form")


@cache
def _lists(kind: type[Query]) -> frozenset[str]:
    """The parameters that may be there several times."""
    return frozenset(name for name, hint in get_type_hints(kind).items() if get_origin(hint) is list)


def _converted(what: str, value: object, kind: type[T], *, strict: bool) -> T:
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as exc:
        problem, _, place = str(exc).partition(" - at `$")
        problem = problem.replace("`", "").replace("Object contains unknown field", "nothing is known of")
        name = place.rstrip("`").lstrip(".")
        if "matching regex" in problem:
            problem = f"expected {_form(kind, name)}"
        said = f"the {what} {name}: {problem}" if name else f"of the {what}s: {problem}"
        raise ServiceError(Code.BAD_REQUEST, said) from None
