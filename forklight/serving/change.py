"""A change of the configuration while the server runs: what it cannot change, and how its result is reported."""

from collections.abc import Iterable, Iterator, Sequence, Set

from msgspec import Struct
from msgspec.structs import replace

from dispatcher.change import NotLoaded
from forklight.code.interpreter import Interpreter
from forklight.config.configuration import Config
from forklight.config.document import Node, read_document
from forklight.config.problem import ConfigError, Problem
from sandbox.errors import LoadFailed

FIXED = ("http", "bus", "brokers", "queues", "admin", "log", "machine")
"""Tables that are only read at the start: listeners, stores and the user. Of `[machine]` these are only the users."""


_MOST_NAMES = 5


class Failure(Struct, frozen=True, kw_only=True):
    """A function whose new version does not load."""

    function: str
    code: str
    message: str
    traceback: str = ""


class ReloadResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The result of a reload. Unless `ok`, nothing has changed, and `problems`, `failures` or `error` say why."""

    ok: bool
    changed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    """Functions that were not renewed although their code has changed: they do not use what has."""
    because: dict[str, str] = {}
    """Why functions were renewed."""
    warnings: tuple[Problem, ...] = ()
    problems: tuple[Problem, ...] = ()
    """Mistakes in the configuration or the code."""
    failures: tuple[Failure, ...] = ()
    error: str = ""

    @property
    def is_quiet(self) -> bool:
        """Whether no function's code or configuration changed, and there is no warning."""
        return self.ok and not (self.changed or self.added or self.removed or self.kept or self.warnings)


def require_no_restart(old: Config, new: Config, interpreters: Iterable[Interpreter]) -> None:
    """Raise ConfigError with the place of each table that cannot change while the server runs.

    `interpreters` are those that it has used so far.
    """
    problems = list(_restart_problems(old, new, {one.cache_tag for one in interpreters}))
    if problems:
        raise ConfigError(problems)


def _restart_problems(old: Config, new: Config, known: Set[str]) -> Iterator[Problem]:
    has_tables = new.path.suffix != ".py" and new.path.exists()
    root = read_document(new.path) if has_tables else Node({}, str(new.path))
    before, after = _fixed(old), _fixed(new)
    for table in FIXED:
        if before[table] != after[table]:
            yield root.at(table).problem(f"{_what(table, old, new)} changed: that needs a restart")
    for name, interpreter in new.interpreters.items():
        if interpreter.cache_tag not in known:
            place = root.at("runtimes").at(name).at("python")
            was = f"no runtime had Python {interpreter.version} when the server was started"
            yield place.problem(f"{was}, and its own code is not compiled for that: it needs a restart")


def _what(table: str, old: Config, new: Config) -> str:
    if table != "machine":
        return f"[{table}] has"
    before, after = old.settings.machine, new.settings.machine
    changed = [name for name in ("user", "uids") if getattr(before, name) != getattr(after, name)]
    return f"{' and '.join(changed)} of [machine] {'has' if changed == ['user'] else 'have'}"


def _fixed(config: Config) -> dict[str, object]:
    """The tables that cannot change. Folders of static files can: they are only part of the routes."""
    http = replace(config.settings.http, static=())
    fixed = {table: getattr(config.settings, table) for table in FIXED}
    return fixed | {"http": http, "machine": (config.settings.machine.user, config.settings.machine.uids)}


def failed(error: Exception) -> ReloadResult:
    """Return the result of a reload that failed with this error."""
    if isinstance(error, ConfigError):
        return ReloadResult(ok=False, problems=error.problems)
    if isinstance(error, NotLoaded):
        return ReloadResult(ok=False, failures=failures(error))
    return ReloadResult(ok=False, error=str(error))


def failures(error: NotLoaded) -> tuple[Failure, ...]:
    """The failures of the functions that do not load."""
    return tuple(
        Failure(function=name, code=one.code, message=one.message, traceback=one.traceback)
        if isinstance(one, LoadFailed)
        else Failure(function=name, code="StartFailed", message=str(one))
        for name, one in error.errors.items()
    )


def lines(result: ReloadResult) -> list[str]:
    """Lines for a terminal: what changed, or everything that is wrong."""
    if not result.ok:
        found = [*map(str, result.problems), *([result.error] if result.error else [])]
        for failure in result.failures:
            found.append(f"{failure.function}: load/{failure.code}: {failure.message}")
            found += failure.traceback.rstrip("\n").splitlines()
        return found
    parts = [
        f"{some_of(names)} {what}"
        for names, what in ((result.changed, "changed"), (result.added, "added"), (result.removed, "removed"))
        if names
    ]
    if result.kept:
        parts.append(f"{_kept(result.kept) if parts else 'no function uses'} what changed")
    return [
        *(f"warning: {warning}" for warning in result.warnings),
        f"reloaded: {'; '.join(parts) or 'no function changed'}",
    ]


def some_of(names: Sequence[str], most: int = 20) -> str:
    """Return the names in one line, of too many the first ones and how many more there are."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def _kept(names: tuple[str, ...]) -> str:
    if len(names) == 1:
        return f"{names[0]} does not use"
    return f"{', '.join(names) if len(names) <= _MOST_NAMES else f'{len(names)} others'} do not use"


def one_line(result: ReloadResult) -> str:
    """Why nothing changed, in ASCII for a header."""
    first = next((line for line in lines(result) if line.strip()), "").encode("ascii", "backslashreplace").decode()
    return "".join(char if char.isprintable() else " " for char in first[:500]).strip()
