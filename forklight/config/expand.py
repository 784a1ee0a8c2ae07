"""`${VAR}` and `${VAR:-default}` in the strings of a configuration."""

import re
from collections.abc import Mapping

from forklight.config.deploy import Lent

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""The form of an environment variable's name."""

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Return `text` with its references replaced; `$${` stands for a plain `${`.

    A default also replaces an empty variable, as in a shell. Raises ValueError, which names every variable that is
    not set.
    """
    missing: list[str] = []

    def value(match: re.Match[str]) -> str:
        if match[1] is None:
            return "${"
        name, default_follows, default = match[1].partition(":-")
        if not match[2] or not NAME.fullmatch(name):
            raise ValueError("has a bad reference: write ${NAME} or ${NAME:-default}, and $${ for a plain ${")
        if default_follows:
            return environ.get(name) or default
        if name not in environ:
            missing.append(name)
        return environ.get(name, "")

    expanded = _REFERENCE.sub(value, text)
    if missing:
        if isinstance(environ, Lent):
            raise ValueError(f"needs {environ.why_missing(missing[0])}")
        names = ", ".join(dict.fromkeys(missing))
        raise ValueError(f"needs what is not set in the environment: {names} (${{NAME:-default}} would do without)")
    return expanded
