"""Which headers of which proxies count."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers.http.errors import RefusedError
from triggers.http.head import Head
from triggers.http.policy.proxies import Proxies
from triggers.http.settings import Network

PROXIES = Proxies(["10.0.0.0/8", "192.0.2.1", "fd00::/8"])


def head(**headers: str) -> Head:
    return Head("GET", "/", "", "inner", {f"x-forwarded-{name[2:]}": text for name, text in headers.items()})


def remote(peer: str, forwarded: str) -> str:
    return PROXIES.origin(peer, head(x_for=forwarded))[0]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.2.3.4, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.2.3.4, 198.51.100.1, 10.9.9.9, 192.0.2.1", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4, unknown", "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4, unknown, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "2001:DB8::1, fd00::1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("fd00::1%eth0", "198.51.100.1", "198.51.100.1"),
        ("", "198.51.100.1", ""),
    ],
)
def test_the_rightmost_untrusted_address_is_the_client(peer: str, forwarded: str, client: str) -> None:
    assert remote(peer, forwarded) == client


def test_scheme_and_host_are_the_last_ones() -> None:
    sent = head(x_for="198.51.100.1", x_proto="http, HTTPS", x_host="evil.example, api.example:8443")
    seen, scheme, believed = PROXIES.origin("10.0.0.1", sent)
    assert (seen, scheme, believed.host) == ("198.51.100.1", "https", "api.example:8443")
    assert believed.headers == sent.headers
    assert PROXIES.origin("203.0.113.9", sent) == ("203.0.113.9", "http", sent)
    assert PROXIES.origin("10.0.0.1", head(x_proto="gopher"))[1:] == ("http", head(x_proto="gopher"))


def test_a_malformed_host_is_refused() -> None:
    with pytest.raises(RefusedError, match="X-Forwarded-Host"):
        PROXIES.origin("10.0.0.1", head(x_host="a b"))
    assert PROXIES.origin("203.0.113.9", head(x_host="a b"))[2].host == "inner"


def test_peers_of_a_unix_socket_are_trusted_if_configured() -> None:
    assert Proxies(["unix"]).origin("", head(x_for="198.51.100.1"))[0] == "198.51.100.1"
    assert Proxies(["unix"]).origin("10.0.0.1", head(x_for="198.51.100.1"))[0] == "10.0.0.1"


@pytest.mark.invariant("I32")
@given(st.text(max_size=40))
def test_what_an_untrusted_client_says_never_counts(text: str) -> None:
    claimed = f"{text}, 198.51.100.1"
    assert remote("203.0.113.9", claimed) == "203.0.113.9"
    assert remote("10.0.0.1", claimed) == "198.51.100.1"


@pytest.mark.invariant("I32")
@given(st.text(max_size=40))
def test_the_client_is_always_an_address(text: str) -> None:
    ipaddress.ip_address(remote("10.0.0.1", text))


@pytest.mark.parametrize("text", ["10.0.0.1/8", "example.org", "", "10.0.0.0/33"])
def test_an_invalid_network(text: str) -> None:
    with pytest.raises(ValueError, match="is not a network"):
        Network.parse(text)
    assert Network.parse("10.0.0.0/8") == "10.0.0.0/8"
