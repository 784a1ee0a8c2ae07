"""`forklight keys`: manages the keys of routes with `auth = "key"`.

The keys lie in the state directory, with or without a server; one that runs follows within a second.
"""

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from bus.times import rfc3339_second
from forklight.commands.asking import config_option, state_of, state_option
from forklight.commands.tables import print_table
from forklight.config.hint import did_you_mean
from forklight.observe.terminal import say, say_json
from forklight.state.directory import keys_path, make_state
from triggers.http import KeysError
from triggers.http.policy.keys import Key, digest, new_key, read_keys

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}", re.ASCII)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def keys() -> None:
    """Make, list and revoke the keys of routes with auth = "key".

    \b
    Examples:
      forklight keys create alice
      forklight keys list
      forklight keys revoke alice
    """


@keys.command()
@click.argument("name")
@config_option
@state_option
@json_option
def create(name: str, path: Path, state: Path | None, as_json: bool) -> int:
    """Make a key and print it. It cannot be shown again: only its hash is stored.

    \b
    Examples:
      forklight keys create alice
      forklight keys create ci --json | jq -r .key
    """
    if not _NAME.fullmatch(name):
        raise click.UsageError(f"{name!r} is not a valid name: up to 63 letters, digits, and . _ @ - after the first")
    key = new_key()
    with _changing(state_of(path, state)) as known:
        if name in known:
            raise click.ClickException(f"there is a key {name!r} already: revoke it first, or choose another name")
        created = rfc3339_second(int(time.time())) + "Z"
        known[name] = Key(sha256=digest(key), created=created)
    if as_json:
        say_json(msgspec.json.encode({"name": name, "key": key}))
    else:
        say(key)
        say("It is not shown again. Send it as  Authorization: Bearer KEY", err=True)
    return 0


@keys.command("list")
@config_option
@state_option
@json_option
def list_(path: Path, state: Path | None, as_json: bool) -> int:
    """Show the names of the keys. The keys themselves are not stored.

    \b
    Examples:
      forklight keys list
      forklight keys list --json | jq -r '.[].name'
    """
    with _errors():
        known = read_keys(keys_path(state_of(path, state)))
    if as_json:
        say_json(msgspec.json.encode([{"name": name, "created": key.created} for name, key in sorted(known.items())]))
        return 0
    print_table(("NAME", "CREATED"), [(name, key.created) for name, key in sorted(known.items())])
    if not known:
        say("there is no key: make one with forklight keys create NAME", err=True)
    return 0


@keys.command()
@click.argument("name")
@config_option
@state_option
@json_option
def revoke(name: str, path: Path, state: Path | None, as_json: bool) -> int:
    """Remove a key. Within a second, requests with it are refused.

    \b
    Examples:
      forklight keys revoke alice
    """
    with _changing(state_of(path, state)) as known:
        if name not in known:
            raise click.ClickException(f"there is no key {name!r}{did_you_mean(name, known)}")
        del known[name]
    if as_json:
        say_json(msgspec.json.encode({"name": name}))
    else:
        say(f"revoked {name}")
    return 0


@contextlib.contextmanager
def _changing(state: Path) -> Iterator[dict[str, Key]]:
    """Yield the keys to be changed. They are written as a whole at the end, by one process at a time."""
    path = keys_path(state)
    with _errors():
        make_state(state)
        directory = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            known = read_keys(path)
            yield known
            _write(path, msgspec.json.format(msgspec.json.encode(known)) + b"\n", owner=os.fstat(directory))
            os.fsync(directory)
        finally:
            os.close(directory)


def _write(path: Path, text: bytes, *, owner: os.stat_result) -> None:
    """Replace the file. It gets the owner of the directory, who need not be root."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        if os.geteuid() == 0:
            os.fchown(file.fileno(), owner.st_uid, -1)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except KeysError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"the keys cannot be changed: {error.filename}: {error.strerror}") from None
