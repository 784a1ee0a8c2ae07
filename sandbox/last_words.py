"""What a program printed last before its start failed: often the only place that says why.

The lines go below the stack of the error. If one of them is of a variable that is not set, the message says what would
set it. Values of secrets are replaced by the names of their variables: more people see errors than logs, such as in the
output of a pipeline that deploys. Pure.
"""

import re

from msgspec import Struct

from sandbox.errors import LoadFailed
from sandbox.spec import FunctionSpec

MOST_BYTES = 4096
MOST_LINES = 20
_VARIABLE = re.compile(r"(?<!\w)[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?!\w)")
"""A name that is hardly anything but that of a variable: `DATABASE_URL`."""
_MISSING = re.compile(
    r"\b(?:KeyError|unset|unbound|missing|required|undefined|not found|not present|empty|must set|"
    r"(?:not|must be|to be) (?:set|defined|provided|given|specified|configured))\b",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"\b(?P<set_u>[A-Za-z_]\w*): (?:unbound variable|parameter (?:null or )?not set)"
    r"|\benv(?:ironment)? var(?:iable)?s?:? [\"'`$]*(?P<said>[A-Z][A-Z0-9_]*)\b"
)
"""What bash and dash say with `set -u`, and what people write; any name may be in it."""
_SECRET = re.compile(
    r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH|DSN|DATABASE|POSTGRES|MYSQL|MONGO|REDIS|AMQP", re.IGNORECASE
)
"""Part of the names of variables whose values belong in no file that is shared."""
_NATIVE = re.compile(rb"\s*(?:\d+: 0x[0-9a-f]+ |#\s*$)|----- Native stack trace -----")
"""What Node.js prints when it crashes, of use to its developers only."""
_DATA = "FORKLIGHT_DATA"
_FEWEST_CHARS = 6
"""A shorter value is no secret that could be kept, and may be part of any word."""


class LastWords(Struct):
    """The end of what one process has printed."""

    _written: bytes = b""

    def feed(self, data: bytes) -> None:
        """It has printed `data`."""
        self._written = (self._written + data)[-MOST_BYTES:]

    def lines(self) -> list[bytes]:
        """The last lines, without empty ones and native frames; the first may have lost its beginning."""
        return [line for line in self._written.split(b"\n") if line.strip() and not _NATIVE.match(line)][-MOST_LINES:]


def below(stack: str, words: list[str]) -> str:
    """The stack, and below it the last lines that the program has printed."""
    if not words:
        return stack
    return "\n".join([*([stack.rstrip("\n")] if stack else []), "its last output:", *(f"  {line}" for line in words)])


def quoted(failed: LoadFailed, words: list[str], spec: FunctionSpec) -> LoadFailed:
    """The error with the last lines below it, and with what sets a variable that they say is missing."""
    hint = next((found for line in (*reversed(words), failed.message) if (found := _set_in(line, spec))), "")
    return hidden(LoadFailed(failed.code, f"{failed.message}{hint}", below(failed.traceback, words)), spec)


def hidden(failed: LoadFailed, spec: FunctionSpec) -> LoadFailed:
    """The error with `<NAME>` for the value of each secret, and for each line of a value that has several."""
    lines = {line.strip(): name for name, value in spec.secrets.items() for line in value.splitlines()}
    known = sorted((line for line in lines if len(line) >= _FEWEST_CHARS), key=len, reverse=True)
    if not known:
        return failed
    pattern = re.compile("|".join(map(re.escape, known)))

    def shown(text: str) -> str:
        return pattern.sub(lambda found: f"<{lines[found[0]]}>", text)

    return LoadFailed(failed.code, shown(failed.message), shown(failed.traceback))


def _set_in(line: str, spec: FunctionSpec) -> str:
    """`: …` with what would set the variable that the line says is missing; empty if it says nothing like that."""
    names = [one["set_u"] or one["said"] for one in _NAMED.finditer(line)]
    if not names and _MISSING.search(line):
        names = _VARIABLE.findall(line)
    known = spec.runtime.env.keys() | spec.env.keys() | spec.secrets.keys()
    name = next((name for name in names if name not in known), "")
    if not name or line.lstrip().startswith("File "):
        return ""
    if name == _DATA:
        return f": {name} is not set: write data = true in [functions.{spec.name}] of forklight.toml"
    setting = f'secrets = {{ {name} = {{ file = "…" }} }}' if _SECRET.search(name) else f'env = {{ {name} = "…" }}'
    return (
        f": {name} is not set: a function gets only the variables of its env, env_file and secrets; "
        f"write {setting} in [functions.{spec.name}] of forklight.toml"
    )
