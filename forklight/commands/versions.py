"""`forklight versions`: what is deployed, and which versions are kept."""

from pathlib import Path

import click
import msgspec

from forklight.commands.asking import config_option
from forklight.commands.progress import size_told
from forklight.commands.releasing import applications, chosen, session_with, target_of, target_options
from forklight.commands.tables import Cell, Row, print_table
from forklight.observe.terminal import say, say_json
from forklight.serving.deployment import ApplicationStatus, ReleaseStatus

_HEADINGS = ("VERSION", "ROLE", "DEPLOYED", "BY", "SIZE", "PACKAGE", "ALIASES")
_TONES = {"live": "green", "canary": "yellow"}


@click.command(short_help="List what is deployed, and the versions that are kept.")
@click.option("--name", metavar="NAME", help="Only this application.")
@config_option
@target_options
def versions(
    path: Path,
    *,
    name: str | None,
    to: str | None,
    state: Path | None,
    key_file: Path | None,
    ca: Path | None,
    as_json: bool,
) -> int:
    """List the applications on a server and their versions, the newest first.

    \b
    Examples:
      forklight versions --to https://example.com:9090
      forklight versions --name shop
      forklight versions --json | jq '.[].live'
    """
    target = target_of(path, to=to, state=state, key_file=key_file, ca=ca)
    with session_with(target) as session:
        found = applications(session, name)
        if name is not None:
            found = [chosen(name, found)]
    if as_json:
        say_json(msgspec.json.encode(found))
        return 0
    for index, application in enumerate(found):
        if index:
            say()
        _show(application)
    if not found:
        say("nothing is deployed: forklight deploy does it", err=True)
    return 0


def _show(application: ApplicationStatus) -> None:
    say(application.name)
    print_table(_HEADINGS, [_row(application, release) for release in application.releases])
    if application.problem:
        say(f"  it does not serve: {application.problem}", colour="red")
    for release in application.releases:
        if release.problem:
            say(f"  version {release.number} cannot be loaded: {release.problem}", colour="red")
        if release.aborted:
            say(f"  version {release.number} was aborted: {release.aborted}")


def _row(application: ApplicationStatus, release: ReleaseStatus) -> Row:
    return (
        str(release.number),
        _role(application, release),
        f"{release.at:%Y-%m-%d %H:%M:%SZ}",
        release.by,
        size_told(release.size_bytes),
        release.package[:12],
        " ".join(release.aliases) or "-",
    )


def _role(application: ApplicationStatus, release: ReleaseStatus) -> str:
    """`live`, `canary 10%`, or `before`: what a rollback leads to."""
    role = f"canary {application.canary_percent:g}%" if release.role == "canary" else release.role
    if not role and release.number == application.before:
        role = "before"
    return Cell(role or "-", _TONES.get(release.role, "dim"))
