"""What an import has made that a fork must not simply copy, and which variable leads to it.

One pass over the new objects sorts those that matter by kind; those of the zygote are frozen, and the collector does
not list them. Only if one has to be named are the modules' variables followed, breadth first, the function's own
modules before its libraries. Objects are told apart by `type()` alone: `isinstance` runs the code of proxies.
"""

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from types import CodeType, FrameType, ModuleType
from typing import Any

from .origins import Origins

_MOST_FOLLOWED = 10_000
"""Objects from the function's own modules, and as many from its libraries: it bounds the time, at 1 to 2 µs each."""
_TYPES = {
    "random": ("random", "Random"),
    "numpy_legacy": ("numpy.random", "RandomState"),
    "numpy": ("numpy.random", "BitGenerator"),
    "lock": ("_thread", "LockType"),
    "rlock": ("_thread", "RLock"),
    "shared_lock": ("multiprocessing.synchronize", "SemLock"),
    "loop": ("asyncio", "BaseEventLoop"),
    "sqlite": ("sqlite3", "Connection"),
    "text_file": ("io", "TextIOWrapper"),
    "binary_file": ("io", "BufferedWriter"),
}
"""Kind → its type, which has no objects if its module was not loaded."""

_Owner = tuple[str, str, bool]
"""A module, the name of its variable, and whether that is the object itself, not something that has it."""
_Found = tuple[object, _Owner]


class Survey:
    """The objects that matter, by kind, and what to call them."""

    def __init__(self) -> None:
        self._objects: dict[str, list[Any]] = {kind: [] for kind in _TYPES}
        self._origins = Origins()
        self._ahead = _reachable()
        """Followed only as far as the names that were asked for."""
        self._names: dict[int, _Owner] = {}
        self._descriptors: dict[int, _Owner] = {}
        bases, kinds = _bases(), dict[int, str]()
        for one in gc.get_objects():
            kind = kinds.get(id(type(one)))  # by id, because a metaclass may forbid to hash its types
            if kind is None:
                kind = kinds[id(type(one))] = _kind_of(type(one), bases)
            if kind:
                self._objects[kind].append(one)

    def of(self, kind: str) -> list[Any]:
        """The objects of one kind of `_TYPES`, those of subclasses included."""
        return self._objects[kind]

    def owner(self, one: object) -> str:
        """` (module.name, made at file:line)` of the variable that leads to the object; empty if none does.

        ` (in module.name, …)` if it is not the variable's own value.
        """
        return self._described(self._names, id(one))

    def owner_of_descriptor(self, fd: int) -> str:
        """The same for the object that has this descriptor."""
        return self._described(self._descriptors, fd)

    def _described(self, owners: dict[int, _Owner], key: int) -> str:
        """A name is worth something, but never a load: odd objects and modules of the function may raise anything."""
        with contextlib.suppress(Exception):
            return self._found(owners, key)
        return ""

    def _found(self, owners: dict[int, _Owner], key: int) -> str:
        while key not in owners:
            found = next(self._ahead, None)
            if found is None:
                return ""
            one, owner = found
            self._names.setdefault(id(one), owner)
            for fd in _descriptors_of(one):
                self._descriptors.setdefault(fd, owner)
        module, name, is_itself = owners[key]
        return f" ({'' if is_itself else 'in '}{self._origins.described(module, name)})"


def _bases() -> "list[tuple[type, str]]":
    """The types that matter, as far as they are loaded, each with its kind."""
    found = [(variables(sys.modules.get(module)).get(name), kind) for kind, (module, name) in _TYPES.items()]
    return [(base, kind) for base, kind in found if isinstance(base, type)]


def _kind_of(one: type, bases: "list[tuple[type, str]]") -> str:
    """The kind of a type's objects; empty for most."""
    with contextlib.suppress(Exception):  # a metaclass may refuse
        return next((kind for base, kind in bases if issubclass(one, base)), "")
    return ""


def variables(module: object) -> dict[str, Any]:
    """Those of a module, without loading a lazy one; none of another object that stands in its place."""
    return object.__getattribute__(module, "__dict__") if issubclass(type(module), ModuleType) else {}


def _reachable() -> Iterator[_Found]:
    modules = {name: variables(module) for name, module in tuple(sys.modules.items())}
    seen = {id(space) for space in modules.values()}  # each module is followed by its own name only
    for are_own in (True, False):
        roots = [
            (value, (module, name, True))
            for module, space in modules.items()
            if not _is_standard(module) and _is_own(space) is are_own
            for name, value in tuple(space.items())
            if type(name) is str and name[:2] != "__"
        ]
        yield from _followed(roots, seen)


def _followed(roots: "list[_Found]", seen: set[int]) -> Iterator[_Found]:
    """Breadth first, and into a class only from the module that defines it."""
    skipped: tuple[Any, ...] = (ModuleType, CodeType, FrameType)
    if "threading" in sys.modules:  # the locks of a thread that runs are held, and told of with the thread
        skipped += (sys.modules["threading"].Thread,)
    level, left, are_roots = roots, _MOST_FOLLOWED, True
    while level and left > 0:
        below: list[_Found] = []
        for one, owner in level[:left]:
            if id(one) in seen or not gc.is_tracked(one) or issubclass(type(one), skipped):
                continue
            if issubclass(type(one), type) and not (are_roots and _is_defined_in(one, owner[0])):
                continue
            seen.add(id(one))
            left -= 1
            yield one, owner
            inner = (*owner[:2], False)
            below += [(part, inner) for part in gc.get_referents(one)]
        level, are_roots = below, False


def _is_defined_in(one: Any, module: str) -> bool:
    with contextlib.suppress(Exception):
        return bool(type.__getattribute__(one, "__module__") == module)
    return False


def _is_standard(module: str) -> bool:
    top = module.partition(".")[0]
    return top in sys.stdlib_module_names or top in ("_forklight", "__main__")


def _is_own(space: dict[str, Any]) -> bool:
    """Whether the module's file is in the function's code, the working directory."""
    file = space.get("__file__")
    return type(file) is str and file.startswith(os.path.join(os.getcwd(), ""))


def _descriptors_of(value: Any) -> Iterator[int]:
    """The descriptors of an object. Looks at its type first, because reading a proxy's attributes runs user code."""
    kind = type(value)
    with contextlib.suppress(Exception):
        if kind.__name__ == "SpooledTemporaryFile":  # asked for a descriptor, it writes its content to the disk
            return
        if hasattr(kind, "run_until_complete"):
            found = value._selector.fileno()
        elif callable(getattr(kind, "fileno", None)):
            found = value.fileno()
        else:
            return
        if type(found) is int:
            yield found
