"""`forklight systemd`: prints the systemd units of a server."""

import os
import sys
import sysconfig
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import click

from forklight.commands.unit_files import Unit, service_unit, socket_unit
from forklight.config.configuration import load
from forklight.observe.terminal import say
from forklight.serving.waiting import broker_urls
from triggers.http.socket.bind import parse_listen, unix_path


@click.command(short_help="Print hardened systemd units of a server.")
@click.argument("path", type=click.Path(path_type=Path), default=Path(), metavar="[DIR|FILE]")
@click.option(
    "--name",
    default="forklight",
    show_default=True,
    help="The unit's name, also of its folders.",
)
@click.option("--user", default="forklight", show_default=True, help="The ordinary user that it runs as.")
@click.option("--socket", "as_socket", is_flag=True, help="Print the matching socket unit instead.")
def systemd(path: Path, name: str, user: str, as_socket: bool) -> int:
    """Print a hardened systemd unit that serves a directory or a single file.

    Under it, functions get the highest level of isolation that the machine allows. With the socket unit beside it,
    systemd listens: nobody is refused while the server restarts, and a port below 1024 needs no root.

    \b
    Examples:
      forklight systemd /srv/app > /etc/systemd/system/forklight.service
      forklight systemd /srv/app --socket > /etc/systemd/system/forklight.socket
      forklight systemd /srv/shop --name shop --user shop
    """
    config = load(path, os.environ)
    if as_socket:
        _check_listen(config.settings.http.listen)
    mounts = [mount for one in config.functions.values() for mount in one.settings.isolation.asked.mounts]
    started = str(config.origin)  # not where a link such as /srv/app/current leads now
    unit = Unit(
        name=_checked(name),
        user=user,
        command=(*_forklight(), "serve", started, "--log-format", "json"),
        reload=(*_forklight(), "reload", "-c", started),
        reads=(
            config.path,
            Path(sys.prefix),
            *(function.code for function in config.functions.values()),
            *(one.dir.resolve() for one in config.settings.http.static),
            *(mount.source for mount in mounts if not mount.writable),
        ),
        writes=tuple(dict.fromkeys(mount.source for mount in mounts if mount.writable)),
        listen=str(config.settings.http.listen),
        drain_s=config.settings.http.drain_s,
        wait_s=config.settings.bus.wait_s if (urls := broker_urls(config.settings)) else 0.0,
        brokers=tuple(urlsplit(url).hostname or "" for url in urls),
    )
    say((socket_unit(unit) if as_socket else service_unit(unit)).removesuffix("\n"))
    return 0


def _checked(name: str) -> str:
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise click.UsageError(f"{name!r} is not a unit name: letters, digits, - and _")
    return name


def _check_listen(listen: str) -> None:
    """Return the address for systemd.socket(5), which takes neither host names nor port 0."""
    if unix_path(listen) is not None:
        return
    host, port = parse_listen(listen)
    try:
        ip_address(host)
    except ValueError:
        raise click.UsageError(f"systemd listens on addresses, and {host!r} is a name: change [http] listen") from None
    if port == 0:
        raise click.UsageError("systemd needs a port that is known: change [http] listen")


def _forklight() -> tuple[str, ...]:
    """Return the command that starts this installation."""
    script = Path(sysconfig.get_path("scripts")) / "forklight"
    return (str(script),) if os.access(script, os.X_OK) else (sys.executable, "-m", "forklight")
