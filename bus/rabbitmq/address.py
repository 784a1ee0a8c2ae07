"""The address of a broker: checks and completes its URL, and names it in messages without user and password. Pure."""

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
"""Signs that waiting may help: the broker (or a proxy before it) is starting, or there is no network yet."""


class Address(NamedTuple):
    """`place` is the broker's name in messages."""

    url: URL
    place: str


def address(text: str) -> Address:
    """Parse `amqp://` or `amqps://`, user, host, virtual host. Raises StoreError for anything else.

    The query may have aio-pika's parameters: `heartbeat`, `cafile`, `certfile`, `keyfile`, `name` and others.
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
    """Describe a failed connection in one line, with cause and remedy. An UnreachableError means: waiting may help."""
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
        return "no answer in time", "are host and port right, and does a firewall block the connection?"
    if "Errno -2" in text or "Errno -3" in text or "Errno -5" in text:  # getaddrinfo(3): aiormq gives no more than text
        return "the name of the host is unknown", "is it spelled correctly, and does the resolver answer?"
    if "refused" in text.lower() or "Errno 111" in text or "Connect call failed" in text:
        return "nothing listens there", "is RabbitMQ running, and is the port right?"
    if isinstance(error, StopAsyncIteration) or any(mark in text for mark in _GONE):
        said = f" ({text})" if str(error) else ""  # with uvloop, aiormq's reader just ends
        return (
            f"it closed the connection{said}",
            "is RabbitMQ starting, and is this an AMQP port for amqp:// or amqps://?",
        )
    return None


def _diagnosis(error: BaseException, text: str) -> tuple[str, str]:
    if isinstance(error, ProbableAuthenticationError | AuthenticationError):
        return (
            f"it refuses this user or password ({text})",
            "check both in the URL (guest may connect only from the broker's host)",
        )
    if "Connection.OpenOk" in text:  # aiormq reports no more than this
        return (
            "it denies access to the virtual host",
            "create it and give the user permissions there, or name another one in the URL",
        )
    if "certificate" in text.lower() or "ssl" in text.lower():
        return text, "check the certificates; ?cafile=FILE in the URL names the authority to trust"
    if isinstance(error, AMQPConnectionError):
        return text, "is this an AMQP port, and is amqp:// or amqps:// right for it?"
    return text, "check the URL"
