"""Time zones by their IANA names, with an error that names the zone that was meant."""

import re
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from bus.hint import closest

_ABBREVIATIONS = {
    **dict.fromkeys(("CEST", "MEZ", "MESZ"), "Europe/Berlin"),
    **dict.fromkeys(("PST", "PDT", "PT"), "America/Los_Angeles"),
    **dict.fromkeys(("EDT", "ET"), "America/New_York"),
    **dict.fromkeys(("CST", "CDT", "CT"), "America/Chicago"),
    **dict.fromkeys(("MDT", "MT"), "America/Denver"),
    **dict.fromkeys(("AEST", "AEDT"), "Australia/Sydney"),
    **dict.fromkeys(("Z", "ZULU", "UTC0"), "UTC"),
    "BST": "Europe/London",
    "EEST": "Europe/Athens",
    "IST": "Asia/Kolkata",
    "JST": "Asia/Tokyo",
    "KST": "Asia/Seoul",
    "MSK": "Europe/Moscow",
    "WEST": "Europe/Lisbon",
}
"""The zone that an abbreviation which is no zone most likely means; several mean more than one."""
_OFFSET = re.compile(r"(?:UTC|GMT)?\s*([+-])\s*(\d{1,2})(?::?(\d\d))?", re.IGNORECASE)
_OF_THE_MACHINE = {"local", "localtime", "system", "posixrules", "Factory"}
"""Names for the machine's zone, and two files of the database that are no zones."""


def zone(name: str) -> tzinfo:
    """Return the zone called `name`. Raises ValueError, which says what to write instead if that is clear."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"the time zone {name!r} is unknown: {_advice(name)}") from None


def _advice(name: str) -> str:
    if offset := _OFFSET.fullmatch(name.strip()):
        return f"it is an offset, and those of most places change with summer time: {_instead_of(offset)}"
    if name.lower() in _OF_THE_MACHINE:
        return "write that of the machine by its name, such as 'Europe/Berlin', so that it means the same anywhere"
    return f"write a name such as 'Europe/Berlin'{_did_you_mean(name)}"


def _instead_of(offset: re.Match[str]) -> str:
    """The sign of the names in Etc is that of POSIX: Etc/GMT-2 is two hours ahead of UTC."""
    sign, hours, minutes = offset.groups()
    turned = "-" if sign == "+" else "+"
    fixed = f"Etc/GMT{turned}{int(hours)}"
    if int(hours) == 0 and not int(minutes or 0):
        return "write 'UTC'"
    if int(minutes or 0) or fixed not in available_timezones():
        return "write a name such as 'Europe/Berlin'"
    return f"write a name such as 'Europe/Berlin', or {fixed!r} for always UTC{sign}{int(hours)} (its sign is turned)"


def _did_you_mean(name: str) -> str:
    """Suggest a zone for an abbreviation, another case, a city alone, or a misspelt name."""
    found = _ABBREVIATIONS.get(name.strip().upper()) or _similar(name)
    return f" (did you mean {found!r}?)" if found is not None else ""


def _similar(name: str) -> str | None:
    known = {each.lower(): each for each in sorted(available_timezones() - _OF_THE_MACHINE)}
    wanted = name.strip().lower().replace(" ", "_")
    cities = [each for each in known if each.endswith("/" + wanted)]
    near = wanted if wanted in known else cities[0] if cities else closest(wanted, known)
    return None if near is None else known[near]
