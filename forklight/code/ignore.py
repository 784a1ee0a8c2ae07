"""`.forklightignore`: which files of the code stay out of a snapshot. Pure; the everyday part of gitignore(5).

Not `pathspec`: in 1.1.1 `[!a]` also matches a slash, and `d/**/` the folder `d` itself. A test compares this with git.

- one pattern a line; blank lines and lines that begin with # are ignored; a later line overrides an earlier one;
- a pattern without a slash, or with one only at its end, matches a name in any folder; any other counts from the root;
- a slash at the end matches folders only; what lies in a folder that is left out is left out too;
- `*` and `?` stop at a slash, `**/` is any number of folders, `[a-z]` and `[!a-z]` (or `[^a-z]`) are one character;
- `!` in front takes files back in. To begin a pattern with # or !, put a backslash before it.
"""

import re
from collections.abc import Callable

_PART = re.compile(r"\*\*/|/\*\*$|\*|\?|\[[!^]?(?:\][^\]]*|[^\]]+)\]|\\.|.", re.DOTALL)


def ignored_by(text: str) -> Callable[[str, bool], bool]:
    """Return a predicate of (path from the root with slashes, is it a folder): whether `text` leaves it out.

    Raises ValueError, which names the line.
    """
    decision = decided_by(text)
    return lambda path, is_folder: bool(decision(path, is_folder))


def decided_by(text: str) -> Callable[[str, bool], bool | None]:
    """As `ignored_by`, but the predicate returns None for a path that no line matches."""
    rules = []
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.rstrip()
        if line and not line.startswith("#"):
            try:
                rules.append(_rule(line))
            except re.error as error:
                raise ValueError(f"line {number} is not a valid pattern: {error}") from error

    def decision(path: str, is_folder: bool) -> bool | None:
        out = None
        for pattern, folders_only, leaves_out in rules:
            if (is_folder or not folders_only) and pattern.fullmatch(path):
                out = leaves_out
        return out

    return decision


def _rule(line: str) -> tuple[re.Pattern[str], bool, bool]:
    """Return (pattern of the whole path, whether it matches folders only, whether it leaves out)."""
    leaves_out = not line.startswith("!")
    pattern = line if leaves_out else line[1:]
    folders_only = pattern.endswith("/")
    pattern = pattern.removesuffix("/")
    anywhere = "" if "/" in pattern and pattern != "/**" else "(?:.*/)?"
    parts = _PART.findall(pattern.removeprefix("/"))
    return re.compile(anywhere + "".join(map(_regex, parts)), re.DOTALL), folders_only, leaves_out


def _regex(part: str) -> str:
    match part:
        case "**/":
            return "(?:.*/)?"
        case "/**":
            return "/.+"
        case "*":
            return "[^/]*"
        case "?":
            return "[^/]"
    if part.startswith("[") and len(part) > 1:
        is_negated = part[1] in "!^" and len(part) > 3
        members = re.sub(r"[^\w-]", r"\\\g<0>", part[1 + is_negated : -1])
        return f"(?!/)[{'^' * is_negated}{members}]"
    return re.escape(part[-1])
