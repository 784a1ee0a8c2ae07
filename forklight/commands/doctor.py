"""`forklight doctor`: says which mechanisms contain the functions here, what is missing, and how to get it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import msgspec

from forklight.admin.client import NoServer, Refused, get
from forklight.checking.diagnosis import Check, Diagnosis, FunctionFound, MechanismFound, diagnose
from forklight.checking.packages import PACKAGES, store_check
from forklight.commands.asking import state_of, state_option
from forklight.commands.rows import listed
from forklight.commands.tables import Cell, print_table
from forklight.config.configuration import Config, load
from forklight.config.document import FILE_NAME
from forklight.config.problem import ConfigError
from forklight.observe.status import Isolation, Status
from forklight.observe.terminal import say, say_json
from forklight.serving.isolation import account_of, asked_by, found_for
from forklight.state.directory import state_path
from forklight.state.users import User, blocking, name_of, unprivileged_user
from sandbox import isolation
from sandbox.containment import Mechanism
from sandbox.levels import Found, Missing
from sandbox.namespaces import NOT_INSTALLED, bubblewrap

_EXIT = {"complete": 0, "incomplete": 1, "refused": 2}
_FUNCTIONS = ("FUNCTION", "LEVEL", "ASKED FOR")
_MECHANISMS = ("MECHANISM", "LEVEL", "WANTED BY", "IN FORCE", "WHY NOT, AND HOW TO GET IT")


@click.command(short_help="Say what contains the functions here, what is missing, and how to get it.")
@click.argument("path", type=click.Path(path_type=Path), default=None, required=False, metavar="[DIR|FILE]")
@state_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: status, best, mechanisms, functions, ….")
def doctor(path: Path | None, state: Path | None, as_json: bool) -> int:
    """Say which mechanisms contain functions on this machine, and for each that is missing, why and how to get it.

    With the configuration of a directory or file, which is that of this directory if there is one, it also says which
    function wants what, and what each one gets. If its server runs, the findings are those of the server: a unit or a
    container may allow it more or less than this shell. docs/security.md says what the mechanisms are good for.

    It also looks through the packages in the state directory: whether each is as it came, and none is gone that a
    version needs.

    The exit status is 0 if functions have everything that they want, 1 if something is missing, and 2 if the
    configuration is wrong or asks for something by name that cannot be had.

    \b
    Examples:
      forklight doctor                        this machine, and the forklight.toml of this directory
      forklight doctor /srv/app
      forklight doctor --json | jq -r '.mechanisms[] | select(.in_force | not) | .name'
      sudo -u shop forklight doctor /srv/shop
    """
    diagnosis = _diagnose(path, state)
    if as_json:
        say_json(msgspec.json.encode(diagnosis))
    else:
        _print(diagnosis)
    return _EXIT[diagnosis.status]


def _diagnose(path: Path | None, state: Path | None) -> Diagnosis:
    if path is None and not Path(FILE_NAME).exists():
        user = unprivileged_user()
        place = state_path(state, os.environ, Path(FILE_NAME))  # that of a server without a configuration
        return diagnose(isolation.find(account_of(user)), {}, _checks(user, place if place.exists() else None))
    source = path or Path()
    running = _running(source, state)
    try:
        config = load(source, os.environ, state)
    except ConfigError as error:
        found = _of_server(running.isolation) if running else isolation.find(account_of(unprivileged_user()))
        return diagnose(found, {}, _checks(None, None), problems=tuple(map(str, error.problems)))
    return diagnose(
        _of_server(running.isolation) if running else found_for(config),
        {name: asked_by(one, config) for name, one in config.functions.items()},
        [*_checks(config.user, state_path(state, os.environ, config.path)), *_interpreters(config)],
        pid=running.pid if running else None,
    )


def _running(path: Path, state: Path | None) -> Status | None:
    """Return the status of the configuration's server, if one answers."""
    with suppress(NoServer, Refused):
        return msgspec.json.decode(get(state_of(path, state), "/status"), type=Status)
    return None


def _of_server(shown: Isolation) -> Found:
    missing = {Mechanism(name): Missing(why, shown.remedies.get(name, "")) for name, why in shown.missing.items()}
    return Found(missing)


