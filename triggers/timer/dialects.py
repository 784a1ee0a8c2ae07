"""What schedules look like in other schedulers, and how a timer says the same here. Pure, for messages only.

Each reader takes a text that is no cron expression of ours and returns advice, or None if the text is not in its
notation. A cron expression in advice is one that `parse_expression` accepts, or the advice does not name one.
"""

import ast
import re
from collections.abc import Callable

from triggers.timer.fields import WEEKDAYS, every, short_name

_UNITS = {"second": "s", "sec": "s", "minute": "m", "min": "m", "hour": "h", "hr": "h", "day": "d"}
_UNIT = r"(seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d|weeks?|w)"
_PHRASE = re.compile(rf"(?:@?every\s+|rate\(\s*)?(?:an?\s+)?(\d*)\s*{_UNIT}\s*\)?")
_GO_DURATION = re.compile(r"(?:@every\s+|every\s+)?((?:\d+(?:ms|[dhms])){2,}|\d+ms)")
_ZONE = re.compile(r"[A-Za-z_]+/[A-Za-z_/+-]+[A-Za-z0-9]*|UTC|GMT")
_ASSIGNED_ZONE = re.compile(r"(?:CRON_)?TZ=(\S*)\s+(.+)")
_IN_PARENTHESES = re.compile(r"(cron|at)\((.*)\)", re.IGNORECASE)
_WORDS = {
    "minutely": "* * * * *",
    "quarterly": "0 0 1 1,4,7,10 *",
    "semiannually": "0 0 1 1,7 *",
    **{name: f"@{name}" for name in ("hourly", "daily", "midnight", "weekly", "monthly", "yearly", "annually")},
}
_CALENDAR = re.compile(
    r"(?:(?:every day|every|daily|at)\s+)*"
    r"(?P<days>(?:[a-z]{3,9})(?:(?:\.\.|-|,)[a-z]{3,9})*)?\s*"
    r"(?:(?P<year>\*|\d{4})-(?P<month>\*|\d\d?)-(?P<day>\*|\d\d?))?\s*(?:at\s+)?"
    r"(?:(?P<hour>\*|\d\d?)(?P<hours>/\d\d?)?:(?P<minute>\*|\d\d?)(?P<minutes>/\d\d?)?(?::0?0)?)?"
)
_FIELDS_OF_CELERY = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")

Valid = Callable[[str], bool]
"""Whether a text is a cron expression of ours."""


def advice(text: str, is_valid: Valid) -> str | None:
    """Return how to write the schedule that `text` means in another notation, or None."""
    text = text.strip()
    readers = (_interval, _zoned, _aws, _celery, _word, _with_question_mark, _with_year, _calendar, _crontab, _padded)
    return next((found for reader in readers if (found := reader(text, is_valid)) is not None), None)


def _interval(text: str, _: Valid) -> str | None:
    """`@every 5m`, `every 5 minutes`, `rate(5 minutes)`, `every hour`, `90 min`, `1h30m`, `30`."""
    lowered = text.lower()
    if text.isdecimal():
        return f'for an interval, write its unit: timer = {{ every = "{text}s" }}, say'
    if found := _GO_DURATION.fullmatch(lowered):
        return (
            'the shortest interval is "1s"' if found[1].endswith("ms") and "s" not in found[1][:-2] else every(found[1])
        )
    found = _PHRASE.fullmatch(lowered)
    if found is None or not (found[1] or lowered.startswith(("every", "@every", "rate("))):
        return None
    number, unit = int(found[1] or 1), found[2].removesuffix("s") or "s"
    if unit in ("week", "w"):
        return every(f"{number * 7}d")
    return every(f"{number}{_UNITS.get(unit, unit)}")


def _zoned(text: str, is_valid: Valid) -> str | None:
    """`TZ=Europe/Berlin 0 3 * * *`, `CRON_TZ=…`, and a zone at the end."""
    if found := _ASSIGNED_ZONE.fullmatch(text):
        zone, rest = found.groups()
    else:
        rest, _, zone = text.rpartition(" ")
        if not _ZONE.fullmatch(zone) or not rest:
            return None
    rest = rest if is_valid(rest) else _converted(rest, is_valid) or rest
    return f'the time zone is a key of its own: write timer = {{ schedule = "{rest}", timezone = "{zone}" }}'


def _converted(text: str, is_valid: Valid) -> str | None:
    """The expression that the advice on `text` proposes, if it proposes one."""
    found = re.search(r'write "([^"]+)"', advice(text, is_valid) or "")
    return found[1] if found else None


def _aws(text: str, is_valid: Valid) -> str | None:
    """`cron(0 12 * * ? *)` of EventBridge, whose last field is the year, and `at(2026-12-24T18:00:00)`."""
    found = _IN_PARENTHESES.fullmatch(text)
    if found is None:
        return None
    if found[1].lower() == "at":
        return f'for a single time, write timer = {{ at = "{found[2]}" }}'
    fields = found[2].split()
    if len(fields) == 6:
        return _from_quartz(fields[:5], fields[5], is_valid)
    return _proposal(found[2], is_valid) or "write the five fields without cron(…)"


