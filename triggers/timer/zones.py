"""Time zones by their IANA names, with an error that names the closest one."""

from datetime import UTC, tzinfo
from difflib import get_close_matches
from zoneinfo import ZoneInfo, available_timezones


def zone(name: str) -> tzinfo:
    """Return the zone called `name`. Raises ValueError, with a suggestion if there is a similar name."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"the time zone {name!r} is unknown: write a name such as 'Europe/Berlin'{_did_you_mean(name)}"
        ) from None


def _did_you_mean(name: str) -> str:
    """Suggest a zone for a misspelt name, a city alone, or another case."""
    known = {each.lower(): each for each in sorted(available_timezones())}
    wanted = name.lower().replace(" ", "_")
    cities = [each for each in known if each.endswith("/" + wanted)]
    close = cities or get_close_matches(wanted, known, n=1)
    return f" (did you mean {known[close[0]]!r}?)" if close else ""
