"""`forklight keys`: manages the keys of routes with `auth = "key"`, and deploy keys, with or without a server."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
from msgspec.structs import replace

from forklight.commands.asking import config_option, state_of, state_option
from forklight.commands.tables import print_table
from forklight.config.hint import did_you_mean
from forklight.observe.terminal import say, say_json
from forklight.packages.room import refusal
from forklight.state.directory import keys_path
from forklight.state.keys import changing_keys, make_key
from triggers.http import KeysError
from triggers.http.policy.keys import Key, read_keys
from triggers.http.policy.scopes import check_scopes

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
scope_option = click.option(
    "--scope", "scopes", multiple=True, metavar="SCOPE", help='A scope of the key; repeatable. "*" is every scope.'
)


@click.group(short_help="Manage the keys of routes that require one, and deploy keys.")
def keys() -> None:
    """Make, list, update and revoke the keys of routes with auth = "key", and of those who deploy.

    \b
    Examples:
      forklight keys create alice
      forklight keys create github --deploy
      forklight keys create ci --scope orders:read --scope orders:write
      forklight keys list
      forklight keys update ci --scope orders:read
      forklight keys revoke alice
    """


@keys.command()
@click.argument("name")
@scope_option
@click.option("--deploy", is_flag=True, help="A key for forklight deploy --to URL. It opens no route.")
@click.option(
    *("--application", "applications"),
    multiple=True,
    metavar="NAME",
    help="The application that a deploy key is for; repeatable. Default: every one.",
)
@config_option
@state_option
@json_option
def create(
    name: str,
    path: Path,
    state: Path | None,
    *,
    scopes: tuple[str, ...],
    deploy: bool,
    applications: tuple[str, ...],
    as_json: bool,
) -> int:
    """Make a key and print it. It cannot be shown again: only its hash is stored.

    Whoever has a deploy key can run any code as the functions of the server: keep it like a password. One of some
    applications keeps a team from changing those of others by mistake.

    \b
    Examples:
      forklight keys create alice
      forklight keys create ci --scope orders:read
      forklight keys create ci --json | jq -r .key
      forklight keys create github --deploy
      forklight keys create shop-ci --deploy --application shop
    """
    if applications and not deploy:
        raise click.UsageError("only a deploy key is for applications: add --deploy, or leave out --application")
    if deploy and scopes:
        raise click.UsageError("a deploy key opens no route, so it has no scopes: leave out --scope or --deploy")
    with _errors():
        key, entry = make_key(name, scopes, deploy=deploy, applications=applications)
    with _changing(state_of(path, state)) as known:
        if name in known:
            raise click.ClickException(f"there is a key {name!r} already: revoke it first, or choose another name")
        known[name] = entry
    if as_json:
        more = {"scopes": entry.scopes, "deploy": deploy, "applications": entry.applications}
        say_json(msgspec.json.encode({"name": name, "key": key, **more}))
    else:
        say(key)
        use = "Set FORKLIGHT_KEY to it for forklight deploy" if deploy else "Send it as  Authorization: Bearer KEY"
        say(f"It is not shown again. {use}", err=True)
    return 0


@keys.command("list")
@config_option
@state_option
@json_option
def list_(path: Path, state: Path | None, as_json: bool) -> int:
    """Show the names of the keys, their scopes, and which are deploy keys. The keys themselves are not stored.

    \b
    Examples:
      forklight keys list
      forklight keys list --json | jq -r '.[].name'
    """
    with _errors():
        known = sorted(read_keys(keys_path(state_of(path, state))).items())
    if as_json:
        rows = [
            {
                "name": name,
                "created": key.created,
                "scopes": key.scopes,
                "deploy": key.deploy,
                "applications": key.applications,
            }
            for name, key in known
        ]
        say_json(msgspec.json.encode(rows))
        return 0
    print_table(("NAME", "CREATED", "SCOPES"), [(name, key.created, _scopes(key)) for name, key in known])
    if not known:
        say("there is no key: make one with forklight keys create NAME", err=True)
    return 0


@keys.command()
@click.argument("name")
@scope_option
@click.option("--no-scopes", is_flag=True, help="Remove all scopes.")
@config_option
@state_option
@json_option
def update(
    name: str, path: Path, state: Path | None, *, scopes: tuple[str, ...], no_scopes: bool, as_json: bool
) -> int:
    """Replace the scopes of a key. A running server accepts new scopes at once, and old ones for up to a second.

    \b
    Examples:
      forklight keys update ci --scope orders:read --scope orders:write
      forklight keys update ci --no-scopes
    """
    if bool(scopes) == no_scopes:  # neither or both
        raise click.UsageError("say which scopes the key shall have: --scope SCOPE, repeatable, or --no-scopes")
    with _errors():
        check_scopes(scopes, of_key=True)
    with _changing(state_of(path, state)) as known:
        entry = _entry(name, known)
        if entry.deploy:
            raise click.UsageError(f"{name!r} is a deploy key, which has no scopes: revoke it, and create another key")
        new = known[name] = replace(entry, scopes=tuple(dict.fromkeys(scopes)))
    if as_json:
        say_json(msgspec.json.encode({"name": name, "scopes": new.scopes}))
    else:
        say(f"updated {name}: {' '.join(new.scopes) or 'no scopes'}")
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
        _entry(name, known)
        del known[name]
    if as_json:
        say_json(msgspec.json.encode({"name": name}))
    else:
        say(f"revoked {name}")
    return 0


def _scopes(key: Key) -> str:
    if key.deploy:
        return f"(deploy key of {', '.join(key.applications)})" if key.applications else "(deploy key)"
    return " ".join(key.scopes) or "-"


def _entry(name: str, known: dict[str, Key]) -> Key:
    if name not in known:
        raise click.ClickException(f"there is no key {name!r}{did_you_mean(name, known)}")
    return known[name]


@contextlib.contextmanager
def _changing(state: Path) -> Iterator[dict[str, Key]]:
    """`changing_keys`, with errors of click."""
    with _errors():
        try:
            with changing_keys(state) as known:
                yield known
        except OSError as error:
            raise click.ClickException(f"the keys cannot be changed: {refusal(error, state)}") from None


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except ValueError as error:  # a malformed name or scope
        raise click.UsageError(str(error)) from None
    except KeysError as error:
        raise click.ClickException(str(error)) from None
