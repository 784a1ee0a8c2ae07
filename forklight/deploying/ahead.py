"""What a deploy does between two turns: it loads its new versions and runs their probes, for as long as that takes.

A rollback must not wait for the slow code of another release. So a deploy reads its release in one turn, loads and
probes it in none, and switches to it in another turn. What it learns meanwhile counts as far as it still applies: in
the second turn, whatever has another version by then, since a reload came in between, is loaded and probed again.
"""

from collections.abc import Set
from functools import partial

from dispatcher.change import NotLoaded, load_all
from dispatcher.split import AT
from forklight.deploying.probing import run_probes
from forklight.deploying.progress import Progress
from forklight.serving.deployment import Step
from forklight.serving.deployments import Loaded
from forklight.serving.reload import Reloader
from forklight.serving.running import Running
from sandbox.places import Key, template_key
from sandbox.spec import FunctionSpec


class Deploy:
    """One that is under way, and its new versions. The process tree keeps these from `hold` to `release`."""

    def __init__(
        self,
        application: str,
        package: str,
        *,
        by: str,
        canary_percent: float,
        progress: Progress,
        reloader: Reloader,
    ) -> None:
        self.application = application
        self.package = package
        self.by = by
        self.canary_percent = canary_percent
        self.progress = progress
        self._reloader = reloader
        self._specs: dict[Key, FunctionSpec] = {}
        self._probed: set[Key] = set()
        self._holder = f"deploy {id(self)}"

    def snapshots(self) -> Set[str]:
        """The names of the snapshots that its versions need, whether they are loaded yet or not."""
        return {spec.code.name for spec in self._specs.values()}

    async def hold(self, loaded: Loaded) -> None:
        """Its versions are new that no function is served by. Only in one's turn. Raises ConfigError and OSError."""
        await self._reloader.complete_guest(loaded.config)
        running = self._reloader.running
        served = used(running)
        versions = loaded.versions.functions
        new = [spec for name, spec in loaded.versions.specs.items() if not versions[name].may_wait]
        self._specs = {key: spec for spec in new if (key := template_key(spec)) not in served}
        running.tree.held[self._holder] = frozenset(self._specs)

    async def load(self, loaded: Loaded) -> None:
        """Load and probe them. Raises NotLoaded and ProbeFailed."""
        self.progress.begin(Step(step="loading"))
        specs = {spec.name: spec for spec in self._specs.values()}
        if errors := await load_all(self._reloader.running.tree, specs, self.progress.done):
            raise NotLoaded(errors, specs)
        await self.probe(loaded)

    async def probe(self, loaded: Loaded) -> None:
        """Run the probes of the functions that are not served as they are, but for those that have done well before."""
        running, progress = self._reloader.running, self.progress
        served = running.versions.specs
        probes = [
            (spec, function.probe)
            for name, spec in loaded.versions.specs.items()
            if (function := loaded.config.functions[name]).probe is not None
            and served.get(name) != spec
            and template_key(spec) not in self._probed
        ]
        if probes:
            progress.begin(Step(step="probing", of=len(probes)))
            await run_probes(running.tree, probes, lambda name: progress.done(name, len(probes)))
            self._probed |= {template_key(spec) for spec, _ in probes}

    def release(self) -> None:
        """End what serves nothing, one at a time: all of it, if the deploy has failed."""
        running = self._reloader.running
        running.tree.held.pop(self._holder, None)
        served = used(running)
        for spec in (spec for key, spec in self._specs.items() if key not in served):
            running.dispatcher.run_afterwards(partial(drop_unused, running, spec))
        self._specs = {}


def drop_unused(running: Running, spec: FunctionSpec) -> None:
    """End this version, unless it serves or somebody holds it."""
    if template_key(spec) not in used(running):
        running.tree.drop(spec)


def used(running: Running) -> set[Key]:
    """The versions that serve, or run something for those who ask for them."""
    return {
        template_key(runner.function.spec)
        for name, runner in running.dispatcher.runners().items()
        if AT not in name or runner.function.pool.rest == "template" or runner.instances()
    }