def _with_question_mark(text: str, is_valid: Valid) -> str | None:
    """`0 0 12 * * ?` of Quartz, with seconds first; `0 12 * * ? *` as in EventBridge; `0 3 ? * MON`."""
    fields = text.split()
    if "?" not in fields or len(fields) not in (5, 6, 7):
        return None
    if len(fields) == 5:
        return _proposal(" ".join(_starred(fields)), is_valid, "? is written *: ")
    if len(fields) == 6 and "?" in (fields[2], fields[4]):
        return _from_quartz(fields[:5], fields[5], is_valid)
    return _from_quartz(fields[:6], fields[6] if len(fields) == 7 else "*", is_valid)


def _with_year(text: str, is_valid: Valid) -> str | None:
    """Seven fields: the last is the year. Not if the first five are the line of a crontab with a command."""
    fields = text.split()
    if len(fields) != 7 or not re.fullmatch(r"\*|\d{4}([-,/]\d+)*", fields[6]):
        return None
    return _from_quartz(fields[:6], fields[6], is_valid)


def _from_quartz(fields: list[str], year: str, is_valid: Valid) -> str | None:
    """Five or six fields in which 1 is Sunday and `?` means `*`."""
    days = re.sub(r"(?<![#\d/])[1-7](?![\d])", lambda day: WEEKDAYS[int(day[0]) - 1], fields[-1])
    starred = _starred([*fields[:-1], days])
    if len(starred) == 6 and starred[0] == "0":
        starred = starred[1:]
    years = "there is no field for the year: " if year not in ("*", "?") else ""
    return _proposal(" ".join(starred), is_valid, years or "neither ? nor a year is needed: ")


def _starred(fields: list[str]) -> list[str]:
    return [field.replace("?", "*").replace("1/1", "*") for field in fields]


def _proposal(expression: str, is_valid: Valid, why: str = "") -> str | None:
    return f'{why}write "{expression}"' if is_valid(expression) else None


def _celery(text: str, is_valid: Valid) -> str | None:
    """`crontab(minute=0, hour="2")` of Celery."""
    if not text.startswith("crontab("):
        return None
    try:
        call = ast.parse(text, mode="eval").body
        assert isinstance(call, ast.Call)
        values = [ast.literal_eval(one) for one in call.args]
        given = dict(zip(("minute", "hour", "day_of_week", "day_of_month", "month_of_year"), values, strict=False))
        given |= {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
    except (SyntaxError, ValueError, TypeError, AssertionError, MemoryError, RecursionError):
        given = {}
    expression = " ".join(str(given.get(name, "*")).replace(" ", "") for name in _FIELDS_OF_CELERY)
    return _proposal(expression, is_valid) if given else 'write its five fields, such as "30 2 * * *"'


def _word(text: str, _: Valid) -> str | None:
    """`daily`, as systemd has it, and what has no schedule."""
    if text.lower() in ("@reboot", "reboot", "@startup"):
        return "a timer knows no start of the machine: run forklight invoke NAME in a systemd unit"
    return f'write "{_WORDS[text.lower()]}"' if text.lower() in _WORDS else None


def _calendar(text: str, is_valid: Valid) -> str | None:
    """`Mon..Fri 09:00`, `*-*-01 04:00` and `*:0/15` of systemd; `03:00`, `every day at 10:30`, `monday 9:00`."""
    found = _CALENDAR.fullmatch(text.lower())
    if found is None or not (found["year"] or found["hour"] or found["days"]):
        return None
    days = _days(found["days"])
    if days is None or found["year"] not in ("*", None):
        return None
    hour, minute = (_number(found[name], found[f"{name}s"]) for name in ("hour", "minute"))
    month, day = (_number(found[name], None, "*") for name in ("month", "day"))
    return _proposal(f"{minute} {hour} {day} {month} {days}", is_valid)


def _days(written: str | None) -> str | None:
    """`MON-FRI` for `mon..fri`, `*` for nothing, None for what is no day."""
    if written is None:
        return "*"
    parts = re.split(r"(\.\.|-|,)", written)
    names = [
        short_name("day-of-week", part) if index % 2 == 0 else part.replace("..", "-")
        for index, part in enumerate(parts)
    ]
    return "".join(name for name in names if name) if all(names) else None


def _number(written: str | None, step: str | None, default: str = "0") -> str:
    if written in (None, "*"):
        return "*" + (step or "") if written else default
    number = str(int(written or 0))
    return f"*{step}" if step and number == "0" else f"{number}{step or ''}"


def _crontab(text: str, is_valid: Valid) -> str | None:
    """A line of a crontab, with its command."""
    fields = text.split()
    schedule = " ".join(fields[:5])
    if len(fields) < 6 or not is_valid(schedule) or not re.search(r"[A-Za-z]{2}", " ".join(fields[5:])):
        return None
    return f'write "{schedule}" alone: what runs is the handler'


def _padded(text: str, is_valid: Valid) -> str | None:
    """Fewer than five fields: the last ones may be missing."""
    fields = text.split()
    if not 0 < len(fields) < 5:
        return None
    padded = " ".join([*fields, *("*" for _ in range(5 - len(fields)))])
    return f'did you mean "{padded}"?' if is_valid(padded) else None
