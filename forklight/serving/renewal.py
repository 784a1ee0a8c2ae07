"""Decides which functions a reload renews. It reads their snapshots; `forklight.code.sight` decides. Blocks."""

from functools import partial
from hashlib import sha256
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from forklight.code.files import Contents
from forklight.code.references import MOST_BYTES, References, of_strings, references
from forklight.code.sight import Loaded, module_of, why_renew, why_renew_program
from sandbox.spec import FunctionSpec

MOST_REMEMBERED = 4096


class Served(Struct, frozen=True, kw_only=True):
    """A function as it runs now."""

    spec: FunctionSpec
    contents: Contents
    """What is in its snapshot."""
    loaded: frozenset[str] | None
    """The files that its templates have loaded, None if they are unknown."""
    at_rest: bool = False
    """Whether it has no process, not even a template."""
    problem: str = ""
    """Why its latest start failed, if it did."""


class Readings:
    """What the files of snapshots may load. Remembers what was read, so that a reload reads only what is new."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], References] = {}

    def why_renew(self, was: Served, spec: FunctionSpec, contents: Contents) -> str:
        """Return why the function must be replaced by `spec`, whose code is `contents`; empty if it may stay."""
        if replace(spec, version=was.spec.version, code=was.spec.code) != was.spec:
            return "its configuration has changed"
        if was.problem:
            return "it could not be started"
        if "PYTHONPATH" in {*spec.runtime.env, *spec.env, *spec.secrets}:
            return "PYTHONPATH may give its modules other names"
        if not spec.runtime.abilities.imports_ahead:
            return why_renew_program(was.contents, contents)
        hooks = (spec.hooks.init, spec.hooks.after_fork, spec.hooks.stop)
        targets = [spec.handler, *filter(None, hooks)]
        loaded = Loaded(
            contents=was.contents,
            entries=tuple(target.partition(":")[0] for target in targets),
            files=frozenset() if was.at_rest else was.loaded,
            variables=of_strings(was.spec.env.values()),
        )
        return why_renew(loaded, contents, partial(self._read, was.spec.code, was.contents))

    def _read(self, folder: Path, contents: Contents, name: str) -> References:
        key = (name, contents[name])
        if key not in self._known:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            self._known[key] = _read(folder / name, name, contents[name])
        return self._known[key]


def _read(path: Path, name: str, content: str) -> References:
    try:
        with path.open("rb") as file:
            source = file.read(MOST_BYTES + 1)
    except OSError:
        return References(dynamic="what cannot be read")
    if len(source) <= MOST_BYTES and not content.endswith(sha256(source).hexdigest()):
        return References(dynamic="what was changed in its snapshot")
    return references(source, module_of(name) or "", is_package=name.endswith("__init__.py"))
