"""Content codings (RFC 9110 §8.4): unpacks a body up to a limit, because `gzip` bombs exist."""

import zlib

DECODED_BYTES = 16 * 1024 * 1024
"""The limit for an unpacked body, unless its trigger sets a lower one."""

_PIECE_BYTES = 16 * 1024


class TooLarge(ValueError):
    """The unpacked body is over the limit."""


def unpack(body: bytes, header: str, limit_bytes: int) -> bytes:
    """The body without the codings of a Content-Encoding `header`, which are undone from last to first.

    x-gzip is gzip (RFC 9110 §8.4.1.3), identity is none. Raises TooLarge, or ValueError if the body does not match.
    """
    for listed in reversed(header.split(",")):
        name = listed.strip().lower().removeprefix("x-")
        try:
            if name == "gzip":
                body = _gunzip(body, limit_bytes)
            elif name == "deflate":
                body = _inflate(body, limit_bytes)
            elif name not in ("identity", ""):
                raise ValueError(f"its Content-Encoding {name:.40} is not supported")
        except zlib.error as error:
            raise ValueError(f"it is not {name}, as its Content-Encoding says: {error}") from None
    return body


def _gunzip(body: bytes, limit_bytes: int) -> bytes:
    """All members (RFC 1952 §2.2), one after another; zeros after the last one are padding."""
    out = _Bounded(limit_bytes)
    member = zlib.decompressobj(31)  # wbits 31: the gzip format
    for start in range(0, len(body), _PIECE_BYTES):
        piece = body[start : start + _PIECE_BYTES]
        while piece:
            if member.eof:
                piece = piece.lstrip(b"\0")
                member = zlib.decompressobj(31) if piece else member
                continue
            out.add(member.decompress(piece, out.room))
            out.check(member.unconsumed_tail)
            piece = member.unused_data
    if not member.eof:
        raise ValueError("it is cut short: the gzip stream does not end")
    return out.whole()


def _inflate(body: bytes, limit_bytes: int) -> bytes:
    """The zlib format (RFC 1950), or raw deflate (RFC 1951), which some senders call `deflate` (RFC 9110 §8.4.1.2)."""
    # The check of a zlib header, RFC 1950 §2.2.
    has_header = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    stream = zlib.decompressobj(15 if has_header else -15)
    out = _Bounded(limit_bytes)
    out.add(stream.decompress(body, out.room))
    out.check(stream.unconsumed_tail)
    if not stream.eof:
        raise ValueError("it is cut short: the deflate stream does not end")
    return out.whole()


class _Bounded:
    """The unpacked blocks so far."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._blocks: list[bytes] = []
        self.room = limit_bytes + 1
        """How much to unpack: one byte over the limit detects a body that is too large. 0 would mean no limit."""

    def add(self, block: bytes) -> None:
        self._blocks.append(block)
        self.room -= len(block)

    def check(self, unconsumed: bytes) -> None:
        if self.room <= 0 or unconsumed:
            raise TooLarge(f"it is over {self._limit_bytes} bytes when unpacked")

    def whole(self) -> bytes:
        return self._blocks[0] if len(self._blocks) == 1 else b"".join(self._blocks)
