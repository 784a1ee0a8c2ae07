"""Which version of a deployed function a request asks for, in the header `X-Forklight-Version`, and whether it may.

A version that gets no events, or a share of them, is for whoever deploys it: not every client may choose it.
"""

from msgspec.structs import replace

from bus.event import Headers
from triggers.http.errors import RefusedError
from triggers.http.head import Head
from triggers.http.policy.keys import Holder, Keys
from triggers.http.policy.scopes import EVERY

HEADER = "x-forklight-version"
SCOPE = "forklight:version"
"""What a key that is no deploy key needs to choose a version."""
_CHALLENGE = f'Bearer realm="forklight", error="insufficient_scope", scope="{SCOPE}"'
_KEY_HEADERS = ("x-api-key", "authorization")
"""In this order, so that Authorization can be for the function."""


def chooser(keys: Keys, headers: Headers) -> tuple[Holder, str]:
    """Return whose key allows the request to choose a version, and the header that has it.

    Raises RefusedError: 401 without a known key, 403 if the key does not allow it.
    """
    known: list[Holder] = []
    for name in _KEY_HEADERS:
        holder = keys.known({name: headers[name]}) if name in headers else None
        if holder is not None and _may_choose(holder):
            return holder, name
        known += [] if holder is None else [holder]
    who = f"a deploy key of the whole server, or a key with the scope {SCOPE}"
    if known:
        detail = f"the key {known[0].name} may not choose a version (X-Forklight-Version): that takes {who}"
        raise RefusedError(403, detail, headers=(("www-authenticate", _CHALLENGE),), last=False)
    sent = "the key is not valid" if any(name in headers for name in _KEY_HEADERS) else "no key was sent"
    detail = f"to choose a version (X-Forklight-Version), send {who}, as X-Api-Key or Authorization: Bearer: {sent}"
    headers_of_it = (("www-authenticate", 'Bearer realm="forklight"'),)
    raise RefusedError(401, detail, headers=headers_of_it, last=False)


def _may_choose(holder: Holder) -> bool:
    """A deploy key of some applications may not: a route does not know whose it is."""
    return (holder.deploys and not holder.applications) or SCOPE in holder.scopes or EVERY in holder.scopes


def without(head: Head, name: str) -> Head:
    """Remove the header with the key, which no function should see."""
    return replace(head, headers={one: text for one, text in head.headers.items() if one != name})


def unknown(error: LookupError) -> RefusedError:
    """There is no such version (404)."""
    return RefusedError(404, str(error.args[0]), last=False, reason="version")
