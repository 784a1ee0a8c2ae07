"""The table of attacks: what hostile functions try, and what comes of it at each level. Pure.

`attacks.txt` has it for people, too, and says what its columns mean. The tests run every row; docs/security.md shows
it. `DONE` is the outcome of an attack that nothing stops.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sandbox.containment import Level, Mechanism

DONE = "done"
REFUSED = "refused"
"""of what cannot be asked for at a level"""
CONDITIONS = {
    "apart": Mechanism.USER_APART,
    "own": Mechanism.USER_PER_FUNCTION,
    "memory": Mechanism.MEMORY_CGROUP,
    "pids": Mechanism.PROCESS_CGROUP,
    "scope": Mechanism.SIGNAL_SCOPE,
}
"""What outcomes depend on, by its name in the table."""
_AT_IMPORT = "import"
_LEVELS = (Level.LIMITS, Level.FILTERS, Level.NAMESPACES)


class Attack(NamedTuple):
    """One row of the table."""

    theme: str
    name: str
    what: str
    """what it is after, in words"""
    outcomes: dict[Level, str]

    def expected(self, level: Level, has: frozenset[Mechanism], *, at_import: bool = False) -> frozenset[str]:
        """The outcomes that are right at this level, given what there is. `at_import`: of code that a template runs."""
        outcome = self.outcomes[level]
        while "?" in outcome:
            name, _, choice = outcome.partition("?")
            with_it, _, without_it = choice.partition(":")
            holds = at_import if name == _AT_IMPORT else CONDITIONS[name] in has
            outcome = with_it if holds else without_it
        return frozenset(outcome.split("|"))

    def is_stopped(self, level: Level, has: frozenset[Mechanism]) -> bool:
        """Whether it is stopped on every machine that has these mechanisms."""
        return DONE not in self.expected(level, has)


def attacks(theme: str | None = None) -> list[Attack]:
    """All attacks, or those of one theme, in the order of the table."""
    return [attack for attack in _read() if theme in (None, attack.theme)]


def _read() -> Iterator[Attack]:
    theme = ""
    for line in Path(__file__).with_name("attacks.txt").read_text().splitlines():
        if line.startswith("["):
            theme = line.strip("[]")
        elif line and not line.startswith("#"):
            name, *outcomes, what = line.split(maxsplit=len(_LEVELS) + 1)
            yield Attack(theme, name, what, dict(zip(_LEVELS, outcomes, strict=True)))
