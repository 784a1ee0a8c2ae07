"""Where a broker is: its URL checked, completed, and named in messages without user and password. Pure."""

from typing import NamedTuple

from aio_pika.exceptions import AMQPConnectionError, AuthenticationError, ProbableAuthenticationError
from yarl import URL

from bus.store import StoreError, UnreachableError

HEARTBEAT_S = 10
_GONE = (
    "Errno 104",
    "Connection reset",
    "Connection lost",
    "Server connection unexpectedly closed",
    "Errno 113",
    "Errno 101",
)
"""Who hangs up is a broker that starts, or what stands before one; or there is no network yet."""


class Address(NamedTuple):
    """`place` is what messages call it."""

    url: URL
    place: str


def address(text: str) -> Address:
    """`amqp://` or `amqps://`, user, host, virtual host. Raises StoreError for anything else.

    The query may have what aio-pika knows: `heartbeat`, `cafile`, `certfile`, `keyfile`, `name` and others.
    """
    try:
        url = URL(text)
        default_port = {"amqp": 5672, "amqps": 5671}[url.scheme]
        host, port = url.host, url.port or default_port
    except (ValueError, KeyError):
        host, port = None, 0
    if not host:
        raise StoreError("the URL of a RabbitMQ broker looks like amqp://USER:PASSWORD@HOST:5672/VHOST (or amqps://)")
    vhost = url.path[1:].replace("%2F", "/") or "/"
    query = {"heartbeat": str(HEARTBEAT_S), "name": "forklight"} | dict(url.query)
    where = f"[{host}]" if ":" in host else host
    return Address(url.with_query(query), f"RabbitMQ at {where}:{port} (vhost {vhost})")


def refusal(place: str, error: BaseException) -> StoreError:
    """One line: what was tried, why it failed, what to do. An UnreachableError if nobody was there to say why."""
    text = " ".join(str(error).split()) or type(error).__name__
    if absence := _absence(error, text):
        why, remedy = absence
        return UnreachableError(f"cannot connect to {place}: {why}; {remedy}")
    why, remedy = _diagnosis(error, text)
    return StoreError(f"cannot connect to {place}: {why}; {remedy}")


def _absence(error: BaseException, text: str) -> tuple[str, str] | None:
    if isinstance(error, ProbableAuthenticationError | AuthenticationError):
        return None
    if isinstance(error, TimeoutError):
        return "no answer in time", "is that host and port right, and does a firewall let us through?"
    if "Errno -2" in text or "Errno -3" in text or "Errno -5" in text:  # getaddrinfo(3): aiormq gives no more than text
        return "the name of the host is unknown", "is it written right, and does its resolver answer?"
    if "refused" in text.lower() or "Errno 111" in text or "Connect call failed" in text:
        return "nothing listens there", "is RabbitMQ running, and the port the right one?"
    if isinstance(error, StopAsyncIteration) or any(mark in text for mark in _GONE):
        said = f" ({text})" if str(error) else ""  # with uvloop, aiormq's reader just ends
        return f"it hung up{said}", "is RabbitMQ starting, is it an AMQP port, and amqp:// or amqps:// right for it?"
    return None


def _diagnosis(error: BaseException, text: str) -> tuple[str, str]:
    if isinstance(error, ProbableAuthenticationError | AuthenticationError):
        return (
            f"it refuses this user or password ({text})",
            "check both in the URL (guest may connect from the broker's host only)",
        )
    if "Connection.OpenOk" in text:  # all that aiormq tells of it
        return (
            "it does not let us into the virtual host",
            "make it and give the user permissions there, or name another one in the URL",
        )
    if "certificate" in text.lower() or "ssl" in text.lower():
        return text, "check the certificates; ?cafile=FILE in the URL names the authority to trust"
    if isinstance(error, AMQPConnectionError):
        return text, "is this an AMQP port, and is amqp:// or amqps:// the right one for it?"
    return text, "check the URL"
