"""A change of the configuration while the server runs: what it cannot change, and how it is told what became of it."""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from dispatcher.change import NotLoaded
from forklight.config.configuration import Config
from forklight.config.document import Node, read_document
from forklight.config.problem import ConfigError, Problem
from sandbox.errors import LoadFailed

FIXED = ("http", "bus", "brokers", "admin", "machine")
"""Tables that are read once, at the start: listeners, stores and the user."""


class Failure(Struct, frozen=True, kw_only=True):
    """A function whose new version does not load."""

    function: str
    code: str
    message: str
    traceback: str = ""


class Told(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a reload. Unless `ok`, nothing was switched, and `problems`, `failures` or `error` say why."""

    ok: bool
    changed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    warnings: tuple[Problem, ...] = ()
    problems: tuple[Problem, ...] = ()
    """of the configuration and the code: used wrongly"""
    failures: tuple[Failure, ...] = ()
    error: str = ""

    @property
    def is_quiet(self) -> bool:
        """Whether no function was touched, and there is nothing to complain of."""
        return self.ok and not (self.changed or self.added or self.removed or self.warnings)


def require_no_restart(old: Config, new: Config) -> None:
    """Raise ConfigError, with the place of each table that differs and cannot while the server runs."""
    problems = list(_restart_problems(old, new))
    if problems:
        raise ConfigError(problems)


def _restart_problems(old: Config, new: Config) -> Iterator[Problem]:
    root = Node({}, str(new.path)) if new.path.suffix == ".py" else read_document(new.path)
    before, after = _fixed(old), _fixed(new)
    for table in FIXED:
        if before[table] != after[table]:
            yield root.at(table).problem(f"[{table}] has changed: that needs a restart")
    known = {interpreter.cache_tag for interpreter in old.interpreters.values()}
    for name, interpreter in new.interpreters.items():
        if interpreter != old.interpreters.get(name, interpreter) or interpreter.cache_tag not in known:
            place = root.at("runtimes").at(name).at("python")
            yield place.problem("the server has not begun with this interpreter: that needs a restart")


def _fixed(config: Config) -> dict[str, object]:
    """What each of these tables says that cannot change; folders of files are only part of the table of routes."""
    http = replace(config.settings.http, static=())
    return {table: getattr(config.settings, table) for table in FIXED} | {"http": http}


def failed(error: Exception) -> Told:
    """Why nothing was switched."""
    if isinstance(error, ConfigError):
        return Told(ok=False, problems=error.problems)
    if isinstance(error, NotLoaded):
        return Told(ok=False, failures=failures(error))
    return Told(ok=False, error=str(error))


def failures(error: NotLoaded) -> tuple[Failure, ...]:
    """Of each function that does not load."""
    return tuple(
        Failure(function=name, code=one.code, message=one.message, traceback=one.traceback)
        if isinstance(one, LoadFailed)
        else Failure(function=name, code="StartFailed", message=str(one))
        for name, one in error.errors.items()
    )


def lines(told: Told) -> list[str]:
    """For a terminal: what was switched, or everything that is wrong."""
    if not told.ok:
        found = [*map(str, told.problems), *([told.error] if told.error else [])]
        for failure in told.failures:
            found.append(f"{failure.function}: load/{failure.code}: {failure.message}")
            found += failure.traceback.rstrip("\n").splitlines()
        return found
    parts = [
        f"{', '.join(names)} {what}"
        for names, what in ((told.changed, "changed"), (told.added, "added"), (told.removed, "removed"))
        if names
    ]
    return [
        *(f"warning: {warning}" for warning in told.warnings),
        f"reloaded: {'; '.join(parts) or 'no function changed'}",
    ]


def one_line(told: Told) -> str:
    """Why nothing was switched, in ASCII fit for a header."""
    first = next((line for line in lines(told) if line.strip()), "").encode("ascii", "backslashreplace").decode()
    return "".join(char if char.isprintable() else " " for char in first[:500]).strip()
