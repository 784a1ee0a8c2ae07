"""Runs the probes of a new release: each function's event, on an instance of its new version, which must do well.

What the handler sends, spawns or answers is dropped; what else it does, such as to a database, it does.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import anyio

from bus import Event, Failed, Outcome
from dispatcher.change import NotLoaded
from forklight.code.snapshots import as_written
from forklight.errors import ForklightError
from sandbox.errors import InstanceGone, LoadFailed, StartFailed
from sandbox.spec import FunctionSpec
from sandbox.tree import Tree

FIRST_BAD_STATUS = 400


class ProbeFailed(ForklightError):
    """A function did not do well with its probe; the message has the outcome."""


async def run_probes(tree: Tree, probes: Iterable[tuple[FunctionSpec, Event]], done: Callable[[str], None]) -> None:
    """Run one after the other. Raises ProbeFailed, and NotLoaded if an instance cannot be started."""
    for spec, event in probes:
        if why := _why_bad(await _outcome(tree, spec, event), spec.code):
            raise ProbeFailed(f"the probe of {spec.name} failed: {why}")
        done(spec.name)


async def _outcome(tree: Tree, spec: FunctionSpec, event: Event) -> Outcome:
    ended, outcomes = anyio.Event(), list[Outcome]()

    def end(outcome: Outcome) -> None:
        outcomes.append(outcome)
        ended.set()

    try:
        instance, start = await tree.start(spec)
        try:
            instance.begin(event, end, start=start)
            await ended.wait()
        finally:
            instance.leave()
    except (LoadFailed, StartFailed) as error:
        raise NotLoaded({spec.name: error}, {spec.name: spec}) from error
    except InstanceGone as error:
        raise ProbeFailed(f"the probe of {spec.name} could not run: {error}") from error
    return outcomes[0]


def _why_bad(outcome: Outcome, code: Path) -> str:
    """Return what is wrong with the outcome of a probe, or nothing. `code` is the snapshot that ran."""
    if isinstance(outcome, Failed):
        return as_written(f"{outcome.kind}/{outcome.code}: {outcome.message}\n{outcome.traceback}".rstrip(), code)
    if outcome.status is not None and outcome.status >= FIRST_BAD_STATUS:
        return f"it answered with status {outcome.status}: {outcome.body[:500].decode(errors='replace')}"
    return ""
