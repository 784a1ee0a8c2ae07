"""How a message's body is compressed, according to its publisher. Pure; the guest decompresses it.

AMQP 0-9-1 only defines `content_encoding` as the body's encoding. Most libraries write a charset (`utf-8`), some an
HTTP content coding, Spring both (`gzip:utf-8`). kombu, and therefore Celery, names the compression in a header.
"""

import re
from typing import Any

from msgspec import Struct

_GZIP = b"\x1f\x8b"
_CODINGS = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate", "zlib": "deflate"}
_OTHERS = frozenset(("br", "brotli", "bzip2", "x-bzip2", "compress", "x-compress", "lz4", "lzma", "snappy", "xz"))
_OTHERS |= {"zstd", "zstandard"}
_KOMBU = "compression"
_KOMBUS_ZLIB = frozenset(("application/x-gzip", "gzip", "zlib"))
"""kombu says gzip and writes the zlib format."""
_MOST = 4
"""Codings of one body. More is an attack, or not an encoding at all."""


class Packing(Struct, frozen=True):
    """`coding` is what the guest decodes, in the form of a Content-Encoding header."""

    coding: str | None = None
    is_opaque: bool = False
    """Whether the guest cannot decompress it, so that the body is neither text nor JSON, whatever its type."""


NOT_PACKED = Packing()
_CHARSETS = (None, "", "utf-8")
"""What almost all publishers write, and no coding."""


def packing(content_encoding: str | None, headers: dict[str, Any], body: bytes) -> Packing:
    """Find the codings of a body. Anything else in `content_encoding` is ignored."""
    if content_encoding in _CHARSETS and _KOMBU not in headers:
        return NOT_PACKED
    names = [name for name in re.split(r"[\s,:;]+", (content_encoding or "").lower()[:255]) if name]
    compressions = [name for name in names if name in _CODINGS or name in _OTHERS]
    compression = headers.get(_KOMBU)
    if isinstance(compression, str) and not compressions:
        if compression.lower() in _KOMBUS_ZLIB:
            return Packing("gzip" if body.startswith(_GZIP) else "deflate" if _is_zlib(body) else None)
        compressions = [compression.lower().rpartition("/")[2]]
    if len(compressions) > _MOST or any(name not in _CODINGS for name in compressions):
        return Packing(is_opaque=any(name in _OTHERS for name in compressions))
    return Packing(", ".join(_CODINGS[name] for name in compressions) or None)


def _is_zlib(body: bytes) -> bool:
    """RFC 1950 §2.2."""
    return len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
