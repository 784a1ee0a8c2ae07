"""A change of the configuration while the server runs: what it cannot change, and what its failures are."""

from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from dispatcher.change import NotLoaded
from forklight.code.snapshots import as_written
from forklight.config.configuration import Config
from forklight.config.document import Node, read_document
from forklight.config.problem import ConfigError, Problem
from forklight.serving.reloaded import Failure, ReloadResult
from sandbox.errors import LoadFailed

FIXED = ("http", "bus", "brokers", "queues", "admin", "log", "machine")
"""Tables that are only read at the start: listeners, stores and the user. Of `[machine]` these are only the users."""


def require_no_restart(old: Config, new: Config) -> None:
    """Raise ConfigError with the place of each table that cannot change while the server runs."""
    problems = list(_restart_problems(old, new))
    if problems:
        raise ConfigError(problems)


def _restart_problems(old: Config, new: Config) -> Iterator[Problem]:
    has_tables = new.path.suffix != ".py" and new.path.exists()
    root = read_document(new.path) if has_tables else Node({}, str(new.path))
    before, after = _fixed(old), _fixed(new)
    for table in FIXED:
        if before[table] != after[table]:
            yield root.at(table).problem(f"{_what(table, old, new)} changed: that needs a restart")


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
    """The failures of the functions that do not load. They name files of the code."""
    return tuple(
        _failure(name, one, error.specs[name].code)
        if isinstance(one, LoadFailed)
        else Failure(function=name, code="StartFailed", message=str(one))
        for name, one in error.errors.items()
    )


def _failure(name: str, error: LoadFailed, snapshot: Path) -> Failure:
    message, traceback = (as_written(text, snapshot) for text in (error.message, error.traceback))
    return Failure(function=name, code=error.code, message=message, traceback=traceback)
