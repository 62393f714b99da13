"""The hosts that a job with network HTTP may reach."""

import pytest

from p2pnode.core.values.domains import allows


@pytest.mark.parametrize(
    ("domain", "host", "allowed"),
    [
        (".foo.com", "foo.com", True),
        (".foo.com", "x.foo.com", True),
        (".foo.com", "y.x.foo.com", True),
        (".foo.com", "x-foo.com", False),
        (".foo.com", "bar.com", False),
        ("foo.com", "FOO.com.", True),
        ("foo.com", "x.foo.com", False),
        ("foo.com", "foo.com.evil.net", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.10", False),
        ("2001:db8::1", "[2001:DB8:0::1]", True),
    ],
)
def test_a_leading_dot_means_all_below_and_nothing_beside(domain: str, host: str, allowed: bool) -> None:
    assert allows([domain], host) is allowed


def test_no_domains_allow_no_host() -> None:
    assert not allows([], "foo.com")
