"""The tables of docs/security.md, made from the mechanisms and from what hostile functions were seen to achieve.

`python -m tests.kit.security` writes them into the page.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from sandbox.containment import Level, Mechanism
from sandbox.levels import MECHANISMS, up_to
from tests.redteam.attacks import CONDITIONS, DONE, REFUSED, Attack, attacks

PAGE = Path(__file__).resolve().parents[2] / "docs/security.md"
_TABLES = re.compile(r"(<!-- (mechanisms|attacks): .*? -->\n).*?(<!-- end -->\n)", re.DOTALL)
_THEMES = {
    "files": "Files",
    "processes": "Other processes",
    "kernel": "The kernel, and privileges",
    "network": "The network, and what processes share",
    "closed": "The network of a function that has none",
    "exhaustion": "Using up the machine",
    "ends": "Ends, and answers that are none",
}
_REFUSED = "such a function is refused"
_STOPPED, _SUCCEEDS, _DEPENDS = "stopped", "**succeeds**", "depends on the kernel"


def page(text: str) -> str:
    """The page with its tables made anew."""
    made = {"mechanisms": _mechanisms, "attacks": _attacks}
    return _TABLES.sub(lambda found: "\n".join([found[1], *made[found[2]](), "", found[3]]), text)


def _mechanisms() -> Iterator[str]:
    yield "| mechanism | level | what it does | needs |"
    yield "|---|---|---|---|"
    told = _docstrings()
    for level in reversed(up_to(Level.NAMESPACES)):
        for one in MECHANISMS[level]:
            what, _, needs = told[one].partition(" Needs: ")
            yield f"| {one} | `{level}` | {what} | {needs or '-'} |"


def _docstrings() -> dict[Mechanism, str]:
    """What stands below each member of the enumeration, in one line."""
    [node] = ast.parse(inspect.getsource(Mechanism)).body
    assert isinstance(node, ast.ClassDef)
    found = {}
    for member, below in zip(node.body, node.body[1:], strict=False):
        match member, below:
            case ast.Assign(value=ast.Constant(value=str(name))), ast.Expr(value=ast.Constant(value=str(text))):
                found[Mechanism(name)] = " ".join(text.split())
    return found


def _attacks() -> Iterator[str]:
    for theme, heading in _THEMES.items():
        yield f"### {heading}\n"
        rows = [(attack.what, [_cell(attack, level) for level in MECHANISMS]) for attack in attacks(theme)]
        every = [what for what, cells in rows if set(cells) == {_STOPPED}]
        if len(every) < len(rows):
            yield f"| what a function tries | {' | '.join(f'`{level}`' for level in MECHANISMS)} |"
            yield "|---|---|---|---|"
            yield from (f"| {what} | {' | '.join(cells)} |" for what, cells in rows if what not in every)
            yield ""
        last = "" if theme == list(_THEMES)[-1] else "\n"
        yield "\n".join(textwrap.wrap(f"Stopped at every level: {'; '.join(every)}.", 120)) + last


def _cell(attack: Attack, level: Level) -> str:
    """What comes of an attack, in words."""
    if attack.expected(level, frozenset()) == {REFUSED}:
        return _REFUSED
    if attack.is_stopped(level, frozenset()):
        return _STOPPED
    mechanisms = list(CONDITIONS.values())
    for count in range(1, len(mechanisms) + 1):
        enough = [some for some in combinations(mechanisms, count) if attack.is_stopped(level, frozenset(some))]
        if enough:
            return " or ".join(f"with {' and '.join(some)}" for some in enough)
    return _SUCCEEDS if attack.expected(level, frozenset(mechanisms)) == {DONE} else _DEPENDS


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
