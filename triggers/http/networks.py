"""Which peers a setting names: networks, addresses, and those of a unix socket."""

from ipaddress import ip_network
from typing import ClassVar

UNIX = "unix"
"""Stands for whoever connects to a unix socket: it has no address, and its permissions say who may."""


class Network(str):
    """`10.0.0.0/8`, a single address, or `unix`."""

    __slots__ = ()
    example: ClassVar[str] = "10.0.0.0/8"

    @classmethod
    def parse(cls, text: str) -> "Network":
        """Raises ValueError."""
        if text != UNIX:
            try:
                ip_network(text)
            except ValueError as error:
                raise ValueError(f'is no network ({error}): write "10.0.0.0/8", an address, or "unix"') from None
        return cls(text)
