"""`forklight record`: writes the next event of a function as a file for `probe`."""

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import click
import msgspec

from forklight.admin.client import lines
from forklight.commands.asking import asked, config_option, state_of, state_option
from forklight.config.document import FILE_NAME
from forklight.observe.terminal import say, say_bytes


class _Answer(msgspec.Struct, frozen=True):
    probe: str = ""
    left_out: tuple[str, ...] = ()
    error: str = "the server ended"


@click.command(short_help="Write the next event of a function as a file for probe.")
@click.argument("name")
@click.option("--to", type=click.Path(path_type=Path), metavar="FILE", help="Write it to this file.")
@click.option("--timeout", metavar="DURATION", help="Fail if none comes in this time: 30s, 10m. Default: wait on.")
@config_option
@state_option
def record(*, name: str, to: Path | None, timeout: str | None, path: Path, state: Path | None) -> int:
    """Wait for the next event of the function NAME (a request, message, timer's run or call), and write it as a probe.

    Its body is written byte for byte, so look at it before you share the file. What else may be secret is left out, and
    named: cookies, and headers and parameters that are keys, tokens and the like.

    \b
    Examples:
      forklight record orders > order.json
      forklight record orders --to probes/order.json --timeout 10m
    """
    if to is not None and (why := _obstacle(to.absolute())):
        raise click.UsageError(f"{to} cannot be written: {why}")
    found = _recorded(state_of(path, state), name, timeout)
    if to is None:
        say_bytes(found.probe.encode())
    else:
        write_probe(to, found.probe)
        say(f"recorded in {to}{_use(to.absolute(), name)}", err=True)
    if found.left_out:
        say(f"left out, as it may be secret: {', '.join(found.left_out)}", err=True)
    return 0


def _recorded(state: Path, name: str, timeout: str | None) -> _Answer:
    found = _Answer()
    with asked():
        for line in lines(state, f"/record/{quote(name, safe='')}", **({"timeout": timeout} if timeout else {})):
            if line.strip():
                found = msgspec.json.decode(line, type=_Answer)
            else:
                say(f"waiting for the next event of {name} …", err=True)
    if not found.probe:
        raise click.ClickException(found.error)
    return found


def _use(to: Path, name: str) -> str:
    """Return what to write into the configuration that the file belongs to, if it lies beside or below one."""
    for folder in to.parents:
        if (folder / FILE_NAME).is_file():
            return f'; for [functions.{name}] of {folder / FILE_NAME}: probe = "{to.relative_to(folder)}"'
    return ""


def _obstacle(to: Path) -> str:
    """Return what is in the way of the file, before an event is waited for; empty if nothing is known to be."""
    if to.is_dir():
        return "it is a directory"
    if not to.parent.is_dir():
        return f"there is no directory {to.parent}"
    if not _is_special(to) and not os.access(to.parent, os.W_OK):
        return f"{to.parent} is read-only for you"
    return ""


def _is_special(to: Path) -> bool:
    """Whether it is a device or a pipe, whose place another file must not take."""
    return to.exists() and not to.is_file()


def write_probe(to: Path, probe: str) -> None:
    """Write all of it or nothing. If the disk is full, what the file was stays, and standard output has the probe."""
    target = to.resolve()
    new = target if _is_special(target) else target.with_name(f".{target.name}.new")
    try:
        new.write_text(probe, encoding="utf-8")
        new.replace(target)
    except OSError as error:
        if new != target:
            with suppress(OSError):
                new.unlink(missing_ok=True)
        say_bytes(probe.encode())
        raise click.ClickException(f"{to} cannot be written: {error.strerror}; standard output has it") from None
