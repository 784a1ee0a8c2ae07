"""The variables of a function, in an interpreter that has run for a while: what it read at its start is read again.

The rest of `PYTHON*` has no effect in this process, only in programs that it starts; `forklight check` warns of it.
"""

import codecs
import contextlib
import os
import sys
import time
import warnings

_DEFAULT_LOCALES = ("", "C", "POSIX", "C.UTF-8", "C.utf8")
"""In the first three Python takes C.UTF-8 by itself (PEP 538), which is what the interpreter was started with."""


def take_on(env: dict[str, str]) -> None:
    """Set these variables, and let the process follow them. The working directory is the code's."""
    os.environ.update(env)
    time.tzset()
    _set_locale()
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        sys.dont_write_bytecode = True
    if options := os.environ.get("PYTHONWARNINGS"):
        _filter_warnings(options.split(","))


def extra_path() -> list[str]:
    """The folders of PYTHONPATH; relative ones count from the code."""
    return [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]


def _filter_warnings(options: list[str]) -> None:
    sys.warnoptions.extend(options)
    process = getattr(warnings, "_processoptions", None)
    if process is not None:  # it says on standard error what it does not understand
        process(options)


def _set_locale() -> None:
    """How characters are classified, as at Python's start; the rest follows `locale.setlocale` as ever."""
    name = next((name for name in ("LC_ALL", "LC_CTYPE", "LANG") if os.environ.get(name)), "LANG")
    value = os.environ.get(name, "")
    if value in _DEFAULT_LOCALES:
        return
    import locale

    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, "")
    except locale.Error:
        sys.stderr.write(f"[forklight] {name} = {value!r} has no effect: there is no such locale on this machine\n")
        return
    encoding = locale.nl_langinfo(locale.CODESET)
    with contextlib.suppress(LookupError):
        if codecs.lookup(encoding).name == codecs.lookup(sys.getfilesystemencoding()).name:
            return
    locale.setlocale(locale.LC_CTYPE, before)
    running = sys.getfilesystemencoding()
    sys.stderr.write(f"[forklight] {name} = {value!r} has no effect here: the interpreter runs with {running}\n")
