"""Which files of a folder are code: one rule for snapshots, `check` and `dev`, which watches them.

In this order:

1. what can never be code (`tool_files.NEVER`, environments) stays out;
2. `.forklightignore` leaves out, or takes in;
3. for what it does not mention: files of tools, caches and files that may be private stay out.

What lies in a folder that stays out, stays out. What is in must be readable, and a link must lead to something within
the root: anything else is refused by name, because a function might miss it only when it runs.
"""

import os
from collections.abc import Callable, Iterator, Set
from pathlib import Path
from typing import Literal

from msgspec import Struct

from forklight.code.ignore import decided_by
from forklight.code.private_files import is_private
from forklight.code.tool_files import is_cache, is_never_code, is_of_a_tool
from forklight.errors import ForklightError

IGNORE_FILE = ".forklightignore"
NODE_MODULES = Path("node_modules")
"""Beside the paths that are apart: the libraries of Node.js are code, because functions import them. Otherwise they are
files of a tool, such as that which builds a web site's pages."""

Verdict = Literal["in", "out", "private", "cache"]
"""`private` and `cache` stay out too, but users are told: the one may be needed, the other may be no cache."""


class CodeError(ForklightError):
    """The code cannot be read or copied. The message names the file, the reason and what to do."""


class Entry(Struct, frozen=True):
    """A file or folder: its path from the root of the code with slashes, and its real path, with links resolved."""

    name: str
    path: Path
    is_folder: bool
    verdict: Verdict


class Selection(Struct, frozen=True):
    """The rule for one root. Equal selections decide alike."""

    root: Path
    """Without links."""
    is_single: bool
    """The code is a single file: with it belong only the modules and packages beside it."""
    apart: frozenset[Path]
    """Real paths of what is never code, such as secrets."""
    ignore: str
    """The text of `.forklightignore`."""
    has_node_modules: bool = False
    """Whether the libraries of Node.js are code, and all that is in them."""

    def entries(self, on_problem: Callable[[CodeError], None]) -> Iterator[Entry]:
        """Yield all entries but those inside folders that stay out. Files need not be regular files.

        `on_problem` gets a CodeError for each folder or link that cannot be followed; if it returns, the entry counts
        as left out.
        """
        yield from self._below(self.root, "", (), on_problem)

    def places(self) -> tuple[set[Path], set[Path]]:
        """Return the folders, including the root and empty ones, and the files, whatever is wrong with some of them."""
        found = [entry for entry in self.entries(lambda _: None) if entry.verdict == "in"]
        folders = {entry.path for entry in found if entry.is_folder}
        return {self.root} | folders, {entry.path for entry in found if not entry.is_folder}

    def concerns(self, path: Path) -> bool:
        """Whether a change of `path` may change the code. Its folder must be one that `entries` enters.

        `path` need not exist.
        """
        if path == self.root / IGNORE_FILE:
            return True
        if not path.is_relative_to(self.root):
            return False
        return self._verdict(path, str(path.relative_to(self.root)), os.path.isdir(path)) == "in"

    def takes_in(self, name: str) -> bool:
        """Whether `.forklightignore` takes in this file by a line of its own, such as `!name`."""
        return decided_by(self.ignore)(name, False) is False

    def _below(
        self, folder: Path, prefix: str, above: tuple[Path, ...], on_problem: Callable[[CodeError], None]
    ) -> Iterator[Entry]:
        """`folder` is a path without links, `above` are the folders that led here."""
        try:
            with os.scandir(folder) as scan:
                found = sorted(scan, key=lambda one: one.name)
        except FileNotFoundError:  # removed meanwhile
            return
        except OSError as error:
            if not any(path.is_relative_to(folder) for path in self.apart):  # such as our log in a folder of root
                on_problem(unreadable(folder, error))
            return
        for one in found:
            try:
                entry = self._entry(one, prefix)
                _refuse_circle(Path(one.path), entry, (*above, folder))
            except CodeError as problem:
                on_problem(problem)
                continue
            yield entry
            if entry.is_folder and entry.verdict == "in":
                yield from self._below(entry.path, f"{entry.name}/", (*above, folder), on_problem)

    def _entry(self, one: "os.DirEntry[str]", prefix: str) -> Entry:
        path, name = Path(one.path), prefix + one.name
        is_link = one.is_symlink()
        is_folder = os.path.isdir(path) if is_link else one.is_dir(follow_symlinks=False)
        verdict = self._verdict(path, name, is_folder)
        real = _real(path) if is_link else path
        if verdict == "in" and is_link:
            self._require_inside(path, real)
        return Entry(name, real, is_folder, verdict)

    def _verdict(self, path: Path, name: str, is_folder: bool) -> Verdict:
        if is_never_code(path, is_folder=is_folder):
            return "out"
        decision = decided_by(self.ignore)(name, is_folder)
        real = _real(path) if os.path.islink(path) else path
        if decision or real in self.apart or (self.is_single and "/" not in name and not _is_module(path)):
            return "out"
        if decision is None and self.has_node_modules and NODE_MODULES.name in name.split("/"):
            return "in"
        if decision is None:
            return "out" if is_of_a_tool(path, is_folder=is_folder) else self._default(real, name, is_folder)
        return "in"

    def _default(self, real: Path, name: str, is_folder: bool) -> Verdict:
        """Judge by the own name and by that of the target if it is a link."""
        target = str(real.relative_to(self.root)) if real.is_relative_to(self.root) else real.name
        if any(is_private(one, real, is_folder=is_folder) for one in {name, target}):
            return "private"
        return "cache" if is_folder and is_cache(real) else "in"

    def _require_inside(self, link: Path, target: Path) -> None:
        try:
            os.stat(link)
        except FileNotFoundError:
            raise CodeError(f"{link} is a link that leads nowhere: remove it, or list it in {IGNORE_FILE}") from None
        except OSError as error:
            raise unreadable(link, error) from error
        if not target.is_relative_to(self.root):
            raise CodeError(f"{link} is a link out of the code, to {target}: copy that, or list it in {IGNORE_FILE}")


