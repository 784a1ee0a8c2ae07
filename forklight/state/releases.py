"""The releases of the applications that were deployed to this server: one file, `releases.json`, is all that says so.

An `Application` is a value. Each step is a pure function that returns the value after it, or raises ReleaseError. The
file is replaced as a whole and synced to the disk before the step counts: after a crash, the old or the new is there.
"""

import errno
import os
import re
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from forklight.errors import ForklightError
from forklight.state.directory import sync_folder

FILE = "releases.json"
RESERVED_BYTES = 1024 * 1024
"""Kept beside the file, for it to be written on a full disk: many times what it ever has."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_ROLES = ("live", "canary", "before")
"""What no alias may be called: the commands use these words."""

Sha = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class ReleaseError(ForklightError):
    """A step that cannot be taken, or a file that cannot be used; the message says why, and what to do."""


class Release(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One deployed package. Users call its `number` its version."""

    number: Annotated[int, Meta(ge=1)]
    package: Sha
    at: datetime
    by: str
    size_bytes: int
    aborted: str = ""
    """Why it was aborted as a canary, if it was and never became live."""


class Canary(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The release that serves a share of the events beside the live one."""

    number: int
    percent: Annotated[float, Meta(gt=0, lt=100)]


class Application(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is known of one application. Its `releases` are in the order of their numbers, which count up from 1."""

    releases: tuple[Release, ...] = ()
    live: int | None = None
    """The number of the release that serves. None: the application was removed."""
    history: tuple[int, ...] = ()
    """The numbers of those that were live before, the latest last, as far as they are kept."""
    canary: Canary | None = None
    aliases: dict[str, int] = {}
    last: int = 0
    """The last number that was given: none is given twice, even after the application was removed."""

    @property
    def before(self) -> int | None:
        """The release that a rollback goes back to."""
        return self.history[-1] if self.history else None

    @property
    def served(self) -> tuple[Release, ...]:
        """The live release, then the canary."""
        numbers = (self.live, self.canary.number if self.canary else None)
        return tuple(self.release(number) for number in numbers if number is not None)

    def release(self, number: int) -> Release:
        """Return a release that is kept. Raises ReleaseError."""
        for release in self.releases:
            if release.number == number:
                return release
        kept = ", ".join(str(release.number) for release in self.releases) or "none"
        raise ReleaseError(f"there is no version {number}: those kept are {kept}")

    def named(self, version: str) -> int:
        """Return the number of `7`, or of an alias. Raises ReleaseError."""
        if version.isascii() and version.isdecimal():
            return self.release(int(version)).number
        if version not in self.aliases:
            known = f"there are {', '.join(sorted(self.aliases))}" if self.aliases else "there is none"
            raise ReleaseError(f"{version!r} is neither a version nor an alias: {known}")
        return self.aliases[version]


Applications = dict[str, Application]
"""By name. Those that were removed stay, without releases, for their last number."""

NONE = Application()


def deployed(app: Application, package: str, *, at: datetime, by: str, size_bytes: int) -> Application:
    """A new release of this package is live. A canary ends."""
    app = _with_release(app, Release(number=app.last + 1, package=package, at=at, by=by, size_bytes=size_bytes))
    return _made_live(app, app.last)


def begun_canary(
    app: Application, package: str, percent: float, *, at: datetime, by: str, size_bytes: int
) -> Application:
    """A new release of this package serves `percent` of the events; if it is the canary already, its share changes."""
    if not 0 < percent < 100:
        raise ReleaseError(f"a canary serves more than 0 % and less than 100 % of the events, not {percent:g} %")
    if app.live is None:
        raise ReleaseError("there is no live version beside which a canary could serve: deploy it without --canary")
    if app.canary is not None and app.release(app.canary.number).package == package:
        return replace(app, canary=Canary(number=app.canary.number, percent=percent))
    app = _with_release(app, Release(number=app.last + 1, package=package, at=at, by=by, size_bytes=size_bytes))
    return replace(app, canary=Canary(number=app.last, percent=percent))


def promoted(app: Application) -> Application:
    """The canary is live."""
    return _made_live(app, _canary(app).number)


def aborted(app: Application, reason: str = "") -> Application:
    """The canary ends; the live release serves all events again. Its release stays, marked with the reason."""
    number = _canary(app).number
    marked = tuple(replace(one, aborted=reason or "by hand") if one.number == number else one for one in app.releases)
    return replace(app, releases=marked, canary=None)


def rolled_back(app: Application, number: int | None = None) -> Application:
    """A kept release is live again: this one, or else the one that was live before. A canary ends."""
    if number is not None:
        return _made_live(app, app.release(number).number)
    if app.canary is not None:
        raise ReleaseError(
            f"version {app.canary.number} serves {app.canary.percent:g} % as a canary: abort ends it; "
            "to go back further, name the version"
        )
    if app.before is None:
        raise ReleaseError("no version was live before this one")
    return _made_live(app, app.before)


def aliased(app: Application, name: str, number: int | None) -> Application:
    """The alias names this release, or with None, nothing any more."""
    if number is None:
        if name not in app.aliases:
            known = f"there are {', '.join(sorted(app.aliases))}" if app.aliases else "there is none"
            raise ReleaseError(f"there is no alias {name!r}: {known}")
        return replace(app, aliases={one: to for one, to in app.aliases.items() if one != name})
    if not _NAME.fullmatch(name) or name in _ROLES:
        reserved = f"; {', '.join(_ROLES)} mean something else" if name in _ROLES else ""
        raise ReleaseError(
            f"{name!r} cannot be an alias: a small letter, then up to 62 small letters, digits, _ and -{reserved}"
        )
    return replace(app, aliases=app.aliases | {name: app.release(number).number})


def removed(app: Application) -> Application:
    """The application is not served any more, and no release of it is kept."""
    if app.live is None:
        raise ReleaseError("there is no such application")
    return Application(last=app.last)


def with_package(
    app: Application, package: str, canary_percent: float, *, at: datetime, by: str, size_bytes: int
) -> Application:
    """A deploy of this package: all events get it, or so many per cent."""
    has_live = app.live is not None and app.release(app.live).package == package
    if canary_percent:
        if has_live:
            raise ReleaseError(f"version {app.live} is live and has this package already: a canary needs another one")
        return begun_canary(app, package, canary_percent, at=at, by=by, size_bytes=size_bytes)
    if has_live:
        return app if app.canary is None else aborted(app, f"version {app.live} was deployed again")
    if app.canary is not None and app.release(app.canary.number).package == package:
        return promoted(app)
    return deployed(app, package, at=at, by=by, size_bytes=size_bytes)


def pruned(app: Application, keep_versions: int) -> Application:
    """Keep the newest `keep_versions`, and those that something names: live, before, canary, an alias."""
    named = {app.live, app.before, app.canary.number if app.canary else None, *app.aliases.values()}
    newest = {release.number for release in app.releases[-keep_versions:]}
    kept = tuple(release for release in app.releases if release.number in named | newest)
    numbers = {release.number for release in kept}
    return replace(app, releases=kept, history=tuple(number for number in app.history if number in numbers))


def packages(applications: Applications) -> frozenset[str]:
    """Return the hashes of the packages that a release needs."""
    return frozenset(release.package for app in applications.values() for release in app.releases)


def releases_path(state: Path) -> Path:
    """Return the path of the file. It may not exist."""
    return state / FILE


def read_releases(state: Path) -> Applications:
    """Return all applications of this state directory. Raises ReleaseError. Blocks."""
    path = releases_path(state)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Applications)
        for name, app in found.items():
            _require_consistent(name, app)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ReleaseError(f"{path} cannot be read: {error.strerror}: let the user of the server read it") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, ReleaseError) as error:
        remedy = "restore it from a backup, or start the later Forklight that wrote it"
        raise ReleaseError(f"{path} cannot be used: {error}: {remedy}") from error
    return found


