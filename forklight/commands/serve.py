"""`forklight serve`: starts a server from a configuration, and prints where it can be reached."""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from socket import socket

import anyio
import click
from msgspec.structs import replace

from bus.message import inbox
from bus.store import StoreError
from forklight import app
from forklight.checking.check import file_warnings
from forklight.commands.rows import told_levels
from forklight.commands.usage_rows import last_line
from forklight.config import queue
from forklight.config.configuration import Config, empty, load
from forklight.config.document import FILE_NAME
from forklight.config.http import told
from forklight.config.queue import BusUrl
from forklight.config.runtimes import NotInstalled
from forklight.observe.formats import json_lines, text_lines
from forklight.observe.status import Usage
from forklight.observe.terminal import log_to_stderr, say
from forklight.packages.room import refusal
from forklight.serving.application import application_name
from forklight.serving.installing import Holder, remove_unused
from forklight.serving.isolation import containments
from forklight.serving.picture import ignore_print_signal
from forklight.serving.reloaded import ReloadResult, lines
from forklight.serving.systemd import Notifier, inherited_socket, listen_address
from forklight.state.directory import State, keys_path, open_runtimes, open_state, state_path
from forklight.state.releases import ReleaseError, releases_path
from triggers.http import HttpTriggerError
from triggers.http.policy.keys import read_keys
from triggers.http.policy.scopes import missing
from triggers.http.socket.bind import unix_path
from triggers.http.templates import PARAMETER

_EXAMPLES = {"int": "1", "float": "1.5", "uuid": "00000000-0000-4000-8000-000000000000", "path": "a/b"}


_MOST_SHOWN = 40
"""Lines of routes, queues and timers at the start."""
_LOOK_AGAIN_S = 0.5
"""How often `dev` looks whether the runtimes that it needs are installed by now."""

_path = click.argument("path", type=click.Path(path_type=Path), default=Path(), metavar="[DIR|FILE]")
_listen = click.option(
    "--listen", metavar="HOST:PORT|unix:PATH", help="Instead of [http] listen; else FORKLIGHT_LISTEN, else PORT."
)

_state = click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="The state directory.")


@click.command(short_help="Serve the functions of a directory or of a single file.")
@_path
@_listen
@_state
@click.option("--log-format", type=click.Choice(["text", "json"]), help="Default: text on a terminal, else json.")
@click.option("--quiet", is_flag=True, help="No line for each invocation; what functions write is still shown.")
@click.option(
    "--debug", is_flag=True, help="Log each decision about instances, processes, messages and timers to standard error."
)
def serve(
    *, path: Path, listen: str | None, state: Path | None, log_format: str | None, quiet: bool, debug: bool
) -> int:
    """Serve the functions of a directory, or of a single file, until SIGTERM or Ctrl-C.

    SIGHUP reloads. SIGUSR1 prints all tasks, pools, templates and instances to standard error.

    \b
    Examples:
      forklight serve                        the forklight.toml of this directory
      forklight serve hello.py               a single file needs no configuration
      forklight serve app/ --listen 0.0.0.0:80
      forklight serve --state server         an empty server: forklight deploy brings applications
      PORT=8000 forklight serve --log-format json
    """
    text = log_format == "text" or (log_format is None and sys.stdout.isatty())
    return _serve(path, listen, state, text=text, quiet=quiet, dev=False, debug=debug)


@click.command(short_help="Serve while you write: reload each time a file is saved.")
@_path
@_listen
@_state
def dev(path: Path, listen: str | None, state: Path | None) -> int:
    """Serve while you write: each saved file is served at once, and failures are shown on the terminal and to clients.

    If a version does not load, the one before it keeps serving.

    \b
    Examples:
      forklight dev                          the forklight.toml of this directory
      forklight dev hello.py                 a single file needs no configuration
      forklight dev --listen 127.0.0.1:9000
    """
    return _serve(path, listen, state, text=True, quiet=False, dev=True, debug=False)


