"""What came of a change of what is served, and how it is told. Commands read it, so nothing of a server is imported."""

from collections.abc import Sequence

from msgspec import Struct

from forklight.config.problem import Problem

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
