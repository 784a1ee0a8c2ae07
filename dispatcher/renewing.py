"""A runner whose function gets another version, or is served no more.

Theory of operation. A change of what is served switches all functions in one step of the event loop, so that no event
sees only some of them changed. However many functions there are, that step must be short, as every other client waits
for it, and whoever asked for the change waits for its end. So it has what decides which version an event gets, and no
more: from it on, the pool knows the new version, its fresh instances, and none of the old ones; waiting events run on
what is ready, and starts that an event, a reservation or an announcement needs are begun.

The rest needs system calls, and follows (`Afterwards`), a function at a time, with pauses for requests:

- the old instances leave, those that are busy after their calls;
- spares of the new version start, and its template is kept from now on;
- the old template ends, unless something holds it or serves it.

Until then the old processes are idle, and nothing can give them an event. Each of these steps looks at what is served
when its turn comes, because another switch may have come in between: the starts of a version that was replaced are
void, and a template that serves again stays.
"""

import time
from functools import partial

import anyio.abc

from dispatcher.actions import Action, Leave, Start
from dispatcher.afterwards import Afterwards
from dispatcher.call import Call
from dispatcher.keys import key_of
from dispatcher.machine import Machine
from dispatcher.runner import WATCH_NS, Runner
from dispatcher.settings import Function
from sandbox.backoff import Backoff
from sandbox.instance import Instance
from sandbox.places import template_key
from sandbox.spec import FunctionSpec
from sandbox.tree import Tree


class Renewing(Runner):
    """A runner whose version can be replaced."""

    def __init__(
        self,
        function: Function,
        tree: Tree,
        tasks: anyio.abc.TaskGroup,
        machine: Machine,
        afterwards: Afterwards,
        *,
        name: str = "",
    ) -> None:
        """`name`: by which the dispatcher serves it."""
        super().__init__(function, tree, tasks, machine, name=name)
        self._afterwards = afterwards

    def renew(self, function: Function, fresh: list[Instance]) -> None:
        """Run new and waiting events on this version, first on `fresh`; old instances end after their calls."""
        old, self.function = self.function.spec, function
        self.max_wait_ns = int(function.pool.max_wait_s * 1e9)
        self._max_invocations = function.pool.max_invocations
        self._backoff = Backoff()
        self._ending = self._is_wound_up = self.is_gone = False
        self._watch.end()
        self._watch = self._tree.sweep.watch(self)
        self._tenant.open(function, self._settings(function).reserved)
        now_ns = time.monotonic_ns()
        living = [instance for instance in fresh if not instance.is_dead]
        for instance in living:
            self._tenant.place(instance)
            self._adopt(instance, now_ns)
        self._key_of = key_of(function.pool.reuse)
        actions = self._pool.renew(self._settings(function), living, now_ns, self._key_of_call)
        for action in tuple(actions):
            if isinstance(action, Start) and action.spare:  # an event that comes before it starts an instance itself
                actions += self._pool.put_off_spare(now_ns)
        self._perform([action for action in actions if not _may_wait(action)])
        self._capacity.look()
        self._watch.expect(now_ns + WATCH_NS)
        leaving: list[Action[Call, Instance]] = [action for action in actions if isinstance(action, Leave)]
        self._afterwards.add(partial(self._settle, old, function, leaving))

    def _settle(self, old: FunctionSpec, function: Function, leaving: list[Action[Call, Instance]]) -> None:
        """Do what the switch from `old` to `function` has put off, as far as it still applies."""
        self._carry_out(leaving)
        if function is self.function and not self._ending:  # else this is done for what came after it
            if function.pool.rest == "template":
                self._tree.keep(function.spec)
            self._carry_out(self._pool.resume(time.monotonic_ns()))
        if template_key(old) != template_key(self.function.spec):
            self._drop(old)

    def wind_up(self) -> None:
        """Run the accepted events, then end the instances and the template."""
        self._ending = True
        self._afterwards.add(partial(self._end, self.function))

    def _end(self, function: Function) -> None:
        if function is self.function:  # else it was served again, and what followed that comes first
            self._is_wound_up = True
            self._carry_out(self._pool.wind_up(time.monotonic_ns()))


def _may_wait(action: Action[Call, Instance]) -> bool:
    """Whether no event waits for it, nor anything that must be ready."""
    return isinstance(action, Leave) or (isinstance(action, Start) and action.spare)
