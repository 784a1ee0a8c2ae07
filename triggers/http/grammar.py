"""What the standards allow as a token, as a header's value and as a host."""

import re
from functools import lru_cache

TCHAR = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
TOKEN = re.compile(TCHAR + "+", re.ASCII)
"""A method or the name of a header (RFC 9110 §5.6.2)."""

FORBIDDEN_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
"""Characters that no header's value may have (RFC 9110 §5.5), and lone surrogates, which have no bytes."""

_LONGEST_HOST = 255 + len(":65535")
_HOST = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?", re.ASCII)


def is_host(host: str) -> bool:
    """Whether the text is a host, with or without a port, and no longer than a name can be (RFC 1035 §2.3.4)."""
    return len(host) <= _LONGEST_HOST and _is_host(host)


@lru_cache(maxsize=256)
def _is_host(host: str) -> bool:
    return _HOST.fullmatch(host) is not None
