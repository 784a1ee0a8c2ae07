"""Times as the database has them."""

from datetime import UTC, datetime


def text(time: datetime) -> str:
    """2026-11-25T10:00:00Z"""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def now() -> str:
    return text(datetime.now(UTC))
