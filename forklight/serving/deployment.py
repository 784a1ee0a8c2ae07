"""What a deploy reports while it runs, what comes of it, and what is deployed now."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from forklight.config.problem import Problem
from forklight.serving.reloaded import ReloadResult


class Step(Struct, frozen=True, kw_only=True):
    """Progress: `done` functions `of` so many, after `ms` milliseconds of this step."""

    step: Literal["checking", "installing", "loading", "probing", "switching"]
    function: str = ""
    """The one that was done last, if the step goes through functions."""
    done: int = 0
    of: int = 0
    ms: float = 0


class Deployed(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The result of a change of an application's releases. Unless `ok`, nothing has changed.

    Why not is in `error`, `problems` or the `failures` of `result`.
    """

    ok: bool
    application: str
    version: int = 0
    """The number of the release that serves now, or as a canary beside the live one. 0 if there is none."""
    before: int | None = None
    """The release that was live before, or is live beside a canary."""
    package: str = ""
    """The SHA-256 of its package, in hexadecimal digits."""
    canary_percent: float = 0
    already: bool = False
    """Whether that was so before: nothing was done."""
    result: ReloadResult | None = None
    times_ms: dict[str, float] = {}
    """How long each step took, and `total`."""
    notes: tuple[Problem, ...] = ()
    """What the operator should know: tables of the application that are the server's, warnings of its configuration."""
    error: str = ""
    problems: tuple[Problem, ...] = ()


class ReleaseStatus(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A release that is kept."""

    number: int
    package: str
    at: datetime
    by: str
    """Who deployed it: the name of a deploy key, or of the user at the control socket."""
    size_bytes: int
    role: Literal["live", "canary", ""] = ""
    aliases: tuple[str, ...] = ()
    functions: dict[str, str] = {}
    """The version hash of each function; empty while the release is not loaded."""
    aborted: str = ""
    """Why it was aborted as a canary."""
    problem: str = ""
    """Why it cannot be loaded now, if so."""


class ApplicationStatus(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An application and its releases, the newest first."""

    name: str
    releases: tuple[ReleaseStatus, ...]
    live: int | None = None
    canary: int | None = None
    canary_percent: float = 0
    before: int | None = None
    """The release that `rollback` without a version goes back to."""
    aliases: dict[str, int] = {}
    problem: str = ""
    """Why its live release does not serve, if so."""
