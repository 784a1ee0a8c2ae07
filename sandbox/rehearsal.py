"""What the templates of one version import ahead, so that no fork has to: decisions about it, pure.

Theory of operation. The first call that succeeds tells which modules it has imported. The next template imports them
after the function itself; it is loaded beside the one that serves, and takes its place only if that went well. Where a
module fails, starts a thread or opens something, that template is ended before it has forked and another one is loaded
without the module, and without what only this module has brought. After a few such attempts all are left out.

What a rehearsal has shown is kept with the version: `modules` then has only those that had to be named, since the
import of `pandas` brings hundreds of others.
"""

from collections.abc import Set
from itertools import islice
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

Scope = Literal["libraries", "all", "none"]
MOST_LEFT_OUT: Final = 50
"""How many modules a plan can leave out."""
MAX_ATTEMPTS: Final = 3
"""Templates that a rehearsal may spoil before it is given up."""


class Plan(Struct, frozen=True):
    """What is known about one version."""

    modules: tuple[str, ...] | None = None
    """To be imported, in order; None: no call has told so far."""
    left_out: dict[str, str] = {}
    """Modules that must not be imported ahead, and why."""
    is_proven: bool = False
    """Whether a template has imported the modules and could serve."""
    given_up: str = ""
    """Why nothing is imported ahead any more; empty if it may be."""
    attempts: int = 0

    @property
    def rehearsed(self) -> tuple[str, ...]:
        """The modules that a template imports ahead."""
        return self.modules or () if self.is_proven else ()

    @property
    def is_untried(self) -> bool:
        """Whether there are modules that no template has imported so far."""
        return bool(self.modules) and not self.is_proven

    def may_learn(self, scope: Scope) -> bool:
        """Whether a call is to tell what it has imported."""
        return scope != "none" and self.modules is None and not self.given_up

    def message(self, scope: Scope, *, tries: bool) -> dict[str, object] | None:
        """The field `rehearse` of a `load` message. `tries`: with modules that no template has imported so far."""
        if scope == "none" or self.given_up:
            return None
        modules = self.modules if tries else self.rehearsed
        return {"modules": modules or (), "refused": tuple(self.left_out), "scope": scope}

    def learn(self, modules: tuple[str, ...]) -> "Plan":
        """A call has told what it has imported."""
        return self if self.modules is not None else replace(self, modules=modules)

    def went(self, rehearsed: tuple[str, ...], left_out: dict[str, str], *, tries: bool) -> "Plan":
        """A template has imported `rehearsed` and may serve. It could not find what it has left out."""
        left_out = _first(self.left_out | left_out)
        if self.modules is not None and (tries or self.is_proven):
            return replace(self, modules=rehearsed, left_out=left_out, is_proven=True)
        return replace(self, left_out=left_out)

    def spoilt(self, why: str, rehearsed: tuple[str, ...], left_out: dict[str, str]) -> "Plan":
        """A template must not serve because of what it has imported: the next one does without."""
        offenders, left_out = left_out.keys() - self.left_out.keys(), _first(self.left_out | left_out)
        if not offenders or self.attempts + 1 >= MAX_ATTEMPTS:
            return replace(self.failed(why), left_out=left_out)
        modules = self.modules and _without(self.modules, {*rehearsed, *left_out}, offenders)
        return replace(self, modules=modules, left_out=left_out, attempts=self.attempts + 1)

    def failed(self, why: str) -> "Plan":
        """A template could not be loaded with this plan: nothing is imported ahead from now on."""
        return replace(self, modules=(), given_up=why, is_proven=False)


NOTHING_KNOWN: Final = Plan()


class Plans:
    """The plans of all functions, each of its latest version. They outlive the processes of the function."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, Plan]] = {}

    def of(self, function: str, version: str) -> Plan:
        """What is known about this version."""
        known, plan = self._known.get(function, ("", NOTHING_KNOWN))
        return plan if known == version else NOTHING_KNOWN

    def keep(self, function: str, version: str, plan: Plan) -> None:
        """Remember what is known about this version now."""
        self._known[function] = version, plan


def _first(left_out: dict[str, str]) -> dict[str, str]:
    return dict(islice(left_out.items(), MOST_LEFT_OUT))


def _without(modules: tuple[str, ...], named: Set[str], offenders: Set[str]) -> tuple[str, ...]:
    """The modules without the offenders and what their imports have brought.

    The modules are in the order in which a call imported them. So between two that had to be `named`, a template found
    those that the import of the first had brought.
    """
    kept, is_dropping = [], False
    for module in modules:
        if module in named:
            is_dropping = module in offenders
        if not is_dropping:
            kept.append(module)
    return tuple(kept)
