"""Which modules a fork imports until its first call has succeeded, as far as a template can import them ahead.

Only a fork that was asked has a watch, so that no other one pays for it.
"""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from . import wire

ALL = "all"
"""The scope that has the function's own modules, too."""
_OURS = ("__main__", "__mp_main__", "_forklight")


class Watch:
    """Notes the imports of this process. `sys.modules` has them in the order in which they ended, not began."""

    def __init__(self, code: str, scope: str) -> None:
        """`code`: the function's folder, whose modules count only in the scope `all`."""
        self._code = code
        self._scope = scope
        self._path = tuple(sys.path)
        """What the handler adds to it is not there in a template."""
        self._begun: list[str] = []
        sys.meta_path.insert(0, self)

    def find_spec(
        self, name: str, path: "Sequence[str] | None", target: "ModuleType | None" = None
    ) -> ModuleSpec | None:
        """Called by Python before each import. Finds nothing."""
        self._begun.append(name)
        return None

    def frame(self) -> "list[bytes]":
        """End; returns the frame that tells the server what has appeared."""
        if self in sys.meta_path:  # the code may have replaced the list of finders
            sys.meta_path.remove(self)
        names = [name for name in dict.fromkeys(self._begun) if self._can_be_repeated(name)]
        return wire.pack(f'{{"t":"learnt","modules":{wire.encode(names[: wire.MAX_MODULES])}}}', [])

    def _can_be_repeated(self, name: str) -> bool:
        spec = _spec_of(sys.modules.get(name))
        if spec is None or spec.name != name or not is_plain(name):
            return False
        if self._scope != ALL and _is_below(spec, self._code):
            return False
        try:
            return _is_found(name, spec, self._path)
        except Exception:  # user code may have put anything there
            return False


def is_plain(name: str) -> bool:
    """Whether the name may travel: the server takes no other."""
    parts = name.split(".")
    is_short = len(name) <= wire.MAX_MODULE_CHARS and name.isascii()
    return is_short and parts[0] not in _OURS and all(map(str.isidentifier, parts))


def _spec_of(module: Any) -> ModuleSpec | None:
    """The spec of a module; None of anything else. Not by getattr: a lazy module would be loaded by it."""
    if not issubclass(type(module), ModuleType):
        return None
    spec = object.__getattribute__(module, "__dict__").get("__spec__")
    return spec if type(spec) is ModuleSpec else None


def _is_below(spec: ModuleSpec, code: str) -> bool:
    places = [spec.origin] if spec.has_location else [*(spec.submodule_search_locations or ())]
    return any(place is not None and place.startswith(os.path.join(code, "")) for place in places)


def _is_found(name: str, spec: ModuleSpec, path: Sequence[str]) -> bool:
    """Whether an import by name finds this very file: it may have been loaded from elsewhere, by its path."""
    if not spec.has_location or spec.origin is None:  # built in, frozen, or a namespace
        return True
    parent = name.rpartition(".")[0]
    places = [*sys.modules[parent].__path__] if parent else path
    folder = os.path.dirname(spec.origin)
    if (folder if spec.submodule_search_locations is None else os.path.dirname(folder)) in places:
        return True
    others = [finder for finder in sys.meta_path if finder is not PathFinder]  # such as those of editable installs
    found = [finder.find_spec(name, places if parent else None) for finder in others]
    return any(one is not None and one.origin == spec.origin for one in found)
