"""A request whose head has been parsed, as its connection keeps it."""

from typing import Any

from msgspec import Struct

Message = Any
"""RawRequestMessage of aiohttp, which declares a named tuple; the class that its C parser makes is no tuple."""


class Request(Struct, frozen=True, gc=False):
    """`length` of the body is 0 for none, None if it is chunked."""

    message: Message
    length: int | None
