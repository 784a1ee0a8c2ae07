"""Which headers and parameters may hold a secret, by their names and values. Pure.

What holds none and looks as if it did is left out of a recording and named, which costs a line; so the rules are wide.
"""

import re
from urllib.parse import parse_qsl

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
"""`accessToken`, `x-access-token` and `ACCESS_TOKEN` have the same words."""
_WORDS = frozenset(
    ("auth", "authorization", "authentication", "key", "keys", "sig", "sid", "pwd", "pass", "otp", "pin", "hmac")
) | {"csrf", "xsrf", "nonce"}
_PART = re.compile("token|secret|passw|passphrase|credential|cookie|session|sessid|signature|apikey|jwt|bearer")
"""Within a word, too: `phpsessid`."""
_HARMLESS_KEYS = frozenset(("idempotency", "partition", "routing", "cache", "sort", "public", "primary", "message"))
"""What a `-key` may follow, none of which opens anything."""
_VALUE = re.compile(
    r"(?:(?:bearer|basic|digest|negotiate|aws4-hmac-sha256)\s.*"
    r"|.*\beyJ[\w-]+\.eyJ[\w-]+\..*"  # a JSON Web Token
    r"|(?:fl_|sk_|rk_|gh[pousr]_|github_pat_|glpat-|xox[a-z]-|AKIA)[\w-]{12,})",
    re.IGNORECASE | re.DOTALL,
)


def may_be_secret(name: str, value: object) -> bool:
    """Whether a header or parameter may hold a secret. A URL does if one of its parameters may."""
    if _is_secret_name(name):
        return True
    if isinstance(value, dict):
        return any(may_be_secret(str(inner), each) for inner, each in value.items())
    if isinstance(value, list):
        return any(may_be_secret("", each) for each in value)
    if not isinstance(value, str):
        return False
    return bool(_VALUE.fullmatch(value)) or _has_secret_parameter(value)


def _is_secret_name(name: str) -> bool:
    words = [word.lower() for word in _WORD.findall(name)]
    for before, word in zip(["", *words], words, strict=False):
        if word in ("key", "keys") and before in _HARMLESS_KEYS:
            continue
        if word in _WORDS or _PART.search(word):
            return True
    return False


def _has_secret_parameter(url: str) -> bool:
    """Whether it has a query with a secret: Referer, X-Original-URI."""
    _, mark, query = url.partition("?")
    if not mark:
        return False
    return any(_is_secret_name(name) or _VALUE.fullmatch(value) for name, value in parse_qsl(query))
