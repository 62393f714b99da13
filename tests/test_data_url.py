"""URL inputs: where they may lead, and how they arrive."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from p2pnode.core.values import internet
from p2pnode.core.values.internet import AllowedHost
from p2pnode.core.wire.states import Fault
from p2pnode.data import tries, web
from p2pnode.data.failures import DataFailed
from p2pnode.data.inputs import Access
from p2pnode.data.tries import Tries
from tests.data_support import Execution, files_in
from tests.docker_engine import cannot_run
from tests.web_site import Page, Site, running_site


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


@pytest.fixture
def allowed(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> Execution:
    """An execution on a node whose operator allows the site."""
    monkeypatch.setattr(tries, "FETCH_TRIES", Tries(5, 0.01, 1))
    return Execution(tmp_path, Access(hosts=(AllowedHost.parse(site.host),)))


def of(url: str) -> tuple[str, dict[str, Any]]:
    return "urldownload", {"URL": url}


async def test_a_file_is_downloaded_under_its_name(allowed: Execution, site: Site) -> None:
    site.pages["/data/table%201.csv"] = Page(b"a,b\n")
    (one,) = await allowed.fetch(of(site.url("/data/table%201.csv?x=1")))
    assert files_in(one.path) == {"table 1.csv": b"a,b\n"}
    assert one.read_only


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ('attachment; filename="report.pdf"', "report.pdf"),
        ("attachment; filename*=UTF-8''na%C3%AFve.txt", "naïve.txt"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="..\\\\..\\\\evil"', "evil"),
        ('attachment; filename=".bashrc"', "file"),
        ("attachment; filename*=UTF-8''a%0Ab", "file"),
        ("nonsense", "file"),
    ],
)
async def test_the_name_is_the_one_that_the_server_gives_if_it_is_fit_for_a_file(
    allowed: Execution, site: Site, given: str, name: str
) -> None:
    site.pages["/file"] = Page(b"x", headers={"Content-Disposition": given})
    (one,) = await allowed.fetch(of(site.url("/file")))
    assert list(files_in(one.path)) == [name]


async def test_redirects_are_followed(allowed: Execution, site: Site) -> None:
    site.pages["/old"] = Page(status=302, headers={"Location": "/new/name.txt"})
    site.pages["/new/name.txt"] = Page(b"moved")
    (one,) = await allowed.fetch(of(site.url("/old")))
    assert files_in(one.path) == {"old": b"moved"}


async def test_a_loop_of_redirects_ends(allowed: Execution, site: Site) -> None:
    site.pages["/loop"] = Page(status=302, headers={"Location": "/loop"})
    with pytest.raises(DataFailed, match="more than 10 redirects") as failed:
        await allowed.fetch(of(site.url("/loop")))
    assert failed.value.fault is Fault.JOB


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ],
)
async def test_this_host_is_refused_however_it_is_written(tmp_path: Path, site: Site, host: str) -> None:
    site.pages["/secret"] = Page(b"secret")
    with pytest.raises(DataFailed):
        await Execution(tmp_path).fetch(of(site.url("/secret", host)))
    assert not site.asked


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.1", "192.168.1.1", "172.16.0.1", "[fd00::1]"])
async def test_addresses_that_are_not_public_are_refused_with_the_reason(
    tmp_path: Path, address: str
) -> None:
    with pytest.raises(DataFailed, match="not a public address") as failed:
        await Execution(tmp_path).fetch(of(f"http://{address}/latest/meta-data/"))
    assert failed.value.fault is Fault.JOB
    assert str(failed.value).startswith("input /input0: ")


async def test_a_redirect_to_an_address_that_is_not_public_is_refused(allowed: Execution, site: Site) -> None:
    with running_site() as inner:
        inner.pages["/secret"] = Page(b"secret")
        # Another port of an allowed host is not allowed.
        site.pages["/way-in"] = Page(status=302, headers={"Location": inner.url("/secret")})
        with pytest.raises(DataFailed, match="not a public address"):
            await allowed.fetch(of(site.url("/way-in")))
        assert not inner.asked


class Rebinding(trio.abc.HostnameResolver):
    """Answers with a public address first, and with loopback ever after."""

    def __init__(self) -> None:
        self.answers = ["192.0.2.1", "127.0.0.1"]
        self.asked = 0

    async def getaddrinfo(self, host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        self.asked += 1
        address = self.answers[min(self.asked, len(self.answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port)))]

    async def getnameinfo(self, *arguments: Any) -> Any:
        raise NotImplementedError


async def test_a_name_that_changes_its_mind_is_connected_to_where_it_was_checked(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = Rebinding()
    trio.socket.set_custom_hostname_resolver(resolver)
    # 192.0.2.1 is for documentation: nobody answers there. It counts as public for this test.
    monkeypatch.setattr(internet, "is_public", lambda address: address == "192.0.2.1")
    monkeypatch.setattr(web, "CONNECT_S_MAX", 0.2)
    monkeypatch.setitem(web._TIMEOUTS, "connect", 0.2)
    monkeypatch.setattr(tries, "FETCH_TRIES", Tries(1, 0, 1))
    site.pages["/secret"] = Page(b"secret")
    with pytest.raises(DataFailed, match="rebinding"):
        await Execution(tmp_path).fetch(of(site.url("/secret", "rebinding.example")))
    assert resolver.asked == 1
    assert not site.asked


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.com/x",
        "http:///x",
        "http://user:pass@example.com/",
        "http://a:99999/",
    ],
)
async def test_other_urls_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataFailed) as failed:
        await Execution(tmp_path).fetch(of(url))
    assert failed.value.fault is Fault.JOB


@pytest.mark.parametrize(
    ("status", "fault", "asked"),
    [(404, Fault.JOB, 1), (403, Fault.JOB, 1), (500, Fault.NETWORK, 5), (429, Fault.NETWORK, 5)],
)
async def test_an_error_is_of_the_job_or_tried_again(
    allowed: Execution, site: Site, status: int, fault: Fault, asked: int
) -> None:
    site.pages["/x"] = Page(b"sorry", status=status)
    with pytest.raises(DataFailed, match=f"the answer was {status}") as failed:
        await allowed.fetch(of(site.url("/x")))
    assert failed.value.fault is fault
    assert len(site.asked) == asked


async def test_nobody_there_is_the_networks_fault(allowed: Execution, site: Site) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        allowed.access = Access(hosts=(AllowedHost("127.0.0.1", port),))
        with pytest.raises(DataFailed, match="cannot be reached") as failed:
            await allowed.fetch(of(f"http://127.0.0.1:{port}/"))
    assert failed.value.fault is Fault.NETWORK


async def test_a_broken_download_goes_on_where_it_broke_off(allowed: Execution, site: Site) -> None:
    data = bytes(range(256)) * 20_000
    site.pages["/big"] = Page(data, etag='"v1"', breaks=[3_000_000, 1_000_000])
    (one,) = await allowed.fetch(of(site.url("/big")))
    assert files_in(one.path) == {"big": data}
    ranges = [wanted for _, wanted in site.asked if wanted]
    assert ranges == ["bytes=3000000-", "bytes=4000000-"]


async def test_without_an_etag_it_begins_anew(allowed: Execution, site: Site) -> None:
    site.pages["/big"] = Page(b"x" * 100_000, breaks=[50_000])
    (one,) = await allowed.fetch(of(site.url("/big")))
    assert files_in(one.path) == {"big": b"x" * 100_000}
    assert [wanted for _, wanted in site.asked] == ["", ""]


async def test_a_file_that_changes_between_two_tries_is_fetched_whole(allowed: Execution, site: Site) -> None:
    site.pages["/big"] = page = Page(b"old " * 25_000, etag='"v1"', breaks=[50_000])

    class Changing(list[tuple[str, str]]):
        def append(self, one: tuple[str, str]) -> None:
            super().append(one)
            if len(self) == 2:
                page.data, page.etag = b"new " * 20_000, '"v2"'

    site.asked = Changing()
    (one,) = await allowed.fetch(of(site.url("/big")))
    assert files_in(one.path) == {"big": b"new " * 20_000}


async def test_after_a_restart_of_the_node_a_download_goes_on(
    allowed: Execution, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tries, "FETCH_TRIES", Tries(1, 0, 1))
    data = b"0123456789" * 100_000
    site.pages["/big"] = Page(data, etag='"v1"', breaks=[400_000])
    with pytest.raises(DataFailed):
        await allowed.fetch(of(site.url("/big")))
    (one,) = await allowed.fetch(of(site.url("/big")))
    assert files_in(one.path) == {"big": data}
    assert site.asked[-1] == ("/big", "bytes=400000-")
    assert sorted(path.name for path in allowed.inputs.iterdir()) == ["0"]


async def test_what_was_fetched_once_is_taken_from_the_cache_as_long_as_it_is_the_same(
    allowed: Execution, site: Site
) -> None:
    site.pages["/data"] = Page(b"v1", etag='"v1"')
    (first,) = await allowed.fetch(of(site.url("/data")))
    allowed.name = "e-2"
    (second,) = await allowed.fetch(of(site.url("/data")))
    assert first.path.samefile(second.path)
    site.pages["/data"] = Page(b"v2", etag='"v2"')
    allowed.name = "e-3"
    (third,) = await allowed.fetch(of(site.url("/data")))
    assert files_in(third.path) == {"data": b"v2"}


async def test_a_weak_etag_names_no_bytes_and_is_not_cached_by(allowed: Execution, site: Site) -> None:
    site.pages["/data"] = Page(b"v1", etag='W/"v"')
    await allowed.fetch(of(site.url("/data")))
    site.pages["/data"] = Page(b"v2", etag='W/"v"')
    allowed.name = "e-2"
    (one,) = await allowed.fetch(of(site.url("/data")))
    assert files_in(one.path) == {"data": b"v2"}


@pytest.mark.parametrize("told", [True, False])
async def test_more_than_the_jobs_disk_limit_is_not_downloaded(
    allowed: Execution, site: Site, told: bool
) -> None:
    headers = {} if told else {"Transfer-Encoding": "chunked"}
    data = b"x" * 3_000_000
    site.pages["/big"] = Page(data if told else b"2dc6c0\r\n" + data + b"\r\n0\r\n\r\n", headers=headers)
    with pytest.raises(DataFailed, match="the job's disk limit") as failed:
        await allowed.fetch(of(site.url("/big")), disk_bytes=2_000_000)
    assert failed.value.fault is Fault.JOB


async def test_all_inputs_share_the_limit(allowed: Execution, site: Site) -> None:
    for name in ("/a", "/b"):
        site.pages[name] = Page(b"x" * 600_000)
    sources = [of(site.url("/a")), of(site.url("/b"))]
    with pytest.raises(DataFailed, match="the job's disk limit"):
        await allowed.fetch(*sources, disk_bytes=1_000_000)
    allowed.name = "e-2"
    await allowed.fetch(*sources, disk_bytes=1_200_000)


async def test_a_server_that_falls_silent_is_given_up(
    allowed: Execution, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(web._TIMEOUTS, "read", 0.1)
    monkeypatch.setattr(tries, "FETCH_TRIES", Tries(2, 0.01, 1))
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    allowed.access = Access(hosts=(AllowedHost("127.0.0.1", port),))
    async with listener:
        with pytest.raises(DataFailed, match="nothing came") as failed:
            await allowed.fetch(of(f"http://127.0.0.1:{port}/"))
    assert failed.value.fault is Fault.NETWORK


async def test_progress_names_the_input_and_how_much_has_come(allowed: Execution, site: Site) -> None:
    site.pages["/big"] = Page(b"x" * 5_000_000)
    await allowed.fetch(of(site.url("/big")))
    assert all(text.startswith("fetching /input0: ") for text in allowed.told)
    assert allowed.told[-1].endswith(" of 5 MB")


# TLS


def certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """A key and a certificate for `name`, signed by itself."""
    key, made = directory / "key.pem", directory / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-nodes", "-keyout", str(key), "-out", str(made), "-days", "2", "-subj", f"/CN={name}"]
    subprocess.run(
        [*command, "-addext", f"subjectAltName=DNS:{name}"], check=True, capture_output=True, timeout=30
    )
    return key, made


@pytest.mark.parametrize(
    ("host", "trusted", "said"),
    [
        ("localhost", True, ""),
        ("localhost", False, "certificate verify failed"),
        ("127.0.0.1", True, "certificate verify failed"),
    ],
)
async def test_over_https_the_server_must_be_who_the_url_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, trusted: bool, said: str
) -> None:
    if not shutil.which("openssl"):
        cannot_run("openssl is not installed")
    key, made = certificate(tmp_path, "localhost")
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(made))
    monkeypatch.setattr(tries, "FETCH_TRIES", Tries(1, 0, 1))
    web._ssl_context.cache_clear()
    with running_site(tls=(key, made)) as site:
        site.pages["/x"] = Page(b"over TLS")
        node = Execution(tmp_path, Access(hosts=(AllowedHost(host, site.port),)))
        url = f"https://{host}:{site.port}/x"
        if said:
            with pytest.raises(DataFailed, match=said):
                await node.fetch(of(url))
            assert not site.asked
        else:
            (one,) = await node.fetch(of(url))
            assert files_in(one.path) == {"x": b"over TLS"}
    web._ssl_context.cache_clear()
