"""Shared by the commands that deploy, and change what is deployed: which server and application they mean, and how its
answer is told. They ask like any client; only `deploy` reads more of a configuration than its name."""

import contextlib
import functools
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlencode

import click
import msgspec
from click.core import ParameterSource
from msgspec import Struct

from bus.limits import slug
from forklight.admin.places import NoServer, Place, Refused, Session, needs_key, of_state, place_of
from forklight.commands.asking import state_of
from forklight.config.document import FILE_NAME, read_document
from forklight.config.expand import expand
from forklight.config.hint import did_you_mean
from forklight.config.problem import ConfigError
from forklight.observe.terminal import say, say_json
from forklight.serving.deployment import ApplicationStatus, Deployed
from forklight.serving.reloaded import lines

KEY = "FORKLIGHT_KEY"
_TIMEOUT_S = 60.0
_USED_WRONGLY = (400, 404, 413, 422)
_NO_SUCH_PATH = "404: Not Found"
"""aiohttp's text for a path that a server does not have."""
_PROBLEM = "application/problem+json"
"""Only the listener of `[http]` answers with it."""

Command = TypeVar("Command", bound=Callable[..., Any])


class Target(Struct, frozen=True, kw_only=True):
    """The server that a command means. `words` are the options that name it, for a command to show."""

    place: Place
    words: tuple[str, ...]