def _serve(
    path: Path, listen: str | None, state: Path | None, *, text: bool, quiet: bool, dev: bool, debug: bool
) -> int:
    holder = Holder()

    def read() -> Config:
        config = _read(path, state, dev=dev)
        holder.hold(config.environments.values())
        return _with_bus(_with_listen(config, listen))

    ignore_print_signal()
    log_to_stderr(debug=debug)
    config = _when_installed(read) if dev else read()
    for warning in config.warnings:
        say(f"warning: {warning}", err=True)
    given = _given()
    options = app.Options(
        render=partial(text_lines, colour=sys.stdout.isatty()) if text else json_lines,
        quiet=quiet,
        dev=dev,
        ended=_say_nothing if dev else _sum_up,
        ready=partial(_announce, given),
        load=read,
        report=_tell,
        say=partial(say, err=True),
        environ=os.environ,
        given=given,
        notifier=Notifier(os.environ, os.getpid()),
    )
    with open_state(state_path(state, os.environ, config.path), config.user) as owned:
        if not releases_path(owned.path).exists():  # else applications may use others
            remove_unused(owned.path, config.path, {environment.path for environment in config.environments.values()})
        if dev:
            open_runtimes(owned.path, config.user)  # to be watched
        try:
            _warn_of_no_key(config, owned)
            for warning in file_warnings(config, config.apart | {owned.path}):
                say(f"warning: {warning}", err=True)
            anyio.run(app.serve, config, owned, options, backend_options={"use_uvloop": True})
        except (OSError, HttpTriggerError, StoreError, ReleaseError, ExceptionGroup) as error:
            raise click.ClickException(_reason(error, owned.path)) from None
    return 0


def _read(path: Path, state: Path | None, *, dev: bool) -> Config:
    """Read the configuration. With --state and without a configuration here, it is empty. Raises ConfigError."""
    if state is not None and not dev and path == Path() and not (path / FILE_NAME).is_file():
        return empty(path.absolute(), state, os.environ)
    return load(path, os.environ, state, may_be_empty=state is not None and not dev)


def _when_installed(read: Callable[[], Config]) -> Config:
    """Read the configuration. If runtimes are not installed, say so and wait until they are. Raises ConfigError."""
    told = ""
    while True:
        try:
            return read()
        except NotInstalled as error:
            if str(error) != told:
                told = str(error)
                say(f"{told}\nwaiting for that; Ctrl-C ends", err=True)
        time.sleep(_LOOK_AGAIN_S)


def _tell(told: ReloadResult) -> None:
    """Print the result of a reload on standard error, problems in red on a terminal."""
    for line in lines(told):
        say(line, err=True, colour=None if told.ok else "red")


def _warn_of_no_key(config: Config, state: State) -> None:
    """Raises KeysError."""
    guarded = [route for route in config.routes if route.auth is not None]
    known = read_keys(keys_path(state.path)).values() if guarded else ()
    for route in guarded:
        if all(missing(key.scopes, route.scopes) for key in known):
            options = "".join(f" --scope {scope}" for scope in route.scopes)
            line = f"there is no key yet for {told(route)}: forklight keys create NAME{options} makes one"
            say(f"warning: {line}", err=True)
            return


def _given() -> socket | None:
    try:
        return inherited_socket(os.environ, os.getpid())
    except HttpTriggerError as error:
        raise click.ClickException(str(error)) from None


def _reason(error: Exception, state: Path) -> str:
    """Return in one line why the server did not run. Raises the error again if it is none that is expected."""
    if isinstance(error, ExceptionGroup):
        return "; ".join(_reason(one, state) for one in error.exceptions)
    if isinstance(error, HttpTriggerError | StoreError | ReleaseError):
        return str(error)
    if isinstance(error, OSError):
        return f"cannot serve: {refusal(error, state)}"
    raise error


