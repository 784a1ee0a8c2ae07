"""Cron expressions, checked, with aliases replaced.

Five fields: minute, hour, day of month, month, day of week; with six, the first is the second. A field is `*`, a
number, a name (`MON`, `JAN`), a range `1-5`, a list `1,15`, a step `*/10`; a day of month may be `L` (the last) or `LW`
(the last weekday), a day of week `5#2` (the second Friday) or `5L` (the last Friday). 0 and 7 are Sunday.

If day of month and day of week are both restricted, either is enough; if one of them starts with `*`, both must match,
as in Debian's cron.
"""

from datetime import datetime

from cronsim import CronSim, CronSimError

from bus.hint import did_you_mean

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

CRON_FORM = (
    'write five fields, "minute hour day-of-month month day-of-week", such as "30 2 * * *" or "0 7 * * MON-FRI", '
    'six with seconds first, or an alias such as "@daily"'
)

_FIELDS = {
    "second": "0-59",
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31, L or LW",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7, SUN-SAT, 5#2 or 5L",
}
_ANY_TIME = datetime(2000, 1, 1)
"""Checking the text needs no zone."""


def parse_expression(text: str) -> str:
    """Return the expression in five or six fields. Raises ValueError, whose message does not repeat `text`."""
    alias = text.strip().lower()
    if alias.startswith("@"):
        if alias not in ALIASES:
            raise ValueError(f"is not a schedule: the aliases are {', '.join(ALIASES)}{did_you_mean(alias, ALIASES)}")
        return ALIASES[alias]
    fields = text.split()
    if len(fields) not in (5, 6):
        raise ValueError(f"is not a schedule, it has {len(fields)} field{'' if len(fields) == 1 else 's'}: {CRON_FORM}")
    try:
        CronSim(text, _ANY_TIME)
    except CronSimError as error:
        raise ValueError(_wrong_field(fields, str(error))) from None
    return " ".join(fields)


def keeps_the_hour(expression: str) -> bool:
    """Whether the expression names hours, so that a change of the clocks may skip or repeat a time."""
    return not expression.split()[-4].startswith("*")


def _wrong_field(fields: list[str], error: str) -> str:
    """Say which field is wrong, from the library's `Bad hour`."""
    name = error.removeprefix("Bad ")
    names = list(_FIELDS)[-len(fields) :]
    if name not in names:
        return f"is not a schedule ({error}): {CRON_FORM}"
    field = fields[names.index(name)]
    if name == "day-of-month" and _is_right(field):
        return f"never fires: none of its months has a day {field}"
    return (
        f"is not a schedule: its {name} is {field!r}; it may be *, */n, or numbers, ranges and lists of {_FIELDS[name]}"
    )


def _is_right(day_of_month: str) -> bool:
    """Whether any month has that day."""
    try:
        CronSim(f"0 0 {day_of_month} * *", _ANY_TIME)
    except CronSimError:
        return False
    return True
