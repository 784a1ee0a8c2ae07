"""Range and conditional requests (RFC 9110 §13 and §14). Pure.

A request for one range gets it; a request for several gets the whole file, which every client must accept (§14.2).
"""

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal

from msgspec import Struct

from bus.event import Headers

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)
_TAG = re.compile(r'(W/)?("[^"]*")')


class ContentRange(Struct, frozen=True):
    """`size_bytes` from `start`."""

    start: int
    size_bytes: int

    def header(self, whole_bytes: int) -> str:
        """`bytes 0-9/100`."""
        return f"bytes {self.start}-{self.start + self.size_bytes - 1}/{whole_bytes}"


def choose_range(
    headers: Headers, size_bytes: int, etag: str, modified: str
) -> ContentRange | Literal["whole", "unsatisfiable"]:
    """Choose what to send of a file. `modified` is its Last-Modified, for If-Range (§13.1.5)."""
    match = _RANGE.fullmatch(headers.get("range", "").replace(" ", ""))
    if match is None or not (match[1] or match[2]):
        return "whole"
    if headers.get("if-range", etag) not in (etag, modified):
        return "whole"
    if not match[1]:
        start, end = max(0, size_bytes - int(match[2])), size_bytes
    else:
        start, end = int(match[1]), min(size_bytes, int(match[2]) + 1 if match[2] else size_bytes)
        if match[2] and int(match[2]) < start:
            return "whole"
    return ContentRange(start, end - start) if start < end else "unsatisfiable"


def precondition_failed(headers: Headers, etag: str, modified_s: int) -> bool:
    """Whether to answer 412, by If-Match or, without it, If-Unmodified-Since (RFC 9110 §13.2.2)."""
    tags = headers.get("if-match")
    if tags is not None:
        # This comparison is strong: a weak tag matches nothing (§8.8.3.2).
        return tags.strip() != "*" and ("", etag) not in _TAG.findall(tags)
    unmodified_s = _seconds(headers["if-unmodified-since"]) if "if-unmodified-since" in headers else None
    return unmodified_s is not None and modified_s > unmodified_s


def is_not_modified(headers: Headers, etag: str, modified_s: int) -> bool:
    """Whether to answer 304, by If-None-Match or, without it, If-Modified-Since (§13.2.2)."""
    tags = headers.get("if-none-match")
    if tags is not None:
        return tags.strip() == "*" or any(etag == tag for _, tag in _TAG.findall(tags))
    since_s = _seconds(headers["if-modified-since"]) if "if-modified-since" in headers else None
    return since_s is not None and modified_s <= since_s


def _seconds(date: str) -> float | None:
    """Return the Unix time; None for an invalid date, whose condition is ignored (RFC 9110 §13.1.3, §13.1.4)."""
    try:
        parsed = parsedate_to_datetime(date)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
