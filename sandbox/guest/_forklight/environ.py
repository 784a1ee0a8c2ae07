"""Applies a function's environment variables in a running interpreter, including some that Python reads at its start.

Other `PYTHON*` variables take effect only in programs that the function starts; `forklight check` warns of them.
"""

import codecs
import contextlib
import os
import sys
import time
import warnings

_DEFAULT_LOCALES = ("", "C", "POSIX", "C.UTF-8", "C.utf8")
"""Locales that need no change: the interpreter starts with C.UTF-8, which also replaces the first three (PEP 538)."""
_putenv = os.putenv
_variables: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]
"""What `os.environ` shows."""


def take_on(env: dict[str, str]) -> None:
    """Set these variables and apply them to this process. The working directory is that of the code."""
    os.environ.update(env)
    time.tzset()
    _set_locale()
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        sys.dont_write_bytecode = True
    if options := os.environ.get("PYTHONWARNINGS"):
        _filter_warnings(options.split(","))


def replace(env: dict[str, str]) -> None:
    """Set variables in a fresh fork, with few writes to memory that it shares (`os.environ.update` copies 40 pages)."""
    for name, value in env.items():
        key, content = name.encode(), value.encode()
        _putenv(key, content)
        _variables[key] = content


def extra_path() -> list[str]:
    """The folders of PYTHONPATH; relative ones are relative to the code."""
    return [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]


def _filter_warnings(options: list[str]) -> None:
    sys.warnoptions.extend(options)
    process = getattr(warnings, "_processoptions", None)
    if process is not None:  # it reports invalid options on standard error
        process(options)


def _set_locale() -> None:
    """Set LC_CTYPE, as Python does at its start. The function itself can set other categories (`locale.setlocale`)."""
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
    sys.stderr.write(f"[forklight] {name} = {value!r} has no effect in this process: it runs with {running}\n")
