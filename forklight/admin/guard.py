"""Who may do what over TCP: probes are for everybody, and everything else is for those who bring a deploy key.

Without a deploy key, all other paths are as if they did not exist. The key crosses a network over TLS only. A plain
request must name the address of the listener or localhost as its Host, because otherwise any page in a browser on the
same machine could ask (DNS rebinding); over TLS the browser itself finds out that the certificate has another name.
"""

import socket
import struct
from collections.abc import Collection
from ipaddress import IPv6Address, ip_address

from aiohttp import web
from aiohttp.typedefs import Middleware

from forklight.admin.answers import Handler, Refused
from forklight.state.users import name_of
from triggers.http.errors import RefusedError
from triggers.http.policy.keys import Holder, Keys

_BY = web.RequestKey("by", Holder)
_CREDENTIALS = struct.Struct("3i")
"""`struct ucred` of unix(7): pid, uid, gid."""


def guarded(keys: Keys, open_paths: Collection[str]) -> Middleware:
    """Return the middleware of the TCP listener."""
    free = frozenset(open_paths)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not (request.secure or names_an_address(request.host)):
            raise Refused(403, "this listener answers only to its address or localhost")
        if request.path not in free:
            request[_BY] = _deployer(keys, request)
        return await handler(request)

    return guard


def who(request: web.Request) -> str:
    """Whose request it is: the name of the deploy key, or on the control socket the name of the user."""
    if _BY in request:
        return request[_BY].name
    peer = None if request.transport is None else request.transport.get_extra_info("socket")
    if peer is None or peer.family != socket.AF_UNIX:
        return ""
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return name_of(_CREDENTIALS.unpack(credentials)[1])


def may_deploy(request: web.Request, application: str) -> bool:
    """Whether the client may change the application. On the control socket it may change every one."""
    return _BY not in request or request[_BY].may_deploy(application)


def check_may_deploy(request: web.Request, application: str) -> None:
    """Raises Refused if the client has the key of other applications."""
    if not may_deploy(request, application):
        key = request[_BY]
        told = f"the deploy key {key.name} is for {', '.join(key.applications)}, not for {application[:80]!r}"
        raise Refused(403, f"{told}: use its own key (forklight keys create NAME --deploy --application …)")


def _deployer(keys: Keys, request: web.Request) -> Holder:
    """Return whose deploy key it is. Raises Refused, and HTTPNotFound to whoever has none."""
    headers = {name: request.headers[name] for name in ("authorization", "x-api-key") if name in request.headers}
    found, why = None, ""
    try:
        found = keys.deployer(headers)
    except RefusedError as error:
        why = error.detail
    if not (found or why) or not keys.has_deployers():
        raise web.HTTPNotFound
    if not (request.secure or is_loopback(request.remote or "")):
        remedy = "set certificate and key in [admin], or connect from the machine itself (ssh -L)"
        raise Refused(403, f"a deploy key must not cross a network in the clear: {remedy}")
    if found is None:
        raise Refused(401, why)
    return found


def names_an_address(host: str) -> bool:
    """Whether a Host is an address or localhost, which no domain of an attacker can be."""
    name = host.rpartition(":")[0] or host
    return all(part.isdigit() for part in name.split(".")) or name.startswith("[") or name == "localhost"


def is_loopback(remote: str) -> bool:
    """Whether a peer's address is one of the machine itself."""
    try:
        address = ip_address(remote)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback
