"""Times as text (RFC 3339)."""

from datetime import UTC, datetime
from time import gmtime


def rfc3339(at: datetime) -> str:
    """The time with its own offset, UTC as `Z`. A time without an offset is in UTC."""
    aware = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return aware.isoformat().replace("+00:00", "Z")


def rfc3339_now() -> str:
    """Now, in UTC with microseconds."""
    return rfc3339(datetime.now(UTC))


def rfc3339_second(second: int) -> str:
    """`2026-11-23T19:06:00`: a Unix time in UTC, to which the caller adds a fraction and `Z`."""
    at = gmtime(second)
    return f"{at.tm_year:04}-{at.tm_mon:02}-{at.tm_mday:02}T{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"


def has_offset(text: str) -> bool:
    """Whether the text is a time with an offset. Forms that only ISO 8601 knows pass too."""
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
