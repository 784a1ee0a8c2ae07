"""`forklight deploy`: packs an application, uploads what the server lacks, and has it switch to the new version."""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path

import click
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from forklight.admin.places import NoServer, Session
from forklight.admin.upload import upload
from forklight.checking.check import check_code
from forklight.code.selection import CodeError
from forklight.commands.progress import Progress
from forklight.commands.releasing import (
    Target,
    applications,
    decoded,
    in_json,
    name_in,
    problems_told,
    session_with,
    shown,
    status_of,
    target_of,
    target_options,
)
from forklight.config.deployable import Deployable, load_deployable
from forklight.config.deployed import as_written
from forklight.config.document import FILE_NAME
from forklight.config.problem import ConfigError, Problem
from forklight.config.source import locate
from forklight.observe.terminal import say, say_json
from forklight.packages.errors import PackageError
from forklight.packages.package import Built, build
from forklight.serving.deployment import Deployed
from forklight.serving.reloaded import some_of
from forklight.state.directory import application_problem


class _Percent(click.ParamType[float]):
    name = "percentage"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """`10%` or `10` → 10.0."""
        try:
            percent = float(str(value).removesuffix("%"))
        except ValueError:
            percent = 0
        if not 0 < percent < 100:
            self.fail(f"{value!r} is not a percentage between 0 and 100, such as 10%", param, ctx)
        return percent


class _Shown(Struct, frozen=True, kw_only=True):
    """A `Step`, whose kind a newer server may know alone."""

    step: str
    function: str = ""
    done: int = 0
    of: int = 0
    ms: float = 0


class _Plan(Struct, frozen=True, kw_only=True):
    """What is deployed where."""

    found: Deployable
    name: str
    canary_percent: float
    target: Target


@click.command(short_help="Bring an application to a running server.")
@click.argument("path", type=click.Path(path_type=Path), default=Path(), metavar="[DIR]")
@click.option("--name", metavar="NAME", help="The name of the application. Default: [bus] name, else the directory's.")
@click.option("--canary", type=_Percent(), metavar="10%", help="Serve only this share of the events with it.")
@target_options
@in_json
def deploy(
    path: Path,
    *,
    name: str | None,
    canary: float | None,
    to: str | None,
    state: Path | None,
    key_file: Path | None,
    ca: Path | None,
    as_json: bool,
) -> int:
    """Pack the application in DIR, upload what the server lacks, and switch to it once all of it is loaded.

    Nothing changes unless everything is right: the configuration is checked here and there, and each function of the
    new version is loaded before it gets the first event. Secrets stay on the server. Exit status: 0 deployed, 1 failed,
    2 a mistake in the command or the configuration.

    \b
    Examples:
      forklight deploy --to https://example.com:9090     with the deploy key in FORKLIGHT_KEY
      forklight deploy shop/ --state /var/lib/forklight  to a server on this machine
      forklight deploy --canary 10%                      then: forklight promote, or forklight abort
      forklight deploy --json                            JSON lines: each step, then the result
    """
    target = target_of(path, to=to, state=state, key_file=key_file, ca=ca)
    try:
        found = _checked(path)
    except ConfigError as error:
        if not as_json:
            raise
        _say(Deployed(ok=False, application=name or "", problems=error.problems))
        return 2
    plan = _Plan(found=found, name=_name(name, found.folder), canary_percent=canary or 0, target=target)
    if not as_json:
        for note in found.notes:
            say(f"warning: {note}", err=True)
    with session_with(target) as session, Progress(as_json=as_json) as progress:
        applications(session, plan.name)  # whether it may be deployed there, before anything is packed
        done = _deployed(plan, session, progress)
    if as_json:
        _say(done)
    else:
        _tell(plan, done)
    return status_of(done)


def _checked(path: Path) -> Deployable:
    """Return what may be deployed. Raises ConfigError for everything that is wrong in any case."""
    if path.is_dir() and not (path / FILE_NAME).exists():
        advice = "name a directory that has one; forklight init writes one"
        raise ConfigError([Problem(str(path), 0, "", f"there is no {FILE_NAME} in it: {advice}")])
    file = locate(path)
    if file.name != FILE_NAME:
        advice = f"deploy a directory with a {FILE_NAME} in it: forklight init writes one"
        raise ConfigError([Problem(str(file), 0, "", f"cannot be deployed alone: {advice}")])
    found = load_deployable(file.parent, os.environ)
    if found.config is None:
        return found
    checked = check_code(found.config, found.config.apart | found.apart)
    if checked.faults:
        raise ConfigError(as_written((fault.problem for fault in checked.faults), found.folder))
    return replace(found, notes=tuple(sorted({*found.notes, *as_written(checked.warnings, found.folder)})))


