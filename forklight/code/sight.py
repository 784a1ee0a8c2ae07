"""Whether a function may see what has changed in its code. If not, a reload keeps its processes.

Theory of operation. A kept function runs on its old snapshot, so it must be certain that it would do the same on the
new one. Its templates have reported which files they loaded. Import statements tell which files the entry modules may
load, now or later, and which these may load, and so on: the reach of the function. It is kept if no changed file is in
its reach.

Whatever leaves a doubt renews it: a template that has not reported, or that has loaded a file to which no import leads;
a file in reach that may load files of any name, or that cannot be parsed; a change of anything but Python code, which
the function may read as data; a file that is new or gone, which may change what an import finds. Only tests and
documents such as a README may come and go. What remains unseen is a library that loads a module of the function's code
by a name that is in none of its strings or a single word, and not before an event arrives, and a file whose name is in
the event: `forklight reload --all` renews everything.
"""

import re
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import lru_cache

from msgspec import Struct

from forklight.code.files import Contents
from forklight.code.references import WORDS, References

MOST_FILES = 2000
"""A function with more files than that in its reach is renewed by any change."""

_TEST = re.compile(r"tests?/.*|(?:.*/)?(?:tests?/.*\.py|test_[^/]*\.py|[^/]*_test\.py|conftest\.py)")
"""Data in a folder `tests` that is not at the top may be something else: `templates/tests/list.html`."""
_DOCUMENT = re.compile(
    r"\.github/.*|\.git(?:ignore|attributes)|\.editorconfig|\.forklightignore"
    r"|(?:README|CHANGELOG|CHANGES|HISTORY|LICEN[CS]E|NOTICE|CONTRIBUTING|AUTHORS)(?:\.(?:md|rst|txt))?"
)
_COMPILED = (".so", ".pyc")
"""Endings of modules that cannot be read: they may load anything."""


def changed_files(before: Contents, after: Contents) -> list[str]:
    """Return the names of the files that differ, sorted."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


class Loaded(Struct, frozen=True, kw_only=True):
    """A function as it runs."""

    contents: Contents
    """The snapshot that it was loaded from."""
    entries: tuple[str, ...]
    """The modules of its handler and its hooks."""
    files: frozenset[str] | None
    """The files that its templates have loaded, None if they are unknown."""
    variables: References = References()
    """What its environment names."""


def why_renew(was: Loaded, now: Contents, read: Callable[[str], References]) -> str:
    """Return why the function has to be loaded from `now`, or an empty string if nothing that it sees has changed.

    `read` returns the references of a Python file of its snapshot.
    """
    changed = changed_files(was.contents, now)
    if not changed:
        return ""
    if was.files is None:
        return "it is unknown which files it has loaded"
    for name in changed:
        if doubt := _doubt(name, was.contents, now):
            return doubt
    every = _index(tuple(was.contents))
    entry = References(imported=frozenset(_with_packages(was.entries)))
    strangers = was.files - _reach(every, [entry], read, by_strings=False).keys()
    if strangers:
        return f"it has loaded {min(strangers)}, to which no import leads"
    reach = _reach(every, [entry, was.variables], read, by_strings=True)
    if len(reach) > MOST_FILES:
        return f"it may load more than {MOST_FILES} files"
    return _why_seen(changed, {"its configuration": entry, "its environment": was.variables, **reach})


def why_renew_program(before: Contents, after: Contents) -> str:
    """Why a function has to be started from `after` whose program reads what it likes, or an empty string."""
    seen = [name for name in changed_files(before, after) if not (_TEST.fullmatch(name) or _DOCUMENT.fullmatch(name))]
    return f"{seen[0]} has changed" if seen else ""


def _doubt(name: str, before: Contents, after: Contents) -> str:
    """Why a change of this file concerns every function; empty if that depends on what the function loads."""
    if _TEST.fullmatch(name) or _DOCUMENT.fullmatch(name):
        return ""
    if not name.endswith(".py"):
        return f"{name} has changed, which is not Python code"
    if name not in before or name not in after:
        return f"{name} is {'gone' if name in before else 'new'}"
    return "" if module_of(name) else f"{name} has changed, which has not the name of a module"


def _why_seen(changed: Collection[str], reach: Mapping[str, References]) -> str:
    """Why one of the changed files may be seen by one of those in `reach`, which has the references of each."""
    index = _Index(changed)
    read_by_words = {name: _words(name) for name in changed if module_of(name) is None}
    for file, found in reach.items():
        if found.dynamic:
            return f"{file} uses {found.dynamic}, which may load anything"
        if seen := index.meant(found, by_strings=True):
            return f"{file} may load {min(seen)}, which has changed"
        for name, words in read_by_words.items():
            if words & found.words:
                return f"{file} may read {name}, which has changed"
    return ""


def module_of(name: str) -> str | None:
    """Return the full name of the module in this file, or None if it has none that an import statement can have."""
    if not name.endswith((".py", *_COMPILED)):
        return None
    *folders, file = name.split("/")
    stem = file.partition(".")[0]
    parts = folders if stem == "__init__" else [*folders, stem]
    return ".".join(parts) if parts and all(map(str.isidentifier, parts)) else None


def _words(name: str) -> frozenset[str]:
    return WORDS.intersection(re.findall("[a-z]+", name.lower()))


def _with_packages(modules: Iterable[str]) -> Iterator[str]:
    for module in modules:
        parts = module.split(".")
        yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _reach(
    index: "_Index", starts: list[References], read: Callable[[str], References], *, by_strings: bool
) -> dict[str, References]:
    """The references of all files to which those of `starts` lead, by their names. Stops at more than MOST_FILES."""
    found: dict[str, References] = {}
    ahead = list(starts)
    while ahead and len(found) <= MOST_FILES:
        for name in sorted(index.meant(ahead.pop(), by_strings=by_strings) - found.keys()):
            found[name] = References(dynamic="compiled code") if name.endswith(_COMPILED) else read(name)
            ahead.append(found[name])
    return found


@lru_cache(maxsize=8)
def _index(names: tuple[str, ...]) -> "_Index":
    """The index of a snapshot, which several functions share."""
    return _Index(names)


class _Index:
    """Finds files by the modules in them. An import may mean several, such as `a.py` and `a/__init__.py`.

    `import a.b` may also mean `src/a/b.py`, because a library that is installed in editable mode, a `.pth` file or
    PYTHONPATH can put any folder of the code on the module path.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._by_name: dict[str, set[str]] = defaultdict(set)
        self._by_stem: dict[str, set[str]] = defaultdict(set)
        self._by_package: dict[str, set[str]] = defaultdict(set)
        for name in names:
            module = module_of(name)
            if module is not None:
                parts = module.split(".")
                *packages, stem = parts
                self._by_name[module].add(name)
                self._by_stem[stem].add(name)
                for start in range(1, len(parts)):
                    if parts[start] not in sys.stdlib_module_names:
                        self._by_name[".".join(parts[start:])].add(name)
                for package in packages:
                    self._by_package[package].add(name)

    def meant(self, found: References, *, by_strings: bool) -> set[str]:
        """The files that these references may mean; those of strings only if wanted."""
        files = [self._by_name.get(module, set()) for module in found.imported]
        files += [self._by_package.get(package, set()) for package in found.packages]
        if by_strings:
            files += [self._by_name.get(module, set()) for module in found.named]
            files += [self._by_stem.get(stem, set()) for stem in found.stems]
        return set().union(*files)
