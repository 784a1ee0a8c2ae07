"""Text from bytes by the charset a sender named."""

import codecs

# Codecs that Python has for its own purposes: no sender means them, and some of them are slow on purpose-made input.
_NOT_CHARSETS = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"})


def decode_text(body: bytes, charset: str | None) -> str:
    """UTF-8 if no charset is named. Raises ValueError for bytes that are not in it, LookupError for an unknown one."""
    charset = charset or "utf-8"
    if codecs.lookup(charset).name in _NOT_CHARSETS:
        raise LookupError(f"unknown encoding: {charset}")
    return body.decode(charset)
