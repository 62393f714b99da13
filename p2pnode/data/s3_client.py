"""This node's client for S3 services: list, get and put, over `data.web`.

An own client, because the usual ones connect by themselves: the service's host is named by the
job, and may only be connected to after its address was checked. Whose the requests are is the
node's environment alone (AWS_ACCESS_KEY_ID and its kin), and only at services that the operator
knows, for the buckets that jobs may use; to others they go unsigned, which reaches what is public.
"""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlsplit

from p2pnode.core.values.internet import AllowedHost, is_allowed
from p2pnode.core.wire.states import Fault

from .download import check_status
from .failures import DataFailed, Retryable
from .s3_selection import S3Object
from .s3_signing import EMPTY_SHA256, Credentials, quote_key, sign
from .web import PORTS, Response, Web, checked_url

REGION_DEFAULT = "us-east-1"
# All of them are files of one execution.
OBJECTS_MAX = 10_000
# Objects come by the thousand, if the service is not hostile.
PAGES_MAX = 100
# One PUT takes no more ("Amazon S3 multipart upload limits").
PUT_SIZE_BYTES_MAX = 5 * 1024**3
ANY_BUCKET = "*"
# Buckets become part of a host's name. "Bucket naming rules", and the older ones of other services.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_HOST_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_AMAZON = ".amazonaws.com"
_NOT_OF_THE_JOB = (
    "AccessDenied",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
)


@dataclass(frozen=True, slots=True)
class S3Account:
    """This node's own access to S3."""

    credentials: Credentials | None = None
    # For these buckets, or all (`ANY_BUCKET`), the credentials are used.
    buckets: tuple[str, ...] = ()
    # Where the job names none; "" is Amazon's.
    endpoint: str = ""
    region: str = REGION_DEFAULT

    @classmethod
    def of_environment(cls, environ: Mapping[str, str], buckets: tuple[str, ...]) -> S3Account:
        """As Amazon's own tools read it, but for files and for the machine's role: those are a person's."""
        access_key, secret_key = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
        credentials = None
        if access_key and secret_key:
            credentials = Credentials(access_key, secret_key, environ.get("AWS_SESSION_TOKEN", ""))
        endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or ""
        return cls(
            credentials,
            buckets,
            endpoint and checked_url(endpoint),
            environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or REGION_DEFAULT,
        )

    @property
    def may_write(self) -> bool:
        """Whether results can be put anywhere; strangers may write to hardly any bucket."""
        return self.credentials is not None and bool(self.buckets)

    @property
    def hosts(self) -> tuple[AllowedHost, ...]:
        """The operator's own endpoint: it may be on a private network."""
        parts = urlsplit(self.endpoint)
        return (AllowedHost(parts.hostname, parts.port or PORTS[parts.scheme]),) if parts.hostname else ()

    def credentials_for(
        self, bucket: str, endpoint: str, allowed_hosts: Iterable[AllowedHost]
    ) -> Credentials | None:
        """Return what signs requests, or None. A host that only the job names learns nothing of them."""
        parts = urlsplit(endpoint)
        port = parts.port or PORTS.get(parts.scheme, 0)
        known = (
            endpoint in ("", self.endpoint)
            or is_allowed(allowed_hosts, parts.hostname or "", port)
            or (parts.scheme == "https" and (parts.hostname or "").endswith(_AMAZON))
        )
        open_to_jobs = ANY_BUCKET in self.buckets or bucket in self.buckets
        return self.credentials if known and open_to_jobs else None


