"""The client behind a proxy: X-Forwarded-For, -Proto and -Host, believed only from trusted proxies. Pure.

Each proxy appends the address that it saw to X-Forwarded-For. So the rightmost address that is not a trusted proxy's is
the client's; everything left of it is the client's own claim. Of the other two headers the last value counts.
"""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

from msgspec.structs import replace

from triggers.http.errors import RefusedError
from triggers.http.grammar import is_host
from triggers.http.head import Head
from triggers.http.settings import UNIX


class Proxies:
    """The trusted proxies."""

    def __init__(self, networks: Sequence[str]) -> None:
        """Raises ValueError for a text that `Network.parse` refuses."""
        self._networks = [ip_network(text) for text in networks if text != UNIX]
        self._unix = UNIX in networks
        self.trusts = lru_cache(maxsize=1024)(self._trusts)

    def origin(self, peer: str, head: Head) -> tuple[str, str, Head]:
        """Return (client address, scheme, head with the requested host), as far as the peer is trusted.

        Raises RefusedError (400) for a malformed host.
        """
        if not self.trusts(peer):
            return peer, "http", head
        headers = head.headers
        scheme = _last(headers.get("x-forwarded-proto", "")).lower()
        host = _last(headers.get("x-forwarded-host", ""))
        if host:
            if not is_host(host):
                raise RefusedError(400, "the X-Forwarded-Host is malformed")
            head = replace(head, host=host)
        remote = self._client(peer, headers.get("x-forwarded-for", ""))
        return remote, scheme if scheme in ("http", "https") else "http", head

    def _client(self, peer: str, forwarded: str) -> str:
        """The first address from the right that is not a trusted proxy's. An invalid one ends the search."""
        remote = peer
        for text in reversed(forwarded.split(",")):
            address = _address(text.strip())
            if address is None:
                return remote
            remote = address
            if not self.trusts(address):
                return remote
        return remote

    def _trusts(self, peer: str) -> bool:
        if not peer:
            return self._unix
        address = _address(peer)
        return address is not None and any(ip_address(address) in network for network in self._networks)


def _last(values: str) -> str:
    return values.rpartition(",")[2].strip()


def _address(text: str) -> str | None:
    """Normalize an address: without port and zone, IPv4-mapped IPv6 as IPv4. None if it is not an address."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
