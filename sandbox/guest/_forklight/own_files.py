"""Which files of the function's code its template has loaded. A reload keeps functions that see no changed file."""

import json
import os
import sys
from types import ModuleType

MAX_FILES_BYTES = 32 * 1024
"""Half of a control message."""


def loaded_files(code: str) -> "list[str] | None":
    """The files in the folder `code` that modules were loaded from, relative to it, sorted.

    None if they do not fit into a message, or if a name is not UTF-8.
    """
    folder = os.path.join(code, "")
    found: set[str] = set()
    for module in tuple(sys.modules.values()):
        if issubclass(type(module), ModuleType):
            # Not getattr: a lazy module would be loaded by it.
            file = object.__getattribute__(module, "__dict__").get("__file__")
            if isinstance(file, str) and file.startswith(folder):
                found.add(file[len(folder) :])
    files = sorted(found)
    return files if all(map(_is_utf8, files)) and len(json.dumps(files)) <= MAX_FILES_BYTES else None


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
