"""What the commands that ask a running server share: how they find it, what they tell when it refuses."""

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
    help="Whose server: a directory, or the file it serves.",
)
state_option = click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="The state directory.")

_WRONGLY = (400, 404)
"""Statuses for what the user got wrong; any other refusal is a failure."""


def state_of(path: Path, state: Path | None) -> Path:
    """The state directory of the server of this configuration, which need not be readable or right for this."""
    source = path / FILE_NAME if path.is_dir() else path
    return state_path(state, os.environ, source)


@contextlib.contextmanager
def asked(without: str = "") -> Iterator[None]:
    """Nothing asked inside ends in a traceback; `without` is what can be done if there is no server."""
    try:
        yield
    except NoServer as error:
        raise click.ClickException(f"{error}{without}") from None
    except Refused as error:
        raise (click.UsageError if error.status in _WRONGLY else click.ClickException)(str(error)) from None
