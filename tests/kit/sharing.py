"""How the runs of scripts/test share the tests: two as root, if it has no arguments, and one as an ordinary user.

Whoever creates a module's file in the folder of claims runs that module. Tests that need only one user have one file
for all runs, the others one for each user: `MODULE` and `MODULE.UID`. All collect in the same order. The ordinary user
takes what is shared from the beginning, and root from the end, each once nothing of its own is left. So all runs end
at about the same time.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

IS_ROOT = os.geteuid() == 0
ANYWHERE = tuple(f"tests/unit/{name}/" for name in ("bus_rabbitmq", "guest"))
"""Where tests are the same for every user without a mark: what they are about is not compiled."""


def claims(config: pytest.Config) -> Path | None:
    """Return the folder, which all may write. Without one, and once more for what failed, a run has all its tests."""
    folder = os.environ.get("FORKLIGHT_TESTS_CLAIMS")
    return Path(folder) if folder and not config.getoption("lf", False) and not config.option.collectonly else None


def is_shared(item: pytest.Item) -> bool:
    """Whether one of the users is enough."""
    if item.get_closest_marker("any_user") is not None:
        return True
    return item.get_closest_marker("ordinary_user") is None and item.nodeid.startswith(ANYWHERE)


def in_turn(items: list[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Return what this run may run, its user's own first, and what is the other user's."""
    shared = [item for item in items if is_shared(item)]
    others = [item for item in items if not is_shared(item)]
    if IS_ROOT:
        modules = list(dict.fromkeys(map(module, shared)))
        place = {name: -index for index, name in enumerate(modules)}
        return others + sorted(shared, key=lambda item: place[module(item)]), []
    own = [item for item in others if item.get_closest_marker("ordinary_user") is not None]
    return own + shared, [item for item in others if item.get_closest_marker("ordinary_user") is None]


def claimed(items: list[pytest.Item], folder: Path) -> Iterator[pytest.Item]:
    """Yield what this run is to run, and claim each module when its turn comes."""
    answers: dict[str, bool] = {}
    for item in items:
        name = module(item).replace("/", ".") + ("" if is_shared(item) else f".{os.geteuid()}")
        if name not in answers:
            answers[name] = _claim(folder / name)
        if answers[name]:
            yield item


def module(item: pytest.Item) -> str:
    """The path of its file."""
    return item.nodeid.partition("::")[0]


def _claim(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