class Bucket:
    """One bucket, as a job's parameters Bucket, Region and Endpoint name it."""

    def __init__(
        self, web: Web, account: S3Account, allowed_hosts: Iterable[AllowedHost], params: Mapping[str, Any]
    ) -> None:
        """Raises `DataFailed` for names that cannot be."""
        self.name = str(params["Bucket"])
        self._web = web
        self._endpoint = str(params.get("Endpoint") or account.endpoint)
        self._endpoint = self._endpoint and checked_url(self._endpoint)
        self._credentials = account.credentials_for(self.name, self._endpoint, allowed_hosts)
        self._region = str(params.get("Region") or account.region)
        if not _BUCKET.fullmatch(self.name) or not _REGION.fullmatch(self._region):
            raise DataFailed(Fault.JOB, f"no bucket {self.name!r} can be in a region {self._region!r}")

    @property
    def place(self) -> str:
        """Names the bucket among all."""
        return f"{self._endpoint or 'aws'} {self.name}"

    async def objects(self, prefix: str) -> list[S3Object]:
        """All objects whose keys begin so; raises `DataFailed`."""
        found: list[S3Object] = []
        token = ""
        for _ in range(PAGES_MAX):
            query = {"list-type": "2", "prefix": prefix, **({"continuation-token": token} if token else {})}
            async with self._request("GET", "", query) as response:
                page, token = _parse_listing_untrusted(await response.read())
            found += page
            if len(found) > OBJECTS_MAX:
                raise DataFailed(Fault.JOB, f"more than {OBJECTS_MAX} objects begin with {prefix!r}")
            if not token:
                return found
        raise Retryable(f"s3://{self.name}: the list of objects has no end")

    @asynccontextmanager
    async def get(
        self, key: str, version: str = "", offset: int = 0, etag: str = ""
    ) -> AsyncIterator[Response]:
        """An object from an offset on, as long as it has this ETag."""
        headers = {"range": f"bytes={offset}-"} if offset else {}
        headers |= {"if-match": etag} if etag else {}
        async with self._request("GET", key, {"versionId": version} if version else {}, headers) as response:
            yield response

    async def put(
        self, key: str, size_bytes: int, body_sha256: str, body: Callable[[], AsyncIterator[bytes]]
    ) -> None:
        """Write an object; `body` begins the same bytes anew at each call. Raises `DataFailed`."""
        headers = {"content-length": str(size_bytes)}
        async with self._request("PUT", key, {}, headers, body_sha256, body) as response:
            await response.read()

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str] = MappingProxyType({}),
        body_sha256: str = EMPTY_SHA256,
        body: Callable[[], AsyncIterator[bytes]] | None = None,
    ) -> AsyncIterator[Response]:
        """One request, once more where the bucket turns out to be in another region of Amazon's."""
        for tries_left in (1, 0):
            url = self._url(key, query)
            sent = headers
            if self._credentials is not None:
                sent = sign(self._credentials, self._region, method, url, headers, body_sha256, time.time())
            async with self._web.request(method, url, sent, body and body()) as response:
                region = response.headers.get("x-amz-bucket-region", self._region)
                if response.status < 300:
                    yield response
                    return
                if region == self._region or not _REGION.fullmatch(region) or not tries_left:
                    await self._refused(response)
            self._region = region

    async def _refused(self, response: Response) -> None:
        """Raises `DataFailed` with what the service says."""
        code, message = _parse_error_untrusted(await response.read())
        said = f"s3://{self.name}: {response.said}" + (f": {code}: {message}" if code else "")
        if response.status == 403 or code in _NOT_OF_THE_JOB:
            how = "with this node's credentials" if self._credentials else "without credentials"
            raise DataFailed(Fault.PEER, f"{said} (asked {how})")
        if code in ("SlowDown", "RequestTimeout"):
            raise Retryable(said)
        check_status(response, said)

    def _url(self, key: str, query: Mapping[str, str]) -> str:
        path = quote_key(key)
        if self._endpoint:
            base = f"{self._endpoint.rstrip('/')}/{self.name}/{path}"
        elif _HOST_BUCKET.fullmatch(self.name):
            base = f"https://{self.name}.s3.{self._region}.amazonaws.com/{path}"
        else:
            base = f"https://s3.{self._region}.amazonaws.com/{self.name}/{path}"
        pairs = "&".join(f"{name}={quote(value, safe='')}" for name, value in sorted(query.items()))
        return f"{base}?{pairs}" if pairs else base


def _parse_xml_untrusted(data: bytes) -> ElementTree.Element:
    """A small document in UTF-8; raises `Retryable`. A DOCTYPE, which could define entities, is refused.

    The parser is to read what is looked through here: it gets text, so that no encoding that is declared
    counts, and no NUL, by which it would take the text for UTF-16 all the same.
    """
    try:
        text = data.decode("utf-8-sig")
        if "\0" in text:
            raise Retryable("the service answered with no XML in UTF-8")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise Retryable("the service answered with a DOCTYPE")
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError) as exc:
        raise Retryable(f"the service answered with no XML: {exc}") from exc
    for element in root.iter():
        # Services differ in the namespace.
        element.tag = element.tag.rpartition("}")[2]
    return root


def _parse_listing_untrusted(data: bytes) -> tuple[list[S3Object], str]:
    """A page of a listing, and what to ask the next one with; raises `Retryable`."""
    root = _parse_xml_untrusted(data)
    try:
        objects = [
            S3Object(one.findtext("Key") or "", one.findtext("ETag") or "", int(one.findtext("Size") or ""))
            for one in root.findall("Contents")
        ]
    except ValueError as exc:
        raise Retryable(f"the service answered with no listing: {exc}") from exc
    more = root.findtext("IsTruncated") == "true"
    return objects, (root.findtext("NextContinuationToken") or "") if more else ""


def _parse_error_untrusted(data: bytes) -> tuple[str, str]:
    """An error's code and message, each "" if there is none."""
    try:
        root = _parse_xml_untrusted(data)
    except Retryable:
        return "", ""
    return (root.findtext("Code") or "")[:100], (root.findtext("Message") or "")[:300]
