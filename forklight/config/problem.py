"""A problem of a configuration or of a function's code: where it is, what it is, and what to do about it."""

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import force_setattr

from forklight.errors import ForklightError
from forklight.plain import plain


class Problem(Struct, frozen=True, order=True, omit_defaults=True):
    """For a human: `file:line key: message`. `line` counts from 1; 0 is the file as a whole.

    What cannot stand in a line, or in JSON, is escaped: names of files may hold anything.
    """

    file: str
    line: int
    key: str
    message: str
    column: int = 0
    """From 1; 0 is the whole line."""
    text: str = ""
    """The line of code, and below it a mark at the column."""

    def __post_init__(self) -> None:
        for field in ("file", "key", "message"):
            force_setattr(self, field, plain(getattr(self, field)))
        force_setattr(self, "text", "\n".join(map(plain, self.text.splitlines())))

    def __str__(self) -> str:
        place = ":".join([self.file, *(str(number) for number in (self.line, self.column) if number)])
        told = f"{place} {self.key}: {self.message}" if self.key else f"{place}: {self.message}"
        return "\n    ".join([told, *self.text.splitlines()])


class ConfigError(ForklightError):
    """All problems, sorted by file and line. `str(error)` has each on lines of its own."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))
