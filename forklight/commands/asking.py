"""Shared by the commands that ask a running server: how they find it, and what they report when it refuses."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import click

from forklight.admin.client import NoServer, Refused
from forklight.config.document import FILE_NAME
from forklight.state.directory import state_path

config_option = click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR|FILE",
    help="The server of this directory or file.",
)
state_option = click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="The state directory.")

_USAGE_ERRORS = (400, 404)
"""Statuses that mean a mistake of the user. Any other refusal is a failure."""


def state_of(path: Path, state: Path | None) -> Path:
    """Return the state directory of a configuration's server. The configuration itself is not read."""
    source = path / FILE_NAME if path.is_dir() else path
    return state_path(state, os.environ, source)


@contextlib.contextmanager
def asked(without: str = "") -> Iterator[None]:
    """Turn refusals into errors of click. `without` is appended if no server runs: what the user can do instead."""
    try:
        yield
    except NoServer as error:
        raise click.ClickException(f"{error}{without}") from None
    except Refused as error:
        raise (click.UsageError if error.status in _USAGE_ERRORS else click.ClickException)(str(error)) from None