def _with_listen(config: Config, flag: str | None) -> Config:
    """Apply `--listen`, else FORKLIGHT_LISTEN, else PORT (on all interfaces, as platforms that set it expect)."""
    port = os.environ.get("PORT")
    listen = flag or os.environ.get("FORKLIGHT_LISTEN") or (f"0.0.0.0:{port}" if port else None)
    if listen is None:
        return config
    settings = replace(config.settings, http=replace(config.settings.http, listen=listen))
    return replace(config, settings=settings)


def _with_bus(config: Config) -> Config:
    """Apply FORKLIGHT_BUS_URL, so that one file serves on a laptop and beside a broker."""
    written = os.environ.get("FORKLIGHT_BUS_URL")
    if not written:
        return config
    try:
        url = BusUrl.parse(written)
    except ValueError as error:
        raise click.UsageError(f"FORKLIGHT_BUS_URL {error}") from None
    return replace(config, settings=replace(config.settings, bus=replace(config.settings.bus, url=url)))


def _announce(given: socket | None, config: Config, port: int, admin_port: int | None) -> None:
    """Print routes and a curl command on standard error: standard output is for what functions write."""
    say(f"Forklight serves {config.path if config.path.exists() else 'what is deployed to it'}", err=True)
    served = _served(config)
    shown = served if len(served) <= _MOST_SHOWN else served[: _MOST_SHOWN - 1]
    width = max((len(what) for what, _ in shown), default=0)
    for what, function in shown:
        say(f"  {what:{width}}  {function}", err=True)
    if len(shown) < len(served):
        say(f"  and {len(served) - len(shown)} more: forklight ps lists them", err=True)
    if config.settings.brokers or not config.settings.bus.url.is_embedded:
        say(f"  queues of RabbitMQ that begin with forklight.{application_name(config)}.", err=True)
    if admin_port is not None:
        say(f"  health and metrics on port {admin_port}", err=True)
    base = _base(config.settings.http.listen if given is None else listen_address(given), port)
    if config.functions:
        levels = {name: contained.level for name, contained in containments(config).items()}
        say(f"  isolation: {told_levels(levels)} (forklight doctor says more)", err=True)
    else:
        say(f"  nothing yet on {base}: forklight deploy brings an application", err=True)
    if config.routes:
        say(f"Try: {_curl(config, base)}", err=True)


def _sum_up(used: Usage, up_s: float) -> None:
    """Print what the server did in its life, if it did anything."""
    if line := last_line(used, up_s):
        say(line, err=True)


def _say_nothing(_used: Usage, _up_s: float) -> None:
    """In `dev` the server's life says nothing about what it costs."""


def _base(listen: str, port: int) -> str:
    """Return what comes between `curl` and the path."""
    path = unix_path(listen)
    if path is not None:
        return f"--unix-socket {path} http://localhost"
    host = listen.rpartition(":")[0]
    shown = "127.0.0.1" if host in ("0.0.0.0", "[::]") else host  # noqa: S104  compared, not listened on
    return f"http://{shown}:{port}"


def _served(config: Config) -> list[tuple[str, str]]:
    """Return pairs of a trigger (or a folder of files) and its function."""
    own = [trigger for trigger in config.queues if trigger.queue != inbox(trigger.function)]
    return [
        *((told(route), route.function) for route in config.routes),
        *((one.path, f"files of {one.dir}") for one in config.settings.http.static),
        *((f"queue {queue.told(trigger)}", trigger.function) for trigger in own),
        *((f"timer {timer.schedule.text}", timer.function) for timer in config.timers),
    ]


def _curl(config: Config, base: str) -> str:
    """Return a command that calls the first route, with an example for each parameter and the place of a key."""
    route = config.routes[0]
    path = PARAMETER.sub(lambda found: _EXAMPLES.get(found[2] or "str", "world"), route.path)
    key = "" if route.auth is None else ' -H "Authorization: Bearer $KEY"'
    if "GET" in route.methods:
        return f"curl {base}{path}{key}"
    return f"curl -X {route.methods[0]} {base}{path}{key} -H 'Content-Type: application/json' -d '{{}}'"