def write_releases(state: Path, applications: Applications) -> None:
    """Replace the file, and return when the disk has it. Raises OSError; then the old one stands. Blocks.

    On a full disk, the room is taken that is kept for it, so that one can roll back and undeploy there.
    """
    reserve = state / f"{FILE}.reserve"
    try:
        _write(state, applications)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not reserve.exists():
            raise
        reserve.unlink()
        _write(state, applications)
    with suppress(OSError):
        _keep_room(reserve)


def _keep_room(reserve: Path) -> None:
    """Have a file of zeros that is as large as it should be. Raises OSError on a full disk."""
    handle = os.open(reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(handle, 0, RESERVED_BYTES)
    finally:
        os.close(handle)


def _write(state: Path, applications: Applications) -> None:
    path = releases_path(state)
    new = path.with_name(f"{FILE}.new")
    new.unlink(missing_ok=True)
    text = msgspec.json.format(msgspec.json.encode(applications, order="deterministic"))
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text + b"\n")
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    sync_folder(state)


def _with_release(app: Application, release: Release) -> Application:
    return replace(app, releases=(*app.releases, release), last=release.number)


def _made_live(app: Application, number: int) -> Application:
    """Going back along the history shortens it, so that the next rollback goes further back."""
    if number in app.history:
        history = app.history[: app.history.index(number)]
    else:
        history = app.history if app.live in (None, number) else (*app.history, app.live)
    marked = tuple(replace(one, aborted="") if one.number == number else one for one in app.releases)
    return replace(app, releases=marked, live=number, history=history, canary=None)


def _canary(app: Application) -> Canary:
    if app.canary is None:
        raise ReleaseError("no version serves as a canary: deploy --canary 10% begins one")
    return app.canary


def _require_consistent(name: str, app: Application) -> None:
    """Raises ReleaseError if the application cannot have come about by the steps above."""
    if not _NAME.fullmatch(name):
        raise ReleaseError(f"{name!r} is not the name of an application")
    numbers = [release.number for release in app.releases]
    named = [app.live, *app.history, *app.aliases.values(), app.canary.number if app.canary else None]
    for number in named:
        if number is not None and number not in numbers:
            raise ReleaseError(f"{name} names version {number}, which is not there")
    if sorted(set(numbers)) != numbers or max(numbers, default=0) > app.last:
        raise ReleaseError(f"the versions of {name} do not count up to the last one, {app.last}")
    if bool(numbers) != (app.live is not None):
        raise ReleaseError(f"{name} has versions, and none of them is live")
    if app.canary is not None and app.canary.number == app.live:
        raise ReleaseError(f"version {app.live} of {name} is live, and a canary beside itself")
