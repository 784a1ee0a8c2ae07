"""Loads templates, and replaces the one of a version by another that spares its forks some imports.

Theory of operation. The first call of a version that succeeds tells which modules it has imported (`Plan`, in
`rehearsal.py`). In the background a candidate is loaded that imports them, too. Only one that may fork as the current
template may takes its place; that one forks no more, and its instances serve on. Until then, and if the rehearsal comes
to nothing, the current one serves: no event waits for a rehearsal. Later templates of the version, after a rest or a
death, import at once what a candidate has shown to be harmless.
"""

import logging
from collections.abc import Callable
from functools import partial

import anyio

from sandbox import launch
from sandbox.commons import Commons
from sandbox.errors import Ended, LoadFailed, StartFailed
from sandbox.log_lines import LogLine
from sandbox.places import Branch
from sandbox.rehearsal import Plan, Plans
from sandbox.template import Template
from sandbox.zygote import Zygote

log = logging.getLogger(__name__)

_REMEDY = "start or open it in the after_fork hook to give each instance its own"
HELD_MEANS = "whoever waits for it in an instance waits for ever; release it before the import ends"


class Loader:
    """Loads the templates of a tree."""

    def __init__(
        self,
        commons: Commons,
        plans: Plans | None,
        background: anyio.CapacityLimiter,
        watch: Callable[[Branch, Template], None],
    ) -> None:
        """Without `plans`, no call is asked what it has imported. `watch` gets each template before it starts."""
        self._commons = commons
        self._learns = plans is not None
        self.plans = plans or Plans()
        self._background = background
        self._watch = watch

    def settle(self) -> None:
        """Replace no more templates."""
        self._learns = False

    async def load(self, branch: Branch, zygote: Zygote, *, is_candidate: bool = False) -> Template:
        """A template that may serve: one that its rehearsal has spoilt ends, and another is loaded with less of it.

        Raises LoadFailed, StartFailed and Ended.
        """
        while True:
            if branch.dropped:
                raise StartFailed(f"this version of {branch.spec.name!r} was dropped")
            launch.require_descriptors()
            template = self._make(branch, zygote, is_candidate=is_candidate)
            try:
                await template.start()
            except LoadFailed as error:
                is_wanted = not branch.dropped and (self._learns or not is_candidate)
                if template.has_answered or not template.may_rehearse or not is_wanted:
                    raise
                self._plan(branch, branch.plan.failed(str(error)))
                continue
            if template.ended is not None:
                raise Ended(template.ended)
            loaded = template.loaded
            if not loaded.spoilt:
                self._plan(branch, branch.plan.went(loaded.rehearsed, loaded.left_out, tries=is_candidate))
                return template
            log.debug("%s: %r may not serve: %s", branch.spec.name, template, loaded.spoilt)
            self._plan(branch, branch.plan.spoilt(loaded.spoilt, loaded.rehearsed, loaded.left_out))
            template.retire()

    def improve_soon(self, branch: Branch) -> None:
        """Replace the template in the background, if another one would spare its forks some imports."""
        if self._learns and branch.plan.is_untried and not branch.is_improving and not branch.dropped:
            branch.is_improving = True
            self._commons.tasks.start_soon(self._improve, branch)

    def log_leftovers(self, branch: Branch) -> None:
        """Log what the import left behind, once for each version."""
        template = branch.made
        if template is None or branch.has_logged_leftovers:
            return
        branch.has_logged_leftovers = True
        texts = []
        if template.why_become:
            texts.append(f"{template.why_become}: each instance loads the function, none is forked; {_REMEDY}")
        if template.shared:
            texts.append(f"{', '.join(template.shared)}: all instances share it; {_REMEDY}")
        if template.loaded.held:
            texts.append(f"{', '.join(template.loaded.held)}: {HELD_MEANS}")
        for text in texts:
            line = f"[forklight] the import left {text}"
            self._commons.log_turns.sink(LogLine(branch.spec.name, f"template-{template.n}", None, line, "warning"))

    def _make(self, branch: Branch, zygote: Zygote, *, is_candidate: bool) -> Template:
        spec = branch.spec
        template = Template(spec, zygote, self._commons, branch.plan, is_candidate=is_candidate)
        log.debug("%s: template %d of %s is loaded from %r", spec.name, template.n, spec.version, zygote)
        if self._learns and branch.plan.may_learn(spec.rehearsal):
            template.on_learnt = partial(self._learnt, branch)
        self._watch(branch, template)
        if is_candidate:
            branch.candidate = template
        return template

    def _plan(self, branch: Branch, plan: Plan) -> None:
        if plan != branch.plan:
            branch.plan = plan
            self.plans.keep(branch.spec.name, branch.spec.version, plan)

    def _learnt(self, branch: Branch, modules: tuple[str, ...]) -> None:
        """An instance has told what its first call has imported."""
        if branch.made is not None:
            branch.made.on_learnt = None
        if branch.plan.may_learn(branch.spec.rehearsal) and not branch.dropped:
            log.debug("%s: the first call has imported %d modules", branch.spec.name, len(modules))
            self._plan(branch, branch.plan.learn(modules))
            self.improve_soon(branch)

    async def _improve(self, branch: Branch) -> None:
        try:
            async with self._background:
                candidate = await self._candidate(branch)
            if candidate is not None:
                async with branch.lock:  # its template may just be loaded anew
                    self._take_over(branch, candidate)
        except (LoadFailed, StartFailed, Ended, OSError) as error:  # the next load tries again
            log.debug("%s: no template was loaded ahead of need: %s", branch.spec.name, error)
        finally:
            branch.is_improving, branch.candidate = False, None

    async def _candidate(self, branch: Branch) -> Template | None:
        """A template that has imported what the first call did; None if there is none to replace, or nothing to spare.

        Raises LoadFailed, StartFailed and Ended.
        """
        current = branch.made
        if current is None or current.must_become or not self._learns:
            return None
        candidate = await self.load(branch, current.zygote, is_candidate=True)
        if branch.plan.rehearsed:
            return candidate
        candidate.retire()
        return None

    def _take_over(self, branch: Branch, candidate: Template) -> None:
        """Have the candidate fork from now on. The instances of the template that it replaces serve on."""
        old = branch.made
        if branch.dropped or candidate.ended is not None or candidate.must_become or not self._learns:
            candidate.retire()
        elif old is None:
            branch.fill(candidate)
            branch.describe(candidate)
        else:
            log.debug("%s: %r replaces %r", branch.spec.name, candidate, old)
            branch.replace(candidate)
            branch.describe(candidate)
            branch.older = (*(one for one in branch.older if not one.gone.is_set()), old)
            old.replace()
