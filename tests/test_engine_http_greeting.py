"""The name in a TLS greeting, however the greeting comes, and greetings that are none."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pnode.core.wire.codec import BadMessage
from p2pnode.engines.http.greeting import GREETING_SIZE_BYTES_MAX, Greeting

from .tls_greetings import ALERT, extended, greeting, in_records, of_version

HELLO = greeting("allowed.example")
ESNI, ECH, GREASE = 0xFFCE, 0xFE0D, 0x0A0A


@pytest.mark.parametrize(
    ("hello", "name"),
    [
        pytest.param(HELLO, "allowed.example", id="usual"),
        pytest.param(greeting("ALLOWED.example"), "allowed.example", id="capitals"),
        pytest.param(greeting("10.1.2.3"), "", id="address, so no name"),
        pytest.param(in_records(HELLO, 20), "allowed.example", id="small records"),
        pytest.param(in_records(HELLO, 1), "allowed.example", id="tiny records"),
        pytest.param(HELLO + b"early data", "allowed.example", id="more after it"),
        pytest.param(of_version(ssl.TLSVersion.TLSv1), "allowed.example", id="TLS 1.0"),
        pytest.param(of_version(ssl.TLSVersion.TLSv1_2), "allowed.example", id="TLS 1.2"),
        pytest.param(of_version(ssl.TLSVersion.TLSv1_3), "allowed.example", id="TLS 1.3"),
        pytest.param(extended(HELLO, ECH, bytes(200)), "allowed.example", id="ECH: the outer name"),
        pytest.param(extended(greeting("10.1.2.3"), ESNI, bytes(200)), "", id="ESNI only"),
        pytest.param(extended(HELLO, GREASE, bytes(9_000)), "allowed.example", id="large"),
        pytest.param(HELLO[:-1], None, id="a byte is missing"),
        pytest.param(b"", None, id="nothing yet"),
    ],
)
@pytest.mark.parametrize("step", [1, 100, 65_536])
def test_the_name_in_a_tls_greeting_is_read_however_it_comes(
    hello: bytes, name: str | None, step: int
) -> None:
    reader, found = Greeting(), None
    for at in range(0, len(hello), step):
        assert found is None or at >= len(hello) - len(b"early data")
        found = found if found is not None else reader.name_untrusted(hello[at : at + step])
    assert found == name


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="another protocol"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="plain HTTP"),
        pytest.param(ALERT, id="an alert"),
        pytest.param(HELLO[:5] + b"\x02" + HELLO[6:], id="a server's greeting"),
        pytest.param(HELLO.replace(b"allowed", b"all\xffwed"), id="a name that is not ASCII"),
        pytest.param(HELLO.replace(b"allowed", b"all\0wed"), id="a name with a zero byte"),
        pytest.param(extended(HELLO, 0, bytes(2)), id="two lists of names"),
        pytest.param(HELLO[:50] + bytes(len(HELLO) - 50), id="half zeros"),
        pytest.param(extended(HELLO, GREASE, bytes(GREETING_SIZE_BYTES_MAX)), id="too large"),
        pytest.param(b"\x16\x03\x01\xff\xff\x01\xff\xff\xff" + bytes(GREETING_SIZE_BYTES_MAX), id="endless"),
    ],
)
def test_what_is_no_tls_greeting_is_refused_without_a_word_in_the_log(
    data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadMessage):
        Greeting().name_untrusted(data)
    assert capfd.readouterr() == ("", "")


@given(
    st.binary(max_size=200)
    | st.binary(max_size=200).map(lambda data: b"\x16\x03\x01\x00\x50" + data)
    | st.tuples(st.integers(0, len(HELLO)), st.binary(max_size=4)).map(
        lambda change: HELLO[: change[0]] + change[1] + HELLO[change[0] + len(change[1]) :]
    )
)
def test_any_bytes_have_a_name_or_none_or_are_refused(data: bytes) -> None:
    with contextlib.suppress(BadMessage):
        name = Greeting().name_untrusted(data)
        assert name is None or name.isascii()
