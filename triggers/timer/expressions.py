"""Cron expressions, checked, with aliases replaced.

Five fields: minute, hour, day of month, month, day of week; with six, the first is the second. A field is `*`, a
number, a name (`MON`, `JAN`), a range `1-5`, a list `1,15`, a step `*/10`; a day of month may be `L` (the last) or `LW`
(the last weekday), a day of week `5#2` (the second Friday) or `5L` (the last Friday). 0 and 7 are Sunday.

A step that is larger than its field, such as `*/90` for minutes, is refused: it would run at the first value only.

If day of month and day of week are both restricted, either is enough; if one of them starts with `*`, both must match,
as in Debian's cron.
"""

from datetime import datetime

from cronsim import CronSim, CronSimError

from bus.hint import did_you_mean
from triggers.timer import dialects, fields

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

_ANY_TIME = datetime(2000, 1, 1)
"""Checking the text needs no zone."""


def parse_expression(text: str) -> str:
    """Return the expression in five or six fields. Raises ValueError, whose message does not repeat `text`.

    A schedule in the notation of another scheduler is refused with how to write it here.
    """
    try:
        return _parsed(text)
    except ValueError as error:
        meant = dialects.advice(text, _is_valid)
        raise ValueError(f"is not a schedule: {meant}" if meant else str(error)) from None


def keeps_the_hour(expression: str) -> bool:
    """Whether the expression names hours, so that a change of the clocks may skip or repeat a time."""
    return not expression.split()[-4].startswith("*")


def uneven_steps(expression: str) -> list[str]:
    """Return a warning for each step whose last interval is shorter, each the end of a sentence about the timer."""
    given = expression.split()
    found = (fields.uneven_step(name, field) for name, field in zip(fields.names_of(given), given, strict=True))
    return [warning for warning in found if warning]


def _is_valid(text: str) -> bool:
    try:
        _parsed(text)
    except ValueError:
        return False
    return True


def _parsed(text: str) -> str:
    """Raises ValueError, which does not look for other notations."""
    alias, given = text.strip().lower(), text.split()
    if alias in ALIASES:
        return ALIASES[alias]
    if alias.startswith("@") or len(given) not in (5, 6):
        raise ValueError(_no_fields(alias, given))
    _require_right(text, given)
    return " ".join(given)


def _no_fields(alias: str, given: list[str]) -> str:
    """Say what is wrong with a text that is neither five nor six fields."""
    if alias.startswith("@"):
        return f"is not a schedule: the aliases are {', '.join(ALIASES)}{did_you_mean(alias, ALIASES)}"
    return f"is not a schedule, it has {len(given)} field{'' if len(given) == 1 else 's'}: {CRON_FORM}"


def _require_right(text: str, given: list[str]) -> None:
    """Raises ValueError."""
    try:
        CronSim(text, _ANY_TIME)
    except CronSimError as error:
        raise ValueError(_wrong_field(given, str(error))) from None
    for name, field in zip(fields.names_of(given), given, strict=True):
        if wrong := fields.too_large_step(name, field):
            raise ValueError(f"does not mean an interval: {wrong}")


def _wrong_field(given: list[str], error: str) -> str:
    """Say which field is wrong, from the library's `Bad hour`."""
    name = error.removeprefix("Bad ")
    names = fields.names_of(given)
    if name not in names:
        return f"is not a schedule ({error}): {CRON_FORM}"
    field = given[names.index(name)]
    if name == "day-of-month" and _is_right(field):
        return f"never fires: none of its months has a day {field}"
    meant = fields.likely(name, field) or f"it may be *, */n, or numbers, ranges and lists of {fields.FORMS[name]}"
    return f"is not a schedule: its {name} is {field!r}; {meant}"


def _is_right(day_of_month: str) -> bool:
    """Whether any month has that day."""
    try:
        CronSim(f"0 0 {day_of_month} * *", _ANY_TIME)
    except CronSimError:
        return False
    return True
