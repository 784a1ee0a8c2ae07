"""The fields of a cron expression: what each may be, and what is likely meant by a wrong or surprising one. Pure."""

import re

WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_FULL_NAMES = {
    "day-of-week": ("SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "TUES", "THURS"),
    "month": (
        *("JANUARY", "FEBRUARY", "MARCH", "APRIL", "MAY", "JUNE", "JULY", "AUGUST", "SEPTEMBER", "OCTOBER"),
        *("NOVEMBER", "DECEMBER", "SEPT"),
    ),
}
FORMS = {
    "second": "0-59",
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31, L or LW",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7, SUN-SAT, 5#2 or 5L",
}
"""By the name of the field, in the order of six fields."""

_SIZES = {"second": (60, "s"), "minute": (60, "m"), "hour": (24, "h"), "day-of-month": (31, "d")}
"""How many values a field has, and the unit of its steps in a duration."""
_AROUND = {"second": "minute", "minute": "hour", "hour": "day", "day-of-month": "month"}
_RANGES = {"second": (0, 59), "minute": (0, 59), "hour": (0, 23), "day-of-month": (1, 31), "month": (1, 12)}
_STEP = re.compile(r"(\*|\d+)/(\d+)")


def names_of(fields: list[str]) -> list[str]:
    """Return the names of five or six fields."""
    return list(FORMS)[-len(fields) :]


def every(duration: str) -> str:
    """Return how to write an interval."""
    return f'for an interval, write timer = {{ every = "{duration}" }}'


def short_name(name: str, written: str) -> str | None:
    """Return `MON` for `Monday`, `mon` or `MONDAY` in the field `name`, or None."""
    shorts = WEEKDAYS if name == "day-of-week" else _MONTHS if name == "month" else ()
    upper = written.upper()
    return upper[:3] if upper in shorts or upper in _FULL_NAMES.get(name, ()) else None


def likely(name: str, field: str) -> str | None:
    """Return advice on a field that is no field of ours, or None."""
    if re.match(r"H(/|\(|$)", field):
        return 'H is for Jenkins only: write a number; jitter = "5m", say, spreads the load'
    if field.endswith(",") or field.startswith(","):
        return "a field has no spaces: write 1,15"
    if name == "day-of-month" and re.fullmatch(r"\d+W", field.upper()):
        return f"the weekday nearest to a day cannot be named: write {field[:-1]}"
    if name == "day-of-week" and re.fullmatch(r"L[A-Z]{3}|[A-Z]{3}L", field.upper()):
        return f"write {WEEKDAYS.index(field.upper().strip('L'))}L" if field.upper().strip("L") in WEEKDAYS else None
    return _named(name, field) or _around(name, field)


def too_large_step(name: str, field: str) -> str | None:
    """Return what is wrong with a step that is larger than the field, such as `*/90` for minutes, or None.

    cron takes it, but runs at the first value only, which nobody means who writes it.
    """
    found, size = _STEP.fullmatch(field), _SIZES.get(name)
    if found is None or size is None or int(found[2]) <= size[0]:
        return None
    first = found[1].replace("*", "1" if name == "day-of-month" else "0")
    means = f"in cron, the {name} {field!r} is {name} {first} of every {_AROUND[name]}, and no other"
    return f"{means}: {every(found[2] + size[1])}"


def uneven_step(name: str, field: str) -> str | None:
    """Return a warning about a step such as `*/7` for minutes, after which the last interval is shorter, or None.

    Not for days: an interval of days could not say at what time it runs.
    """
    found, size = _STEP.fullmatch(field), _SIZES.get(name)
    if found is None or size is None or found[1] != "*" or name == "day-of-month":
        return None
    step, (count, unit) = int(found[2]), size
    if count % step == 0 or step > count:
        return None
    last = (count - 1) // step * step
    return (
        f"starts again at {name} 0 of every {_AROUND[name]}, {count - last}{unit} after {name} {last}, "
        f'as {field} does in cron; every = "{step}{unit}" is always {step}{unit}'
    )


def _named(name: str, field: str) -> str | None:
    """`Monday`, `MON..FRI`, `January-March`."""
    parts = re.split(r"(\.\.|-|,)", field)
    names = [short_name(name, part) for part in parts[::2]]
    if not all(names):
        return None
    parts[::2] = map(str, names)
    written = "".join(parts).replace("..", "-")
    return f"write {written}" if written != field.upper() else _around(name, written)


def _around(name: str, field: str) -> str | None:
    """A range that goes past the end of its field: `22-6` is `22-23,0-6`."""
    ends = re.fullmatch(r"(\w+)-(\w+)", field)
    if ends is None:
        return None
    if name == "day-of-week":
        first, last = (_weekday_number(end) for end in ends.groups())
        low, high = 0, 6
    else:
        low, high = _RANGES[name]
        first, last = (_number(name, end) for end in ends.groups())
    if first is None or last is None or not low <= last < first <= high:
        return None
    names = WEEKDAYS if name == "day-of-week" and not ends[1].isdecimal() else None
    pieces = (_range(first, high, names), _range(low, last, names))
    return f"write {','.join(pieces)}"


def _range(first: int, last: int, names: tuple[str, ...] | None) -> str:
    ends = dict.fromkeys((first, last))
    return "-".join(names[end] if names else str(end) for end in ends)


def _weekday_number(written: str) -> int | None:
    if written.isdecimal():
        return int(written) % 7 if int(written) <= 7 else None
    return WEEKDAYS.index(written.upper()) if written.upper() in WEEKDAYS else None


def _number(name: str, written: str) -> int | None:
    if name == "month" and written.upper() in _MONTHS:
        return _MONTHS.index(written.upper()) + 1
    return int(written) if written.isdecimal() else None
