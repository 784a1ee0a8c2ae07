"""Imports the user's code and explains failures. The working directory is that of the code."""

import os
import sys
from types import ModuleType

from . import forked, wire
from .tracebacks import format_traceback, message_of

_PACKAGES = {
    "Crypto": "pycryptodome",
    "MySQLdb": "mysqlclient",
    "OpenSSL": "pyOpenSSL",
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "fitz": "PyMuPDF",
    "jwt": "PyJWT",
    "magic": "python-magic",
    "psycopg2": "psycopg2-binary",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
    "zmq": "pyzmq",
}
"""Module → package, for packages that functions often miss and that are not named like their module."""


class LoadError(Exception):
    """A function cannot be loaded. `code` is a load code of ARCHITECTURE.md §5; `message` names the remedy."""

    def __init__(self, code: str, message: str, traceback: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.traceback = traceback


def import_module(name: str, runtime: str) -> ModuleType:
    """Import a module. Raises LoadError, whatever the user's code raises."""
    _refuse_taken_names(name)
    try:
        # Not importlib.import_module: __import__ leaves the frames of the import system out of tracebacks.
        with forked.Guard():
            __import__(name)
        return sys.modules[name]
    except SyntaxError as error:
        message = f"{_relative(error.filename)}:{error.lineno}: {error.msg}"
        raise LoadError("SyntaxError", message, format_traceback(error)) from None
    except ImportError as error:
        raise LoadError("ImportModuleError", _explain(error, name, runtime), format_traceback(error)) from None
    except BaseException as error:  # a module may raise anything, even SystemExit; the template must answer
        raise init_failed(f"importing {name!r}", error) from None


def init_failed(doing: str, error: BaseException) -> LoadError:
    """An InitFailed error. `doing` is what failed, such as `importing 'shop'`."""
    from . import hints

    message = f"{doing} failed: {type(error).__name__}: {message_of(error)}{hints.hint_of(error)}"
    return LoadError("InitFailed", message, format_traceback(error))


def did_you_mean(name: str, known: list[str], cutoff: float = 0.6) -> str:
    """` (did you mean 'x'?)`, or empty if no known name is similar."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1, cutoff=cutoff)
    return f" (did you mean {near[0]!r}?)" if near else ""


def in_one_folder() -> str:
    """What to do if all of the code is in one folder, as in the zips of code forges; else an empty text."""
    names = [name for name in os.listdir() if name != "__pycache__"]
    if len(names) != 1 or not os.path.isdir(names[0]):
        return ""
    return f"; all of the code is in the folder {names[0]}/, whose contents have to be the code"


def _refuse_taken_names(name: str) -> None:
    """Refuse a name that an import finds elsewhere before it searches the function's directory."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top == "_forklight":
        owner = "Forklight" if top == "_forklight" else "the standard library"
        raise LoadError("BuiltInModuleConflict", f"the name {top!r} belongs to {owner}: rename the function's module")
    file = getattr(sys.modules.get(top), "__file__", None)
    if file is not None and top in _own_modules() and not _is_own_file(file):
        message = f"the function's {top!r} is hidden by the one that its runtime preloads: rename the function's module"
        raise LoadError("BuiltInModuleConflict", message)


def _explain(error: ImportError, module: str, runtime: str) -> str:
    where = f"runtime {runtime!r} (Python {sys.version.split()[0]} at {sys.prefix})"
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if not missing:
        is_relative = "no known parent package" in str(error)
        advice = ": the folder of the code is not a package; import the module by its name alone" if is_relative else ""
        return f"importing {module!r} failed: {message_of(error)}{advice}, in {where}"
    top = missing.partition(".")[0]
    own = _own_modules()
    if missing != top and top in own:
        return f"{message_of(error)}: the function's own {top!r} has no such module"
    if f"{module}.".startswith(f"{missing}."):
        listed = ", ".join(own) or "no modules"
        near = did_you_mean(top, own) or in_one_folder()
        return f"{message_of(error)}: not in the function's code ({listed}), nor in {where}{near}"
    import pkgutil

    known = sorted(sys.stdlib_module_names | {found.name for found in pkgutil.iter_modules()})
    near = did_you_mean(top, known, cutoff=0.8)  # among hundreds, only names that differ by a letter or two
    advice = how_to_add(top, runtime)
    return f"{message_of(error)}: it is neither in the function's code nor in {where}{near}. {advice}"


def how_to_add(module: str, runtime: str) -> str:
    """How to add the package of a module to the runtime: in its requirements file if it has one, else with pip."""
    package = _PACKAGES.get(module, module)
    try:
        with open(os.path.join(sys.prefix, wire.RUNTIME_MARK), encoding="utf-8") as mark:
            requirements, command = [*mark.read().splitlines(), "forklight install"][:2]
    except OSError:
        advice = f"Install the package that provides it there: {sys.executable} -m pip install {package}"
        if runtime != "default":
            return advice
        own = 'runtime = "app" below the function, requirements = "requirements.txt" below [runtimes.app]'
        return f"{advice}; or in a runtime of its own: write {own}, {package} in that file, and run: forklight install"
    return f"Add the line {package} to {requirements}, then run: {command}"


def _own_modules() -> list[str]:
    """The top-level module names of the function's code."""
    with os.scandir() as entries:
        files = sorted((entry.name, entry.is_dir()) for entry in entries)
    return [name if is_dir else name[: -len(".py")] for name, is_dir in files if _is_module(name, is_dir)]


def _is_module(name: str, is_dir: bool) -> bool:
    return name.isidentifier() and name != "__pycache__" if is_dir else name.endswith(".py")


def _is_own_file(file: str) -> bool:
    return os.path.realpath(file).startswith(os.path.realpath(os.curdir) + os.sep)


def _relative(file: str | None) -> str:
    return os.path.relpath(file) if file and os.path.isabs(file) and _is_own_file(file) else str(file)
