"""The texts of a requirements file, which decide whether an environment has to be made again. Blocks."""

import posixpath
import re
from pathlib import Path

from forklight.config.hint import near_file
from forklight.errors import ForklightError

_NAMED = re.compile(r"(?:-r|-c|--requirement|--constraint)[\s=]*(\S+)")


class RequirementsError(ForklightError):
    """A requirements file that cannot be read; the message says which and why."""


def read_requirements(file: Path) -> dict[str, str]:
    """Return the text of `file` and of each file it names with -r or -c, by the path from its folder.

    Files at a URL are left out, and so is what a local path among the requirements leads to. Raises RequirementsError.
    """
    texts: dict[str, str] = {}
    waiting = [file.name]
    while waiting:
        name = waiting.pop()
        if name in texts:
            continue
        texts[name] = _read(file.parent / name)
        named = (_NAMED.match(line.strip()) for line in texts[name].splitlines())
        folder = posixpath.dirname(name)
        waiting += [
            posixpath.normpath(posixpath.join(folder, found[1])) for found in named if found and "://" not in found[1]
        ]
    return texts


def has_hashes(texts: dict[str, str]) -> bool:
    """Return whether it is a lock with hashes: pip then requires a hash of every requirement."""
    return any("--hash=" in text or "--require-hashes" in text for text in texts.values())


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise RequirementsError(f"{path} cannot be read: {error.strerror}{near_file(path)}") from error
    except UnicodeDecodeError as error:
        raise RequirementsError(f"{path} is not valid UTF-8") from error
