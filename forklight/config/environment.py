"""The environment of a function: `env_file`, `env` over it, the values of its secrets, and its data folder."""

import codecs
import re
from collections.abc import Mapping, Set
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from forklight.config.code import CodeSettings
from forklight.config.deploy import Lent
from forklight.config.document import Node
from forklight.config.envfile import parse_env_file
from forklight.config.expand import NAME
from forklight.config.functions import FunctionSettings, Secret
from forklight.config.hint import did_you_mean, near_file
from forklight.config.problem import Problem
from forklight.packages.source import header_value_problem

DATA = "FORKLIGHT_DATA"
"""The variable with the path of the data folder."""

_VARIABLE_FORM = "letters, digits and _, no digit first"
_ACTS_AT_EXEC = re.compile(r"LD_.*|PYTHON.*")
_ACT_LATER = {
    "PYTHONPATH",
    "PYTHONWARNINGS",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONUNBUFFERED",
    "PYTHONFAULTHANDLER",
}
"""Those that a template applies itself, or that change nothing in it."""
_MOST_BYTES = 1024 * 1024
"""The limit of an env file, and of a file with a secret. (Linux gives a program at most 128 KiB in one variable.)"""
_POSIX_ZONE = re.compile(r"(<[^>]+>|[A-Za-z]{3,})[+-]?\d.*")
"""Such as `EST5EDT`: see tzset(3)."""


class Secrets(dict[str, str]):
    """The values of secrets by name; its repr shows the names only, so that no log or traceback shows a value."""

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self))})"


def read_environment(
    settings: FunctionSettings, node: Node, environ: Mapping[str, str], problems: list[Problem]
) -> tuple[dict[str, str], Secrets]:
    """Return the variables and the secrets of a function; reads their files. Appends mistakes to `problems`."""
    env = _env_file(settings.env_file, node.at("env_file"), problems) if settings.env_file else {}
    env |= settings.env
    secrets = Secrets()
    for name, secret in settings.secrets.items():
        place = node.at("secrets").at(name)
        if name in settings.env:
            problems.append(place.problem("is also in env: keep one of them"))
        try:
            secrets[name] = _secret(secret, environ)
        except ValueError as error:
            problems.append(place.problem(str(error)))
    for key, values in (("env", env), ("secrets", secrets)):
        check_variables(node.at(key), values, problems)
    return env, secrets


def read_headers(settings: CodeSettings, node: Node, environ: Mapping[str, str], problems: list[Problem]) -> Secrets:
    """Return the headers for the request of code; reads their files. Appends mistakes to `problems`."""
    headers = Secrets()
    for name, header in settings.headers.items():
        try:
            value = header.value
            if value is None:
                value = header.prefix + _secret(Secret(file=header.file, env=header.env), environ)
            if problem := header_value_problem(value):
                raise ValueError(problem)
            headers[name] = value
        except ValueError as error:
            problems.append(node.at("headers").at(name).problem(str(error)))
    return headers


def data_variable(
    folder: Path, env: Set[str], secrets: Set[str], node: Node, problems: list[Problem]
) -> dict[str, str]:
    """Return the variable of a function with `data = true`. Appends a problem if the function sets it itself."""
    if DATA in env | secrets:
        place = node.at("secrets").at(DATA) if DATA in secrets else _place(node, DATA)
        problems.append(place.problem(f"sets {DATA}, as data = true does: keep one of them"))
    return {DATA: str(folder)}


def exec_only_warnings(node: Node, env: Mapping[str, str]) -> list[Problem]:
    """Return a warning for each variable that acts only when a program starts, which a forked instance never does."""
    advice = "acts only when an interpreter starts, and an instance is forked: it will have no effect"
    found = [name for name in env if _ACTS_AT_EXEC.fullmatch(name) and name not in _ACT_LATER]
    return [_place(node, name).problem(f"{name} {advice}") for name in found]


def zone_warnings(node: Node, env: Mapping[str, str]) -> list[Problem]:
    """Return a warning if TZ names no time zone: the C library then takes UTC, and says nothing."""
    zone = env.get("TZ", "").removeprefix(":")
    if not zone or zone.startswith("/") or _POSIX_ZONE.fullmatch(zone):
        return []
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = did_you_mean(zone, available_timezones())
        return [_place(node, "TZ").problem(f"TZ: there is no time zone {zone!r}{near}: local times will be in UTC")]
    return []


def check_variables(node: Node, values: Mapping[str, str], problems: list[Problem]) -> None:
    """Append a problem for each name or value that no environment can hold."""
    for name, value in values.items():
        if not NAME.fullmatch(name):
            problems.append(node.at(name).problem(f"is not a variable name: {_VARIABLE_FORM}{_likely(name)}"))
        if "\0" in value:
            problems.append(node.at(name).problem("holds a zero byte, which no environment can"))


def _likely(name: str) -> str:
    likely = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
    return f": write {likely}" if NAME.fullmatch(likely) else ""


def _place(node: Node, name: str) -> Node:
    """Return the node of a variable, or of the file it comes from."""
    env = node.at("env")
    here = env.at(name)
    return here if here is not env else node.at("env_file")


def _env_file(path: Path, node: Node, problems: list[Problem]) -> dict[str, str]:
    try:
        values, wrong = parse_env_file(_text(path), str(path))
    except _UnreadableError as error:
        problems.append(node.problem(str(error)))
        return {}
    problems.extend(wrong)
    return values


def _secret(secret: Secret, environ: Mapping[str, str]) -> str:
    """Return the value; of a file, without the line end (LF or CRLF) at its end."""
    if secret.env is not None:
        if secret.env not in environ:
            why = environ.why_missing(secret.env) if isinstance(environ, Lent) else f"{secret.env}, which is not set"
            raise ValueError(f"needs the environment variable {why}")
        return environ[secret.env]
    assert secret.file is not None
    text = _text(secret.file)
    return text.removesuffix("\r\n" if text.endswith("\r\n") else "\n")


class _UnreadableError(ValueError):
    """The message names the file and the cause, and nothing of what is in it."""


def _text(path: Path) -> str:
    """Return the text of a file without its byte order mark. Raises _UnreadableError."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise _UnreadableError(f"{path} is larger than 1 MiB: let the function read it itself")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise _UnreadableError(f"{path} cannot be read: {error.strerror}{near_file(path)}") from None
    except UnicodeDecodeError:  # `from None`: the error holds the bytes of a secret
        is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        cause = "is UTF-16: save it as UTF-8" if is_utf16 else "is not valid UTF-8"
        raise _UnreadableError(f"{path} {cause}") from None
