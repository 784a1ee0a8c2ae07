"""The state of the functions, gathered from the dispatcher and the process tree."""

import time

from msgspec.structs import astuple

from dispatcher.dispatcher import Dispatcher
from dispatcher.split import AT
from forklight.observe.status import FunctionStatus, Instances
from sandbox.errors import LoadFailed
from sandbox.instance import Instance
from sandbox.template import Template
from sandbox.tree import Tree
from sandbox.usage import LEAST_KB


def function_statuses(
    dispatcher: Dispatcher, tree: Tree, triggers: dict[str, tuple[str, ...]]
) -> tuple[FunctionStatus, ...]:
    """Return all functions, sorted by name, and the variants that get, have or had events. Reads /proc once per live
    process.
    """
    names = (name for name in sorted(dispatcher.runners()) if _is_used(name, dispatcher))
    return tuple(_status(name, dispatcher, tree, triggers.get(name, ())) for name in names)


def _is_used(name: str, dispatcher: Dispatcher) -> bool:
    """Whether it is more than a kept version that could be asked for."""
    if AT not in name or dispatcher.share(name) > 0 or dispatcher.records.of(name).outcomes:
        return True
    now = dispatcher.runners()[name].statistics()
    return bool(now.waiting or now.starting or now.calls)


def _status(name: str, dispatcher: Dispatcher, tree: Tree, triggers: tuple[str, ...]) -> FunctionStatus:
    runner, record = dispatcher.runners()[name], dispatcher.records.of(name)
    spec = runner.function.spec
    template = tree.template_of(spec)
    live = template if isinstance(template, Template) else None
    loaded_each, shared = tree.leftovers_of(spec)
    plan = tree.rehearsed_of(spec)
    return FunctionStatus(
        name=name,
        version=spec.version,
        release=runner.release,
        share=dispatcher.share(name),
        isolation=spec.containment.level,
        triggers=triggers,
        template=_template_text(template),
        problem=tree.problem_of(spec),
        loaded_each=loaded_each,
        shared=shared,
        rehearsed=plan.rehearsed,
        left_out=plan.left_out,
        rehearsal=plan.given_up,
        instances=Instances(*astuple(runner.statistics())),
        slots=runner.function.pool.slots,
        calls=runner.calls(),
        retired={limit: count for limit, count in runner.retirement.counts.items() if count},
        starts=record.starts,
        spares=record.spares,
        outcomes=dict(record.outcomes),
        failures=dict(record.failures),
        last_failure=record.last_failure,
        memory_kb=_memory_kb(live, tree.replaced_of(spec), runner.instances()),
        cpu_s=record.cpu_ns / 1e9,
        ran_s=record.ran.sum_ns / 1e9,
        waited_s=record.waited.sum_ns / 1e9,
    )


def _template_text(template: Template | LoadFailed | None) -> str:
    if isinstance(template, LoadFailed):
        wait_s = max(0.0, ((template.retry_at_ns or 0) - time.monotonic_ns()) / 1e9)
        again = f"; again in {wait_s:.0f} s" if wait_s else ""
        return f"{template.code}: {template.message}{again}"
    return "none" if template is None else "ready"


def _memory_kb(live: Template | None, replaced: tuple[Template, ...], instances: list[Instance]) -> int:
    templates = replaced if live is None else (*replaced, live)
    own_kb = sum(max(LEAST_KB, template.look_kb()) for template in templates)
    return own_kb + sum(max(LEAST_KB, one.checkup.used_kb()) + one.held.beside_kb for one in instances)
