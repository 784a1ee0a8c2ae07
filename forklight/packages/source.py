"""Where code comes from that is not on this machine: a zip at an address, named by its SHA-256. Pure."""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct

_SHA256 = re.compile(r"[0-9a-f]{64}")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token of RFC 9110, section 5.6.2."""
_OWN_HEADERS = {"accept-encoding", "connection", "content-length", "expect", "host", "range", "te", "transfer-encoding"}


class Source(Struct, frozen=True, kw_only=True):
    """A zip elsewhere. `headers` are sent to the host of `url` and to no other; their repr must not show values."""

    url: str
    sha256: str
    headers: Mapping[str, str] = {}
    pull: Literal["ahead", "first"] = "ahead"

    @property
    def shown(self) -> str:
        """The address for messages, without a query, which may hold a signature."""
        return urlsplit(self.url)._replace(query="", fragment="").geturl()

    @property
    def file_name(self) -> str:
        return urlsplit(self.url).path.rpartition("/")[2] or "code.zip"


def url_problem(url: str) -> str:
    """Return what is wrong with an address, or nothing."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"is not an address: {error}"
    if parts.scheme not in ("http", "https") or not host:
        return 'is not an address: write one such as "https://example.com/app.zip"'
    if re.search(r"[^\x21-\x7e]", url):
        return "has a character that an address cannot have: write it as %20 and the like"
    if parts.scheme == "http" and not is_loopback(host):
        return "is not encrypted: write https, since http is for this machine only"
    if parts.username is not None or parts.password is not None:
        return 'holds a password: write headers = { Authorization = { env = "TOKEN", prefix = "Basic " } }'
    return "has a fragment (#), which no server sees: leave it out" if parts.fragment else ""


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def origin_of(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port, which say whom a request goes to."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80}.get(parts.scheme, 443)


def sha256_problem(text: str) -> str:
    """Return what is wrong with a hash, or nothing."""
    if _SHA256.fullmatch(text):
        return ""
    return 'is not a SHA-256: write its 64 digits from 0-9 and a-f, as "sha256sum app.zip" prints them'


def header_problem(name: str) -> str:
    """Return what is wrong with the name of a header, or nothing."""
    if not _HEADER.fullmatch(name):
        return "is not the name of a header"
    return "is set by Forklight itself: leave it out" if name.lower() in _OWN_HEADERS else ""


def header_value_problem(value: str) -> str:
    """Return what is wrong with a value, or nothing. It never shows the value."""
    if not value.strip():
        return "is empty"
    return "has characters that no header can have" if re.search(r"[^\t\x20-\x7e\x80-\xff]", value) else ""
