"""Time zones by their IANA names, with an error that names the closest one."""

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from bus.hint import closest


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
    near = cities[0] if cities else closest(wanted, known)
    return f" (did you mean {known[near]!r}?)" if near is not None else ""
