"""Where a function finds the places that it may reach, in a box whose network leads nowhere else. Pure.

Theory of operation. A box has a network of its own, with nothing in it but a loopback interface. At an address of that
interface the template listens for each place; whatever connects there is forwarded to the place (`forwarding.py`). A
name gets an address of its own, which it has in the /etc/hosts of the box and nowhere else. A place that is written as
an address keeps it: the interface gets it, too.

So every protocol over TCP works unchanged, TLS with its names included. There is no UDP, and no DNS: the names of the
places are all that a box knows, and the forwarder looks them up for each connection.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from msgspec import Struct

from sandbox.containment import Containment, Endpoint, Level, Mechanism

MOST_PLACES = 256
"""For one function."""
_LOCALHOST = "localhost"
_NAMES_FROM = "127.1"
"""The names have addresses 127.1.0.1, 127.1.0.2 and so on, which services on a host rarely use."""
_NSSWITCH = b"passwd: files\ngroup: files\nhosts: files\nnetworks: files\nprotocols: files\nservices: files\n"
"""nsswitch.conf(5): a name that is not in /etc/hosts does not exist, and nothing waits for a name server."""


class Door(Struct, frozen=True):
    """Where a box has a place: connections to this address and port are forwarded to it."""

    address: str
    port: int
    to: Endpoint


def has_doors(containment: Containment) -> bool:
    """Whether a function reaches its places through doors of its box. Else its network is that of the server."""
    has_own_network = Mechanism.NETWORK_NAMESPACE not in containment.without
    return containment.level is Level.NAMESPACES and has_own_network and isinstance(containment.network, tuple)


def doors(endpoints: Iterable[Endpoint]) -> tuple[Door, ...]:
    """Where a box has each place. Of two at the same address there, such as localhost and 127.0.0.1, the first one."""
    every = tuple(endpoints)
    addresses = _addresses(every)
    found: dict[tuple[str, int], Door] = {}
    for one in every:
        door = Door(addresses[one.host], one.port, one)
        found.setdefault((door.address, door.port), door)
    return tuple(found.values())


def files(endpoints: Iterable[Endpoint], own_name: str) -> dict[str, bytes]:
    """The files of /etc by which a box finds the names of its places, its own name, and no others."""
    names = {host: address for host, address in _addresses(endpoints).items() if host not in (address, _LOCALHOST)}
    lines = [f"127.0.0.1 {_LOCALHOST} {own_name}", *(f"{names[host]} {host}" for host in names)]
    return {"hosts": "".join(f"{line}\n" for line in lines).encode(), "nsswitch.conf": _NSSWITCH}


def why_not(endpoint: Endpoint) -> str:
    """Why a place cannot be reached at all, or nothing."""
    address = _literal(endpoint.host)
    if address is None:
        return ""
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return f"{endpoint.host} names a network interface, and a box has none but its own: write another address"
    if address.is_multicast or address.is_unspecified or address == IPv4Address("255.255.255.255"):
        return f"{endpoint.host} is not the address of one machine: write that of the one to reach"
    return ""


def _addresses(endpoints: Iterable[Endpoint]) -> dict[str, str]:
    """The address of each host in a box."""
    found: dict[str, str] = {}
    names = 0
    for host in dict.fromkeys(one.host for one in endpoints):
        if (address := _literal(host)) is not None:
            found[host] = str(address)
        elif host == _LOCALHOST:
            found[host] = "127.0.0.1"
        else:
            found[host] = f"{_NAMES_FROM}.{names // 250}.{names % 250 + 1}"
            names += 1
    return found


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address that is written as such, else None."""
    try:
        return ip_address(host)
    except ValueError:
        return None
