"""A request whose head has been parsed, as its connection keeps it."""

from typing import Any

from msgspec import Struct

from triggers.http.head import Head

Message = Any
"""RawRequestMessage of aiohttp, which declares a named tuple; the class that its C parser makes is no tuple."""


class Request(Struct, gc=False):
    """`length` of the body is 0 for none, None if it is chunked. `stays_open`: the client may send another request."""

    message: Message
    length: int | None
    method: str = "GET"
    goes_on: str = ""
    """The header line that tells the client that the connection stays open, if its version needs one."""
    stays_open: bool = False
    head: Head | None = None
    """What the server made of the message. A later request with the same head may be this object again."""
    known: Any = None
    """What else the server keeps for such a request, which `is_repeated`."""
    is_repeated: bool = False