def _name(name: str | None, folder: Path) -> str:
    chosen = name or name_in(folder) or ""
    if problem := application_problem(chosen):
        raise click.UsageError(f"{problem}; choose one with --name")
    return chosen


def _deployed(plan: _Plan, session: Session, progress: Progress) -> Deployed:
    """Pack, upload and deploy."""
    with tempfile.TemporaryDirectory(prefix="forklight-") as folder:
        package, begun_s = Path(folder) / "package.zip", time.monotonic()
        progress.show("packing")
        built = _built(plan.found, package)
        packed_s = time.monotonic()
        progress.show("packing", ms=(packed_s - begun_s) * 1e3)
        sent = upload(
            session, built.sha256, package, lambda at: progress.show("uploading", done=at, of=built.size_bytes)
        )
        times_ms = {
            "packing": (packed_s - begun_s) * 1e3,
            "uploading": (time.monotonic() - packed_s) * 1e3 * bool(sent),
        }
    done = _switched(plan, built, session, progress)
    return replace(done, times_ms={**times_ms, **done.times_ms})


def _built(found: Deployable, target: Path) -> Built:
    try:
        return build(found.folder, target, code=found.code, also=found.also, apart=found.apart)
    except (CodeError, PackageError) as error:
        raise click.ClickException(f"{found.folder} cannot be packed: {error}") from None
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise click.ClickException(f"{found.folder} cannot be packed: {place}{error.strerror}") from None


def _switched(plan: _Plan, built: Built, session: Session, progress: Progress) -> Deployed:
    """Have the server do the rest, and show its steps."""
    canary = f"&canary={plan.canary_percent:g}" if plan.canary_percent else ""
    with session.answer("POST", f"/applications/{plan.name}/deploy?package={built.sha256}{canary}") as answer:
        try:
            for line in _lines(iter(answer.readline, b"")):
                if not line.startswith(b'{"step":'):
                    return decoded(line, Deployed, session.place)
                step = decoded(line, _Shown, session.place)
                progress.show(step.step, done=step.done, of=step.of, function=step.function, ms=step.ms)
        except (OSError, HTTPException) as error:
            raise _lost(plan, str(error)) from None
        except KeyboardInterrupt:
            say(f"\nthe deploy goes on there: {shown('versions', name=plan.name, target=plan.target)}", err=True)
            raise
    raise _lost(plan, "it broke off")


def _lines(answer: Iterator[bytes]) -> Iterator[bytes]:
    """Leave out empty lines, which only say that the server still works."""
    return (line for line in answer if line.strip())


def _lost(plan: _Plan, why: str) -> NoServer:
    see = shown("versions", name=plan.name, target=plan.target)
    return NoServer(f"the answer of {plan.target.place} was lost ({why}): see what became of it: {see}")


def _say(done: Deployed) -> None:
    say_json(msgspec.json.encode(done))


def _tell(plan: _Plan, done: Deployed) -> None:
    """Print what has changed and how to go back, or everything that is wrong."""
    for note in sorted(set(done.notes) - set(plan.found.notes)):
        say(f"warning: {note}", err=True)
    if not done.ok:
        for line in problems_told(done):
            say(line, err=True)
        say(f"not deployed: nothing has changed on {plan.target.place}", err=True)
        return
    say(_headline(plan, done))
    if not done.already:
        times = [f"{step} {_duration(ms)}" for step, ms in done.times_ms.items() if step != "total" and ms]
        say(f"  {', '.join(times)}")
    for line in _ways(plan, done):
        say(f"  {line}")


def _headline(plan: _Plan, done: Deployed) -> str:
    name, version = plan.name, done.version
    if done.canary_percent:
        begun = "serves already" if done.already else "serves"
        return f"{name}: version {version} {begun} {done.canary_percent:g}% of the events, beside version {done.before}"
    if done.already:
        return f"{name}: version {version} is this package, and serves already"
    was = f"version {version} serves, before it version {done.before}" if done.before else f"version {version} serves"
    return f"{name}: {was}{_changes(done)}"


def _changes(done: Deployed) -> str:
    if done.result is None:
        return ""
    changes = (("changed", done.result.changed), ("added", done.result.added), ("removed", done.result.removed))
    told = [f"{what} {some_of(names, 5)}" for what, names in changes if names]
    return f": {'; '.join(told)}" if told else ""


def _ways(plan: _Plan, done: Deployed) -> Sequence[str]:
    """Return the commands that come next."""
    if done.canary_percent:
        promote, abort = (shown(word, name=plan.name, target=plan.target) for word in ("promote", "abort"))
        return (f"to serve all events with it: {promote}", f"to go back: {abort}")
    if done.before:
        back = shown("rollback", str(done.before), name=plan.name, target=plan.target)
        return (f"to go back: {back}",)
    return (f"to take it away: {shown('undeploy', name=plan.name, target=plan.target)}",)


def _duration(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1e3:.1f} s"