def select(code: Path, apart: Set[Path] = frozenset()) -> Selection:
    """Return the rule for `code`, a directory or a single file. Reads its `.forklightignore`. Raises CodeError."""
    is_single = not code.is_dir()
    root = (code.parent if is_single else code).resolve()
    file = root / IGNORE_FILE
    try:
        text = file.read_text("utf-8-sig") if file.is_file() else ""
        decided_by(text)
    except OSError as error:
        raise unreadable(file, error) from error
    except UnicodeDecodeError as error:
        raise CodeError(f"{file} is not valid UTF-8: save it as UTF-8") from error
    except ValueError as error:
        raise CodeError(f"{file}: {error}") from error
    kept = frozenset(path.resolve() for path in apart - {NODE_MODULES})
    return Selection(root, is_single, kept, text, has_node_modules=NODE_MODULES in apart)


def unreadable(path: Path, error: OSError) -> CodeError:
    """Return the error for a file or folder that cannot be read, naming the folder if that is what bars the way."""
    is_barred = isinstance(error, PermissionError) and not os.access(path.parent, os.X_OK, effective_ids=True)
    place = path.parent if is_barred else path
    advice = "let the user of the server read it" if isinstance(error, PermissionError) else "repair it"
    return CodeError(f"{place} cannot be read: {error.strerror}: {advice}, or list it in {IGNORE_FILE}")


def _refuse_circle(link: Path, entry: Entry, above: tuple[Path, ...]) -> None:
    if entry.is_folder and entry.verdict == "in" and entry.path in above:
        raise CodeError(f"{link} is a link to a folder it lies in: the code would never end")


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve raises RuntimeError for a circle of links


def _is_module(path: Path) -> bool:
    return os.path.exists(path / "__init__.py") if os.path.isdir(path) else path.suffix == ".py"
