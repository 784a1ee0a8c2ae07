"""`forklight backup`: copies the embedded store, with or without a running server."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from bus.sqlite.database import open_database
from bus.sqlite.rescue import copy_to
from bus.store import StoreError
from forklight.admin.client import download
from forklight.commands.asking import asked, config_option, state_of, state_option
from forklight.observe.terminal import say
from forklight.serving.stores import FILE
from forklight.state.directory import without_server


@click.command(short_help="Save the embedded store: messages, dead letters, the state of timers.")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@config_option
@state_option
def backup(*, file: Path | None, path: Path, state: Path | None) -> int:
    """Save the embedded store to FILE, which must not exist; by default forklight-TIME.db here.

    The copy is consistent, and a running server keeps serving. To restore it, stop the server, replace store.db in the
    state directory with the file, and remove store.db-wal there.

    \b
    Examples:
      forklight backup
      forklight backup /backups/monday.db
    """
    target = file or Path(time.strftime("forklight-%Y%m%d-%H%M%S.db"))
    place = state_of(path, state)
    with contextlib.ExitStack() as stack:
        is_free = (place / FILE).exists() and stack.enter_context(without_server(place))
        try:
            with _new(target) as part:
                if is_free:
                    part.unlink()
                    _copy(place / FILE, part)
                else:
                    with part.open("wb") as into, asked():
                        download(place, "/backup", into)
        except OSError as error:
            raise click.ClickException(f"{target} cannot be written: {error.strerror}") from None
    say(f"saved: {target} ({target.stat().st_size} bytes)")
    return 0


@contextlib.contextmanager
def _new(target: Path) -> Iterator[Path]:
    """Yield a temporary file that becomes `target` if the block succeeds and is removed if not. Raises OSError."""
    if target.exists():
        raise click.ClickException(f"{target} already exists: name another file, or remove it")
    part = target.with_name(f"{target.name}.part")
    os.close(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600))
    try:
        yield part
        with part.open("rb") as file:
            _sync(file)
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)


def _sync(file: BinaryIO) -> None:
    os.fsync(file.fileno())


def _copy(store: Path, part: Path) -> None:
    try:
        with contextlib.closing(open_database(store)) as connection:
            copy_to(connection, part)
    except (StoreError, sqlite3.Error) as error:
        raise click.ClickException(str(error)) from None
