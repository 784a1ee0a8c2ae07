"""Scopes: what a key may be used for. A key has some, and a route requires some, all of which the key must have.

The application chooses their names. `*`, as the scope of a key, stands for every scope.
"""

import re
from collections.abc import Collection, Sequence

from triggers.http.errors import RefusedError

EVERY = "*"
MOST_SCOPES = 64
"""Of one key, or of one route."""
_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,100}")
"""A scope-token of RFC 6749 §3.3; the limit of its length is ours."""


def check_scopes(scopes: Sequence[str], *, of_key: bool = False) -> None:
    """Raise ValueError if one of them cannot be required by a route, or with `of_key` be given to a key."""
    if len(scopes) > MOST_SCOPES:
        raise ValueError(f"{len(scopes)} scopes are too many: at most {MOST_SCOPES} are allowed")
    for scope in scopes:
        if of_key and scope == EVERY:
            continue
        if not _TOKEN.fullmatch(scope):
            raise ValueError(
                f"{scope!r} is not a scope: write a word such as orders:read, of up to 100 ASCII characters "
                "without quotes and backslashes"
            )
        if EVERY in scope:
            raise ValueError(f'{scope!r} is not a scope: the only wildcard is "*" alone, as the scope of a key')


def missing(scopes: Collection[str], required: Sequence[str]) -> list[str]:
    """The required scopes that a key with these `scopes` lacks."""
    return [] if EVERY in scopes else [scope for scope in required if scope not in scopes]


def require(scopes: Collection[str], required: Sequence[str]) -> None:
    """Raise RefusedError (403) with the challenge of RFC 6750 §3.1 if a required scope is missing."""
    lacking = missing(scopes, required)
    if lacking:
        word = "scope" if len(lacking) == 1 else "scopes"
        challenge = f'Bearer realm="forklight", error="insufficient_scope", scope="{" ".join(required)}"'
        detail = f"the key lacks the {word} {', '.join(lacking)}, which this path requires"
        raise RefusedError(403, detail, headers=(("www-authenticate", challenge),), last=False)