def target_options(command: Command) -> Command:
    """Add `--to`, `--state`, `--key-file`, `--ca` and `--json`; `target_of` reads them."""
    options = (
        click.option(
            "--to",
            metavar="URL",
            envvar="FORKLIGHT_TO",
            show_envvar=True,
            help="The server: https://HOST:PORT or unix:/PATH.",
        ),
        click.option(
            "--state", type=click.Path(path_type=Path), metavar="DIR", help="Its state directory, if it is here."
        ),
        click.option(
            "--key-file",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help=f"A file with the deploy key, instead of {KEY}.",
        ),
        click.option(
            "--ca", type=click.Path(path_type=Path), metavar="FILE", help="Trust the certificates in this file (PEM)."
        ),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def in_json(command: Callable[..., int]) -> Callable[..., int]:
    """With `--json`, let whatever keeps the command from its result be one: the last line of output is always JSON."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> int:
        try:
            return command(*args, **options)
        except click.ClickException as error:
            if not options["as_json"]:
                raise
            done = Deployed(ok=False, application=options["name"] or "", error=error.format_message())
            say_json(msgspec.json.encode(done))
            return error.exit_code

    return run


def change_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add `--name` and `-c`, which say which application is meant, and what `target_options` adds."""
    name = click.option("--name", metavar="NAME", help="The application. Default: that of DIR, or the only one.")
    folder = click.option(
        *("-c", "--config", "path"),
        type=click.Path(path_type=Path),
        default=Path(),
        metavar="DIR",
        help="The application's directory. Default: this one.",
    )
    return name(folder(target_options(in_json(command))))


def target_of(path: Path, *, to: str | None, state: Path | None, key_file: Path | None, ca: Path | None) -> Target:
    """Return the server. `path` is the application's folder, whose own server is the default."""
    if to is not None and state is not None:
        if click.get_current_context().get_parameter_source("to") is not ParameterSource.ENVIRONMENT:
            raise click.UsageError("--to and --state both name a server: give one of them")
        to = None
    if to is None:
        if ca is not None or key_file is not None:
            raise click.UsageError("--ca and --key-file are for a server at --to URL")
        return Target(place=of_state(state_of(path, state)), words=() if state is None else ("--state", str(state)))
    files = (("--key-file", key_file), ("--ca", ca))
    words = ("--to", to, *(word for option, file in files if file for word in (option, str(file))))
    try:
        return Target(place=place_of(to, _key(key_file) if needs_key(to) else "", ca), words=words)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _key(file: Path | None) -> str:
    """Return the deploy key. It is never an argument, which every user of a machine can read."""
    if file is None:
        if key := os.environ.get(KEY, "").strip():
            return key
        make = "on the server, forklight keys create NAME --deploy makes one"
        raise click.UsageError(f"this needs a deploy key: set {KEY}, or give --key-file FILE; {make}")
    try:
        return file.read_text("ascii").strip()
    except OSError as error:
        raise click.UsageError(f"the key in {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"{file} holds no deploy key") from None


@contextlib.contextmanager
def session_with(target: Target) -> Iterator[Session]:
    """Yield a session, and turn what goes wrong in it into errors of click."""
    try:
        with contextlib.closing(Session(target.place, _TIMEOUT_S)) as session:
            yield session
    except NoServer as error:
        raise click.ClickException(str(error)) from None
    except Refused as error:
        _refuse(target.place, error)


def _refuse(place: Place, error: Refused) -> NoReturn:
    line = str(error)
    if error.status == 404 and line == _NO_SUCH_PATH:
        line = "cannot be deployed to: it is older than this command, cannot read its keys, or has no deploy key"
        raise click.ClickException(f"{place} {line} (forklight keys create NAME --deploy)") from None
    if any(name.lower() == "content-type" and text.startswith(_PROBLEM) for name, text in error.headers.items()):
        line = "serves requests for functions: name the address of [admin] listen instead"
        raise click.ClickException(f"{place} {line}") from None
    if error.status == 401:
        line = f"{line}; forklight keys list on the server shows which there are"
    wrongly = error.status in _USED_WRONGLY
    raise (click.UsageError if wrongly else click.ClickException)(f"{place} refused it: {line}") from None


def applications(session: Session, wanted: str | None = None) -> list[ApplicationStatus]:
    """Return what is deployed there, of what the key is for. It is refused if that is not `wanted`, which is meant."""
    query = f"?{urlencode({'for': wanted})}" if wanted else ""
    with session.answer("GET", f"/applications{query}") as response:
        return decoded(response.read(), list[ApplicationStatus], session.place)


T = TypeVar("T")


def decoded(answer: bytes, type_: type[T], place: Place) -> T:
    """Return an answer as a value. Raises an error of click if it is none of Forklight's."""
    try:
        return msgspec.json.decode(answer, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{place} is not a Forklight, or a newer one: its answer says {error}") from None


def name_in(folder: Path) -> str | None:
    """Return the name of the application in a folder, as `[bus] name` or the folder says; None if there is none."""
    file = folder / FILE_NAME if folder.is_dir() else folder
    if file.name != FILE_NAME or not file.is_file():
        return None
    written = ""
    with contextlib.suppress(ConfigError, ValueError):  # a mistake in the file must not be in the way of a rollback
        node = read_document(file).at("bus").at("name")
        written = expand(node.value, os.environ) if isinstance(node.value, str) else ""
    return slug(written or Path(os.path.abspath(file)).parent.name)


def chosen(wanted: str | None, known: list[ApplicationStatus]) -> ApplicationStatus:
    """Return the application that a command means: `wanted`, or the only one."""
    names = [one.name for one in known]
    wanted = wanted or (names[0] if len(names) == 1 else None)
    if wanted is None:
        raise click.UsageError(
            f"say which application: --name {'|'.join(names)}" if names else "nothing is deployed there"
        )
    for one in known:
        if one.name == wanted:
            return one
    there = f"there are {', '.join(names)}" if names else "nothing is deployed there"
    raise click.UsageError(
        f"there is no application {wanted!r} on the server{did_you_mean(wanted, names) or f': {there}'}"
    )


class Changed(Struct, frozen=True, kw_only=True):
    """An application as it was, and what came of the change."""

    before: ApplicationStatus
    done: Deployed
    target: Target
    as_json: bool

    @property
    def took(self) -> str:
        """How long it took, as the end of a line."""
        return f"after {self.done.times_ms.get('total', 0):.0f} ms"

    def tell(self, line: str, *ways: str) -> int:
        """Print it: `line` if it went well, and what one may do next. Return the exit status."""
        done, name = self.done, self.before.name
        if self.as_json:
            say_json(msgspec.json.encode(done))
        elif not done.ok:
            for problem in problems_told(done):
                say(problem, err=True)
            say(f"nothing has changed on {self.target.place}", err=True)
        else:
            say(f"{name}: {line}")
            for way in ways:
                say(f"  {way}")
        return status_of(done)

    def command(self, *words: str) -> str:
        """Return a command for this application, to copy."""
        return shown(*words, name=self.before.name, target=self.target)


def changed(
    method: str, resource: str, query: Mapping[str, str], *, name: str | None, path: Path, **options: Any
) -> Changed:
    """Have the server change an application, `resource` being the end of the path."""
    as_json = options.pop("as_json")
    target = target_of(path, **options)
    with session_with(target) as session:
        wanted = name or name_in(path)
        before = chosen(wanted, applications(session, wanted))
        resource = f"/applications/{before.name}/{resource}?{urlencode(query)}"
        with session.answer(method, resource) as response:
            done = decoded(response.read(), Deployed, target.place)
    return Changed(before=before, done=done, target=target, as_json=as_json)


def shown(*words: str, name: str, target: Target) -> str:
    """Return a command to copy."""
    return shlex.join(["forklight", *words, "--name", name, *target.words])


def problems_told(done: Deployed) -> list[str]:
    """Return lines that say why nothing has changed."""
    told = [*map(str, done.problems), *([done.error] if done.error else [])]
    if done.result is not None and not done.result.ok:
        told += [line for line in lines(done.result) if line not in told]
    return told


def status_of(done: Deployed) -> int:
    """Return the exit status: 2 for mistakes in a configuration, 1 for anything else that failed."""
    if done.ok:
        return 0
    mistakes = done.problems or (done.result is not None and done.result.problems)
    return 2 if mistakes else 1