def _checks(user: User | None, state: Path | None) -> Iterator[Check]:
    """Yield what else is needed. `state` is the state directory of a configuration."""
    program = bubblewrap()
    if program is None:
        yield Check("bubblewrap", False, str(NOT_INSTALLED))
    else:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        yield Check("bubblewrap", done.returncode == 0, f"{done.stdout.strip() or done.stderr.strip()}, {program}")
    yield Check("user", True, f"functions run as {_who(user)}")
    if state is not None:
        yield _state_check(state, user)
        if os.access(state, os.R_OK | os.X_OK) and (packages := store_check(state)) is not None:
            yield packages


def _who(user: User | None) -> str:
    name = repr(user.name if user else name_of(os.geteuid()))
    if user is None or user.uids is None:
        return name
    return f"users of their own, {user.uids.first + 1}-{user.uids.last}, and those with data = true as {name}"


def _state_check(state: Path, user: User | None) -> Check:
    """Return whether a server could use the state directory."""
    exists = next(folder for folder in (state, *state.parents) if folder.exists())
    if not os.access(exists, os.W_OK | os.X_OK):
        return Check("state", False, f"{state} cannot be used: {name_of(os.geteuid())!r} may not write to {exists}")
    if user is not None and (place := blocking(exists, user)) is not None and place != state:
        return Check("state", False, f"{state} is out of reach for {user.who}: {place} blocks the way")
    return Check("state", True, str(state))


def _interpreters(config: Config) -> Iterator[Check]:
    """Yield the interpreters; `load` has run each of them as the functions' user."""
    for name, interpreter in config.interpreters.items():
        runtime = config.runtimes[name]
        if runtime.kind != "python":
            told = f"{runtime.abilities.title} {runtime.release}".strip() + f", {runtime.command[0]}"
        else:
            told = f"Python {interpreter.version}, {interpreter.python}"
        yield Check(f"runtime {name}", True, told)


def _print(diagnosis: Diagnosis) -> None:
    for problem in diagnosis.problems:
        say(problem, err=True)
    if diagnosis.pid is not None:
        say(f"As the server with pid {diagnosis.pid} found it at its start:")
    every = len(diagnosis.functions)
    print_table(_MECHANISMS, [_mechanism_row(one, every) for one in diagnosis.mechanisms])
    say()
    if diagnosis.functions:
        print_table(_FUNCTIONS, [_function_row(one) for one in diagnosis.functions])
        say()
    for check in diagnosis.checks:
        say(f"{check.what}: {check.told}")
    say(_summary(diagnosis))


def _mechanism_row(one: MechanismFound, every: int) -> tuple[str, ...]:
    wanted = "all" if len(one.wanted_by) == every > 1 else listed(one.wanted_by) or Cell("-", "dim")
    why = f"{one.why}: {one.how}" if one.how else one.why
    return (
        one.name,
        one.level,
        wanted,
        Cell("yes", "green") if one.in_force else Cell("no", "red" if one.wanted_by else "dim"),
        one.detail if one.in_force else Cell(why, "" if one.wanted_by else "dim"),
    )


def _function_row(one: FunctionFound) -> tuple[str, ...]:
    asked = "; ".join(f"{key} = {value}" for key, value in one.asked.items())
    refused = "; ".join(f"{refused.key} {refused.why}" for refused in one.refused)
    return (one.name, one.level or Cell("refused", "red"), f"{asked}: {refused}" if refused else asked)


def _summary(diagnosis: Diagnosis) -> str:
    missing = [one.name for one in diagnosis.mechanisms if one.wanted_by and not one.in_force]
    missing += [check.what for check in diagnosis.checks if not check.ok and check.what != PACKAGES]
    repair = (
        " The store of packages needs repair."
        if any(not one.ok and one.what == PACKAGES for one in diagnosis.checks)
        else ""
    )
    if not missing:
        return f"The best level is {diagnosis.best}, and nothing is missing.{repair}"
    return f"The best level is {diagnosis.best}; missing: {', '.join(missing)}.{repair}"
