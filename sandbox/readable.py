"""What the processes of a function read besides the system's files and its mounts: code, interpreter and libraries."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from sandbox.spec import FunctionSpec

_OF_PYTHON = (".py", ".so", ".cfg")
"""Of the files beside a state directory, those that an interpreter reads; `pyvenv.cfg` tells it where it is."""


def readable(spec: FunctionSpec, guest: Path, libraries: Iterable[Path], state: Path) -> tuple[Path, ...]:
    """The files and folders that a function reads. `libraries`: those of its interpreter, which are there."""
    runtime = spec.runtime
    programs = (runtime.python,) if runtime.program is None else (runtime.python, runtime.program)
    return (*programs, *libraries, *there(_extra_path(spec), state), spec.code, guest)


def there(paths: Iterable[Path], state: Path) -> tuple[Path, ...]:
    """Those that exist, the state directory with other functions and their secrets left out. Blocks.

    One of them may be the folder of a whole project that is installed in place (`pip install -e`), with the state
    directory in it.
    """
    return tuple(one for path in paths for one in _without(state, path))


def _extra_path(spec: FunctionSpec) -> list[Path]:
    """The folders of PYTHONPATH outside of the code."""
    env = {**spec.runtime.env, **spec.env, **spec.secrets}
    return [Path(entry) for entry in env.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(entry)]


def _without(state: Path, path: Path) -> Iterator[Path]:
    """The path, or what of a folder around the state directory an interpreter may read."""
    if not path.is_absolute() or not path.exists():
        return
    around = path.resolve()
    if not state.resolve().is_relative_to(around):
        yield path
        return
    for entry in around.iterdir():
        is_hidden = entry.name.startswith(".") or state.resolve().is_relative_to(entry.resolve())
        if not is_hidden and (entry.is_dir() or entry.suffix in _OF_PYTHON):
            yield entry
